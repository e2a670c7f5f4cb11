"""GPT-NeoX checkpoints made by hand: what is read, put together, listed, exported, and what is refused and why."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from neox_checkpoints import RANK, SETTINGS, VOCAB, assert_equal_models, change, original, write
from transformers import GPTNeoXForCausalLM

from curator.errors import CuratorError
from curator.models import (
    load_config,
    load_model,
    model_fingerprint,
)

# -- what is read -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("sequential", [False, True], ids=["parallel-residual", "sequential-residual"])
@pytest.mark.parametrize("shards", [1, 2, 4])
@pytest.mark.parametrize("pipeline", [False, True], ids=["single", "pipeline"])
@pytest.mark.parametrize("head", [False, True], ids=["v1.0", "HEAD"])
def test_every_layout_is_the_same_model(
    tmp_path: Path, pipeline: bool, shards: int, sequential: bool, head: bool
) -> None:
    model = original(use_parallel_residual=not sequential)
    settings = {**SETTINGS, "gpt-j-residual": not sequential}
    layout = {"pipeline": pipeline, "shards": shards, "head": head, "frequencies": not head}
    folder = write(tmp_path / "global_step5", model, settings=settings, row_output=not head, **layout)
    loaded = load_model(folder)
    assert_equal_models(loaded, model, 1e-6 if shards > 1 else 0.0)
    if shards == 1:
        assert model_fingerprint(loaded) == model_fingerprint(model)
    assert not loaded.training and not loaded.config.use_cache
    assert loaded.config._attn_implementation == "sdpa"
    assert not any(weight.requires_grad for weight in loaded.parameters())
    assert load_config(folder).vocab_size == VOCAB


def test_half_precision_becomes_the_asked_for_dtype(tmp_path: Path, model: GPTNeoXForCausalLM) -> None:
    folder = write(tmp_path / "a", model, settings=SETTINGS, half=True)
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        loaded = load_model(folder, dtype)
        name = "gpt_neox.layers.1.mlp.dense_4h_to_h.weight"
        assert torch.equal(loaded.get_parameter(name), model.get_parameter(name).half().to(dtype))


def test_the_weights_outlive_their_files(single: Path, model: GPTNeoXForCausalLM) -> None:
    loaded = load_model(single)
    path = single / RANK
    with open(path, "r+b") as file:  # the memory that was mapped
        file.write(b"\xff" * path.stat().st_size)
    assert_equal_models(loaded, model)


def test_tied_output(tmp_path: Path) -> None:
    model = original(tie_word_embeddings=True)
    settings = {key: value for key, value in SETTINGS.items() if key != "no-weight-tying"}  # NeoX's default
    for pipeline in (False, True):
        folder = write(tmp_path / f"{pipeline}", model, settings=settings, pipeline=pipeline)
        loaded = load_model(folder)
        assert loaded.config.tie_word_embeddings
        assert_equal_models(loaded, model)


@pytest.mark.parametrize(
    ("settings", "act"),
    [
        ({}, "gelu"),
        ({"bias-gelu-fusion": True}, "gelu_pytorch_tanh"),
        ({"activation": "relu", "bias-gelu-fusion": True}, "relu"),
        ({"activation": "swish"}, "silu"),
        ({"activation": "mish"}, "mish"),
    ],
)
def test_activations(tmp_path: Path, settings: dict[str, Any], act: str) -> None:
    folder = write(tmp_path / "a", original(hidden_act=act), settings={**SETTINGS, **settings})
    loaded = load_model(folder)
    assert loaded.config.hidden_act == act
    assert_equal_models(loaded, original(hidden_act=act))


def test_tied_norms_become_equal_norms(tmp_path: Path, model: GPTNeoXForCausalLM) -> None:
    loaded = load_model(write(tmp_path / "a", model, settings={**SETTINGS, "gpt-j-tied": True}))
    for layer, theirs in zip(loaded.gpt_neox.layers, model.gpt_neox.layers, strict=True):
        assert torch.equal(layer.input_layernorm.weight, theirs.input_layernorm.weight)
        assert torch.equal(layer.post_attention_layernorm.weight, theirs.input_layernorm.weight)
        assert torch.equal(layer.post_attention_layernorm.bias, theirs.input_layernorm.bias)


def test_defaults_of_gpt_neox_hold_for_whole_settings(tmp_path: Path) -> None:
    keys = ("num-layers", "hidden-size", "num-attention-heads", "max_position_embeddings", "pos-emb")
    settings = {**{key: SETTINGS[key] for key in keys}, "no_weight_tying": True}
    config = load_config(write(tmp_path / "a", original(), settings=settings))
    assert config.rope_parameters["partial_rotary_factor"] == 1.0
    assert config.rope_parameters["rope_theta"] == 10000.0
    assert (config.use_parallel_residual, config.hidden_act, config.layer_norm_eps) == (False, "gelu", 1e-5)


def test_settings_may_be_several_files_with_hyphens_or_underscores(single: Path) -> None:
    before = model_fingerprint(load_model(single))
    configs = single / "configs"
    (configs / "model.yml").unlink()
    items = list(SETTINGS.items())
    (configs / "a.json").write_text(json.dumps(dict(items[:5])))
    (configs / "b.yaml").write_text(yaml.safe_dump({k.replace("-", "_"): v for k, v in items[5:]}))
    (configs / "notes.txt").write_text("{")
    assert model_fingerprint(load_model(single)) == before
    configs.rename(single.parent / "configs")  # beside the checkpoint
    assert model_fingerprint(load_model(single)) == before
    (single.parent / "configs" / "c.yml").write_text("rotary_pct: 0.25\n")
    with pytest.raises(CuratorError, match=r"c\.yml: rotary_pct is 0\.25, but .*b\.yaml says 0\.5; keep one"):
        load_model(single)


def test_a_pipeline_layout_needs_no_rank_file_if_its_settings_are_there(layers: Path) -> None:
    before = model_fingerprint(load_model(layers))
    (layers / RANK).unlink()
    assert model_fingerprint(load_model(layers)) == before


def test_a_save_folder_stands_for_its_latest(single: Path) -> None:
    save = single.parent
    with pytest.raises(CuratorError, match=r"no config\.json .*holds the checkpoints global_step5\)"):
        load_model(save)
    with pytest.raises(
        CuratorError, match=r"no folder .*global_step7 \(.*holds the checkpoints global_step5"
    ):
        load_model(save / "global_step7")
    (save / "latest").write_text("global_step5")
    assert model_fingerprint(load_model(save)) == model_fingerprint(load_model(single))
    for name in ("global_step9", "../save/global_step5", ""):
        (save / "latest").write_text(name)
        with pytest.raises(CuratorError, match=r"latest: names the checkpoint .* give its folder"):
            load_model(save)


def test_copies_that_drifted_apart_by_rounding_are_averaged(
    tmp_path: Path, model: GPTNeoXForCausalLM
) -> None:
    folder = write(tmp_path / "a", model, settings=SETTINGS, pipeline=True, shards=2)
    name = "input_layernorm.weight"

    def nudge(by: float) -> None:
        change(folder / "layer_03-model_01-model_states.pt", lambda state: state[name][0].add_(by))

    nudge(1e-5)
    loaded = load_model(folder).gpt_neox.layers[1].input_layernorm.weight[0]
    assert float(loaded - model.gpt_neox.layers[1].input_layernorm.weight[0]) == pytest.approx(5e-6, rel=0.05)
    nudge(0.1)
    with pytest.raises(
        CuratorError, match=r"layer_03-model_00.* the shards of input_layernorm\.weight differ by"
    ):
        load_model(folder)
