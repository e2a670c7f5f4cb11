"""GPT-NeoX checkpoints made by hand: what is read, put together, listed, exported, and what is refused and why."""

import json
import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from tokenizers import Tokenizer, models
from torch import Tensor
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM
from typer.testing import CliRunner

from curator.artifacts.fields import Probe
from curator.cli.app import app
from curator.errors import CuratorError
from curator.models import (
    checkpoint_files,
    hf,
    list_checkpoints,
    load_config,
    load_model,
    model_fingerprint,
    tokenizer_file,
)
from curator.models.export import export
from curator.models.settings import ExportSettings
from curator.ranking.run import prepare_queries, rank
from curator.ranking.settings import RankSettings
from curator.scan.checkpoint import WHOLE_FILE_BYTES, checkpoint_fingerprint

VOCAB, WIDTH, HEADS, LAYERS, POSITIONS = 24, 16, 4, 3, 8
SETTINGS: dict[str, Any] = {
    "num-layers": LAYERS,
    "hidden-size": WIDTH,
    "num-attention-heads": HEADS,
    "max_position_embeddings": POSITIONS,
    "pos-emb": "rotary",
    "rotary-pct": 0.5,
    "no-weight-tying": True,
    "gpt-j-residual": True,
    "layernorm-epsilon": "1e-6",
    "attention-config": [[["flash"], LAYERS]],
    "fp16": {"enabled": True},
}
COLUMN = ("query_key_value.weight", "query_key_value.bias", "dense_h_to_4h.weight", "dense_h_to_4h.bias")
ROW = ("attention.dense.weight", "dense_4h_to_h.weight")
ROW_BIAS = ("attention.dense.bias", "dense_4h_to_h.bias")


def original(**changes: Any) -> GPTNeoXForCausalLM:
    """A model with every weight, bias and norm away from its initial value."""
    torch.manual_seed(0)
    given = {
        "vocab_size": VOCAB,
        "hidden_size": WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "intermediate_size": 40,
        "max_position_embeddings": POSITIONS,
        "layer_norm_eps": 1e-6,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5},
    }
    model = GPTNeoXForCausalLM(GPTNeoXConfig(**{**given, **changes})).eval().requires_grad_(False)
    for weight in model.parameters():
        weight.copy_(torch.randn(weight.shape) * 0.3)
    return model


def modules_of(model: GPTNeoXForCausalLM, head: bool, frequencies: bool) -> dict[int, dict[str, Tensor]]:
    """Module number -> GPT-NeoX's name -> weight."""
    modules: dict[int, dict[str, Tensor]] = {
        0: {"word_embeddings.weight": model.get_input_embeddings().weight}
    }
    for number, layer in enumerate(model.gpt_neox.layers):
        state = {name: weight for name, weight in layer.state_dict().items() if "rotary" not in name}
        if head:
            short = {"dense_h_to_4h": "linear1", "dense_4h_to_h": "linear2"}
            state = {
                name.replace(old, new) if old in name else name: weight
                for name, weight in state.items()
                for old, new in [next(((o, n) for o, n in short.items() if o in name), ("-", "-"))]
            }
        if frequencies:
            state["attention.rotary_emb.inv_freq"] = torch.tensor([1.0])
        modules[number + 2] = state
    modules[LAYERS + 3] = {
        f"norm.{key}": w for key, w in model.gpt_neox.final_layer_norm.state_dict().items()
    }
    if not model.config.tie_word_embeddings:
        modules[LAYERS + 4] = {"final_linear.weight": model.get_output_embeddings().weight}
    return modules


def shard(name: str, weight: Tensor, number: int, count: int, sequential: bool, row_output: bool) -> Tensor:
    """Tensor-parallel shard ``number`` of ``count``."""
    name = name.replace("linear1", "dense_h_to_4h").replace("linear2", "dense_4h_to_h")
    if name.endswith(ROW) or (row_output and name == "final_linear.weight"):
        return weight.chunk(count, 1)[number].clone()
    if name.endswith(COLUMN) or name in ("word_embeddings.weight", "final_linear.weight"):
        return weight.chunk(count, 0)[number].clone()
    if name.endswith(ROW_BIAS) and not sequential:  # added up over the ranks
        part = torch.full_like(weight, 0.25)
        return weight - part * (count - 1) if number == 0 else part
    return weight.clone()


def write(
    folder: Path,
    model: GPTNeoXForCausalLM,
    *,
    pipeline: bool = False,
    shards: int = 1,
    head: bool = True,
    frequencies: bool = False,
    row_output: bool = False,
    settings: Mapping[str, Any] | None = None,
    args: Mapping[str, Any] | None = None,
    half: bool = False,
    step: int = 5,
) -> Path:
    """A checkpoint as GPT-NeoX leaves it in ``folder``, and its configs."""
    folder.mkdir(parents=True)
    modules = modules_of(model, head, frequencies)
    sequential = not model.config.use_parallel_residual
    saved = {
        "num_layers": LAYERS,
        "hidden_size": WIDTH,
        "num_attention_heads": HEADS,
        "max_position_embeddings": POSITIONS,
        "padded_vocab_size": VOCAB,
        "model_parallel_size": shards,
    }
    for number in range(shards):
        parts = {
            module: {
                name: shard(name, w, number, shards, sequential, row_output).to(
                    torch.half if half else w.dtype
                )
                for name, w in state.items()
            }
            for module, state in modules.items()
        }
        if pipeline:
            for module, state in parts.items():
                torch.save(state, folder / f"layer_{module:02}-model_{number:02}-model_states.pt")
        flat = {f"sequential.{m}.{name}": w for m, state in parts.items() for name, w in state.items()}
        content = {
            "module": None if pipeline else flat,
            "iteration": step,
            "args": {**saved, **(args or {})},
            "random_rng_state": (3, tuple(range(5)), None),
            "np_rng_state": np.random.get_state(),
            "optimizer": {"cur_scale": 1.0},
        }
        torch.save(content, folder / f"mp_rank_{number:02}_model_states.pt")
    if settings is not None:
        (folder / "configs").mkdir()
        (folder / "configs" / "model.yml").write_text(yaml.safe_dump(dict(settings)))
    return folder


def assert_equal_models(ours: GPTNeoXForCausalLM, theirs: GPTNeoXForCausalLM, tolerance: float = 0.0) -> None:
    for (name, a), (_, b) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=tolerance, msg=name)
    tokens = torch.arange(2 * POSITIONS).view(2, POSITIONS)
    torch.testing.assert_close(ours(tokens).logits, theirs(tokens).logits, rtol=0, atol=1e-5)


def change(path: Path, edit: Callable[[Any], object]) -> None:
    content = torch.load(path, weights_only=False)
    edit(content)
    torch.save(content, path)


LAYER = "layer_03-model_00-model_states.pt"
RANK = "mp_rank_00_model_states.pt"


@pytest.fixture
def model() -> GPTNeoXForCausalLM:
    return original()


@pytest.fixture
def single(tmp_path: Path, model: GPTNeoXForCausalLM) -> Path:
    return write(tmp_path / "save" / "global_step5", model, settings=SETTINGS)


@pytest.fixture
def layers(tmp_path: Path, model: GPTNeoXForCausalLM) -> Path:
    return write(tmp_path / "save" / "global_step5", model, settings=SETTINGS, pipeline=True)


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


# -- what is refused --------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [0, 2, 3, 4, 6])
def test_a_missing_layer_file_is_named(layers: Path, number: int) -> None:
    name = f"layer_{number:02}-model_00-model_states.pt"
    (layers / name).unlink()
    with pytest.raises(CuratorError, match=rf"incomplete, {name} is missing: copy it"):
        load_model(layers)
    assert list_checkpoints(layers.parent) == []


def test_a_missing_output_file_is_named(layers: Path) -> None:
    (layers / "layer_07-model_00-model_states.pt").unlink()  # by names alone, this is a tied model
    with pytest.raises(CuratorError, match=r"no-weight-tying is true, but .* missing in .*layer_07-model_00"):
        load_model(layers)


def test_an_output_that_should_be_tied(tmp_path: Path, model: GPTNeoXForCausalLM) -> None:
    folder = write(tmp_path / "a", model, settings={**SETTINGS, "no-weight-tying": False})
    with pytest.raises(CuratorError, match=r"no-weight-tying is false, but .* holds weights of its own"):
        load_model(folder)


def test_missing_shards(tmp_path: Path, model: GPTNeoXForCausalLM) -> None:
    folder = write(tmp_path / "a", model, settings=SETTINGS, shards=4)
    (folder / "mp_rank_02_model_states.pt").unlink()
    with pytest.raises(CuratorError, match=r"incomplete, mp_rank_02_model_states\.pt is missing"):
        load_model(folder)
    (folder / "mp_rank_03_model_states.pt").unlink()
    with pytest.raises(CuratorError, match=r"files of 2 .*mp_rank_00.* model-parallel-size 4"):
        load_model(folder)
    folder = write(tmp_path / "b", model, settings=SETTINGS, shards=2, pipeline=True)
    (folder / "layer_04-model_01-model_states.pt").unlink()
    with pytest.raises(CuratorError, match=r"incomplete, layer_04-model_01-model_states\.pt is missing"):
        load_model(folder)


def test_shards_of_different_steps(tmp_path: Path, model: GPTNeoXForCausalLM) -> None:
    a = write(tmp_path / "a", model, settings=SETTINGS, shards=2)
    b = write(tmp_path / "b", model, settings=SETTINGS, shards=2, step=6)
    (b / "mp_rank_01_model_states.pt").replace(a / "mp_rank_01_model_states.pt")
    with pytest.raises(
        CuratorError, match=r"different steps: mp_rank_00\S+ is of step 5, mp_rank_01\S+ is of step 6"
    ):
        load_model(a)


def test_shards_that_do_not_fit_together(tmp_path: Path, model: GPTNeoXForCausalLM) -> None:
    folder = write(tmp_path / "a", model, settings=SETTINGS, shards=2, pipeline=True)
    path = folder / "layer_02-model_01-model_states.pt"
    change(path, lambda state: state.update({"attention.dense.weight": torch.ones(15, 8)}))
    with pytest.raises(
        CuratorError, match=r"shards of attention\.dense\.weight have shapes \[16, 8\], \[15, 8\]"
    ):
        load_model(folder)
    change(path, lambda state: state.update({"attention.dense.weight": torch.ones(16, 8)}))
    change(path, lambda state: state.update({"mlp.linear2.bias": torch.ones(3)}))
    with pytest.raises(CuratorError, match=r"shards of mlp\.linear2\.bias have shapes \[16\], \[3\]"):
        load_model(folder)


@pytest.mark.parametrize("pipeline", [False, True])
def test_missing_and_unknown_weights_are_named(
    tmp_path: Path, model: GPTNeoXForCausalLM, pipeline: bool
) -> None:
    folder = write(tmp_path / "a", model, settings=SETTINGS, pipeline=pipeline)
    path = folder / (LAYER if pipeline else RANK)
    prefix = "" if pipeline else "sequential.3."

    def weights(content: Any) -> Any:
        return content if pipeline else content["module"]

    change(path, lambda content: weights(content).pop(f"{prefix}attention.dense.bias"))
    with pytest.raises(
        CuratorError, match=rf"{path.name}: has no {prefix}attention\.dense\.bias: not the weights"
    ):
        load_model(folder)
    change(
        path, lambda content: weights(content).update({f"{prefix}attention.dense.bias": torch.ones(WIDTH)})
    )
    change(path, lambda content: weights(content).update({f"{prefix}mlp.gate.weight": torch.ones(1)}))
    with pytest.raises(CuratorError, match=rf"{path.name}: has {prefix}mlp\.gate\.weight besides"):
        load_model(folder)


def test_learned_positions_and_soft_prompts_are_named(layers: Path) -> None:
    path = layers / "layer_00-model_00-model_states.pt"
    change(path, lambda state: state.update({"position_embeddings.weight": torch.ones(POSITIONS, WIDTH)}))
    with pytest.raises(CuratorError, match=r"no place for learned positions"):
        load_model(layers)
    change(path, lambda state: state.pop("position_embeddings.weight"))
    torch.save({"soft_embedding_weight": torch.ones(1)}, layers / "layer_01-model_00-model_states.pt")
    with pytest.raises(CuratorError, match=r"layer_01\S+: holds soft_embedding_weight: .*a soft prompt"):
        load_model(layers)


def test_names_of_no_gpt_neox_model(single: Path) -> None:
    change(single / RANK, lambda content: content["module"].update({"transformer.h.0": torch.ones(1)}))
    with pytest.raises(CuratorError, match=r"called transformer\.h\.0, expected sequential\.<number>"):
        load_model(single)
    change(single / RANK, lambda content: content.update({"module": None}))
    with pytest.raises(CuratorError, match=r"no weights in it; in a pipeline layout they lie in layer_NN"):
        load_model(single)
    torch.save([1], single / RANK)
    with pytest.raises(CuratorError, match=r"holds a list, expected"):
        load_model(single)
    torch.save({"module": {"sequential.0.word_embeddings.weight": 3}}, single / RANK)
    with pytest.raises(CuratorError, match=r"word_embeddings\.weight: not a tensor"):
        load_model(single)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"pos-emb": "alibi"}, "pos-emb 'alibi'"),
        ({"pos-emb": None}, "pos-emb 'learned'"),
        ({"norm": "rmsnorm"}, "norm 'rmsnorm'"),
        ({"num_kv_heads": 2}, "num-kv-heads 2"),
        ({"activation": "geglu"}, "activation 'geglu'"),
        ({"activation": "softsign"}, "activation 'softsign'"),
        ({"use_mup": True}, "use-mup True"),
        ({"use-qk-layernorm": True}, "use-qk-layernorm True"),
        ({"moe-num-experts": 8}, "moe-num-experts 8"),
        ({"use_bias_in_attn_linear": False}, "use-bias-in-attn-linear False"),
        ({"use_bias_in_norms": False}, "use-bias-in-norms False"),
        ({"sliding-window-width": 64}, "sliding-window-width 64"),
        ({"attention-config": [[["local", "global"], "all"]]}, "attention-config .*'local'"),
        ({"soft-prompt-tuning": {"enabled": True}}, "soft-prompt-tuning"),
        ({"te_mha": True}, "te-mha True"),
    ],
)
def test_what_the_model_class_cannot_compute_is_refused(
    tmp_path: Path, model: GPTNeoXForCausalLM, changes: dict[str, Any], says: str
) -> None:
    settings = {key: value for key, value in {**SETTINGS, **changes}.items() if value is not None}
    folder = write(tmp_path / "a", model, settings=settings)
    with pytest.raises(CuratorError, match=rf"model\.yml: .* has no place for .*{says}"):
        load_model(folder)


def test_missing_settings_are_all_named(tmp_path: Path, model: GPTNeoXForCausalLM) -> None:
    folder = write(tmp_path / "save" / "global_step5", model)
    with pytest.raises(
        CuratorError,
        match="missing pos-emb, rotary-pct, rotary-emb-base, gpt-j-residual, activation, bias-gelu-fusion, "
        r"layernorm-epsilon \(it has no configs/ folder.*architecture\.yml.*global_step5/configs or .*save/configs",
    ):
        load_model(folder)
    (folder / "configs").mkdir()
    given = {"pos-emb": "rotary", "rotary-pct": 0.5, "gpt-j-residual": True, "activation": "relu"}
    file = folder / "configs" / "architecture.yml"
    file.write_text(yaml.safe_dump(given))
    with pytest.raises(
        CuratorError, match=r"missing rotary-emb-base, layernorm-epsilon \(not in .*architecture\.yml\)"
    ):
        load_model(folder)
    file.write_text(yaml.safe_dump({**given, "rotary-emb-base": 10000, "layernorm-epsilon": 1.0e-6}))
    assert_equal_models(load_model(folder), original(hidden_act="relu"))
    change(folder / RANK, lambda content: content.pop("args"))
    with pytest.raises(CuratorError, match=r"missing num-attention-heads, max-position-embeddings \("):
        load_model(folder)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"num-layers": 4}, "num-layers is 4, but the checkpoint in .* has 3"),
        ({"hidden-size": 32}, "hidden-size is 32, but the checkpoint in .* has 16"),
        ({"num-attention-heads": 2}, "num-attention-heads is 2, but the checkpoint in .* has 4"),
        ({"rotary-pct": 1.0}, r"mean 2 frequencies \[1, 0\.01\], but .* has 1, \[1\]"),
        ({"rotary-pct": 1.5}, "rotary-pct is 1.5, expected more than 0"),
        ({"rotary-pct": "much"}, "rotary-pct is 'much', expected a number"),
        ({"gpt-j-residual": "yes please"}, "gpt-j-residual is 'yes please', expected true or false"),
    ],
)
def test_settings_of_another_model(
    tmp_path: Path, model: GPTNeoXForCausalLM, changes: dict[str, Any], says: str
) -> None:
    folder = write(tmp_path / "a", model, settings={**SETTINGS, **changes}, frequencies=True)
    with pytest.raises(CuratorError, match=rf"model\.yml: .*{says}"):
        load_model(folder)


def test_arguments_of_another_model(tmp_path: Path, model: GPTNeoXForCausalLM) -> None:
    folder = write(tmp_path / "a", model, settings=SETTINGS, pipeline=True, args={"padded_vocab_size": 48})
    with pytest.raises(CuratorError, match=r"weights have padded-vocab-size 24, but mp_rank_00\S+ says 48"):
        load_model(folder)


def test_settings_that_are_no_yaml(single: Path) -> None:
    file = single / "configs" / "model.yml"
    file.write_text("a: b: c\n")
    with pytest.raises(CuratorError, match=r"model\.yml: not valid YAML \(.*line 1"):
        load_model(single)
    file.write_text("[1, 2]")
    with pytest.raises(CuratorError, match=r"model\.yml: holds a list"):
        load_model(single)


class Malicious:
    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("pipeline", [False, True])
def test_a_malicious_pickle_is_refused_and_not_run(
    tmp_path: Path, model: GPTNeoXForCausalLM, pipeline: bool
) -> None:
    folder = write(tmp_path / "a", model, settings=SETTINGS, pipeline=pipeline)
    for name in [RANK, LAYER] if pipeline else [RANK]:
        whole = (folder / name).read_bytes()
        change(folder / name, lambda content: content.update({"extra": Malicious(tmp_path / "harm")}))
        for read in (load_model, load_config):
            with pytest.raises(
                CuratorError, match=rf"{name}: refused, its pickle asks for \w+\.mkdir: .*run code"
            ):
                read(folder)
        (folder / name).write_bytes(whole)
    assert not (tmp_path / "harm").exists()
    load_model(folder)


@pytest.mark.parametrize("pipeline", [False, True])
def test_a_damaged_file_is_named(tmp_path: Path, model: GPTNeoXForCausalLM, pipeline: bool) -> None:
    folder = write(tmp_path / "a", model, settings=SETTINGS, pipeline=pipeline)
    path = folder / (LAYER if pipeline else RANK)
    whole = path.read_bytes()
    for part in (whole[:-200], whole[:100], b""):
        path.write_bytes(part)
        with pytest.raises(CuratorError, match=rf"{path.name}: cannot be read, it is cut short"):
            load_model(folder)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", "b")
    with pytest.raises(CuratorError, match=rf"{path.name}: cannot be read, it is damaged"):
        load_model(folder)


def test_weights_cut_up_by_zero_3_or_of_experts_are_refused(tmp_path: Path) -> None:
    for name, says in (
        ("zero_pp_rank_0_mp_rank_00_model_states.pt", "ZeRO stage 3 .*zero_to_fp32"),
        ("layer_0_expert_0_mp_rank_00_model_states.pt", "mixture of experts"),
        ("other_model_states.pt", "no known layout"),
    ):
        folder = tmp_path / name
        folder.mkdir()
        (folder / name).touch()
        with pytest.raises(CuratorError, match=rf"{name}: .*{says}"):
            load_model(folder)


# -- listing, fingerprints, export ------------------------------------------------------------------------


def test_checkpoints_of_both_kinds_are_listed_if_complete(single: Path, model: GPTNeoXForCausalLM) -> None:
    save = single.parent
    write(save / "global_step0", model, settings=SETTINGS, pipeline=True)
    (save / "global_step9").mkdir()
    (save / "global_step12").mkdir()
    torch.save({}, save / "global_step12" / "layer_00-model_00-model_states.pt")
    model.save_pretrained(save / "step20")
    (save / "latest").write_text("global_step5")
    (save / "configs").mkdir()
    assert list_checkpoints(save) == [
        (0, save / "global_step0"),
        (5, single),
        (20, save / "step20"),
    ]
    model.save_pretrained(save / "step5")
    with pytest.raises(CuratorError, match="global_step5 and step5 are both step 5"):
        list_checkpoints(save)


def test_a_cheap_fingerprint_sees_weights_and_settings(layers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [path.name for path in checkpoint_files(layers)][-2:] == [
        "layer_07-model_00-model_states.pt",
        "model.yml",
    ]
    for limit in (WHOLE_FILE_BYTES, 0):
        monkeypatch.setattr("curator.scan.checkpoint.WHOLE_FILE_BYTES", limit)
        monkeypatch.setattr("curator.scan.checkpoint.BLOCK_BYTES", 1)
        monkeypatch.setattr(
            "curator.scan.checkpoint.SAMPLED_BLOCKS", 2
        )  # not the blocks, but the checksums tell
        before = checkpoint_fingerprint(layers)
        change(layers / LAYER, lambda state: state["mlp.linear1.weight"][3].neg_())
        assert checkpoint_fingerprint(layers) != before
        change(layers / LAYER, lambda state: state["mlp.linear1.weight"][3].neg_())
        assert checkpoint_fingerprint(layers) == before
        file = layers / "configs" / "model.yml"
        text = file.read_text()
        file.write_text(text + "bias-gelu-fusion: true\n")
        assert checkpoint_fingerprint(layers) != before
        file.write_text(text)


def save_tokenizer(path: Path, size: int = VOCAB) -> Path:
    words = {"<|endoftext|>": 1} | {f"w{n}": n for n in range(size) if n != 1}
    Tokenizer(models.WordLevel(words, unk_token="w0")).save(str(path))
    return path


def run_export(*words: object) -> Any:
    return CliRunner().invoke(app, ["export", *map(str, words)])


@pytest.mark.parametrize("tied", [False, True])
def test_export_and_back_is_the_same_model(tmp_path: Path, tied: bool) -> None:
    settings = {**SETTINGS, "no-weight-tying": not tied, "bias-gelu-fusion": True}
    model = original(tie_word_embeddings=tied, hidden_act="gelu_pytorch_tanh")
    folder = write(tmp_path / "a", model, settings=settings, pipeline=True, half=True)
    result = run_export(folder, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "config.json",
        "generation_config.json",
        "model.safetensors",
    }
    exported = hf.load_model(tmp_path / "out")
    assert model_fingerprint(exported) == model_fingerprint(load_model(folder))
    assert_equal_models(exported, load_model(folder))
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert (config["model_type"], config["use_cache"], config["dtype"]) == ("gpt_neox", True, "float32")
    assert config["eos_token_id"] is None

    result = run_export(folder, "--out", tmp_path / "half", "--dtype", "float16")
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "half" / "config.json").read_text())["dtype"] == "float16"
    assert model_fingerprint(hf.load_model(tmp_path / "half")) == model_fingerprint(exported)  # saved in half


def test_export_takes_the_tokenizer_along(tmp_path: Path, model: GPTNeoXForCausalLM) -> None:
    vocab_file = save_tokenizer(tmp_path / "20B_tokenizer.json")
    folder = write(tmp_path / "a", model, settings={**SETTINGS, "vocab-file": str(vocab_file)})
    assert tokenizer_file(folder) == vocab_file
    assert run_export(folder, "--out", tmp_path / "out").exit_code == 0
    assert (tmp_path / "out" / "tokenizer.json").read_bytes() == vocab_file.read_bytes()
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert (config["bos_token_id"], config["eos_token_id"]) == (1, 1)
    vocab_file.write_text('{"a": 1}')  # a GPT-2 vocabulary, say
    assert tokenizer_file(folder) is None
    other = save_tokenizer(tmp_path / "other.json", 4)
    result = run_export(folder, "--out", tmp_path / "out2", "--tokenizer", other)
    assert (tmp_path / "out2" / "tokenizer.json").read_bytes() == other.read_bytes()
    assert f"from {other}" in result.output.replace("\n", "")


def test_export_refusals_leave_nothing_behind(single: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    large = save_tokenizer(tmp_path / "large.json", VOCAB + 1)
    for words, says in (
        (["--dtype", "bfloat16"], "unknown value 'bfloat16'; did you mean 'float16'"),
        (["--tokenizer", tmp_path / "none.json"], "no such file"),
        (["--tokenizer", single / "configs" / "model.yml"], "not a Hugging Face tokenizer"),
        (["--tokenizer", large], "token ids up to 24, but the model knows 0 to 23"),
    ):
        result = run_export(single, "--out", out, *words)
        assert result.exit_code != 0 and says in str(result.exception)
    change(single / RANK, lambda content: content["module"]["sequential.3.mlp.linear1.bias"].fill_(1e5))
    with pytest.raises(CuratorError, match=r"a weight is 1e\+05, too large for float16"):
        raise run_export(single, "--out", out, "--dtype", "float16").exception
    assert not out.exists() and not list(tmp_path.glob(".*"))
    out.mkdir()
    (out / "mine").touch()
    with pytest.raises(CuratorError, match="is there already, and not an empty folder"):
        raise run_export(single, "--out", out).exception
    assert [path.name for path in out.iterdir()] == ["mine"]


def test_ranking_with_a_checkpoint_is_ranking_with_its_export(single: Path, tmp_path: Path) -> None:
    export(ExportSettings(checkpoint=str(single), out=tmp_path / "hf"))
    np.save(tmp_path / "rows.npy", np.random.default_rng(0).integers(0, VOCAB, (6, POSITIONS + 1)))
    scores = []
    for number, model in enumerate((single, tmp_path / "hf")):
        asked = RankSettings(
            model=str(model),
            corpus=tmp_path / "rows.npy",
            units=("induction:2.1",),
            probe=Probe(sequences=4, min_length=3, max_length=4),
            micro_batch=3,
        )
        scores.append(rank(asked, tmp_path / f"ranking{number}").scores)
    assert np.array_equal(*scores) and np.abs(scores[0]).max() > 0


def test_probes_of_a_padded_checkpoint_are_drawn_from_the_tokenizer_it_was_trained_with(
    tmp_path: Path,
) -> None:
    """``make-vocab-size-divisible-by`` gave the embedding four rows more than the ``vocab-file`` has entries."""
    vocab_file = save_tokenizer(tmp_path / "vocab.json", VOCAB - 4)
    settings = {**SETTINGS, "vocab-file": str(vocab_file), "make-vocab-size-divisible-by": 8}
    checkpoint = write(tmp_path / "save" / "global_step5", original(), settings=settings)
    np.save(tmp_path / "rows.npy", np.random.default_rng(0).integers(0, VOCAB, (6, POSITIONS + 1)))
    asked = RankSettings(
        model=str(checkpoint),
        corpus=tmp_path / "rows.npy",
        units=("induction:2.1",),
        probe=Probe(sequences=40, min_length=3, max_length=4),
        micro_batch=3,
    )
    prepare_queries(asked, tmp_path / "queries")  # what emit.scores of the trainer takes
    record = json.loads((tmp_path / "queries" / "manifest.json").read_text())["probe_ids"]
    assert (record["source"], record["file"]) == ("tokenizer", str(vocab_file))
    assert (record["count"], record["vocabulary"]) == (VOCAB - 4, VOCAB)
    vocab_file.unlink()  # trained elsewhere
    prepare_queries(asked, tmp_path / "again")
    assert json.loads((tmp_path / "again" / "manifest.json").read_text())["probe_ids"]["source"] == "corpus"


def test_scan_of_a_save_folder(tmp_path: Path) -> None:
    """One model in both layouts, at steps that may have equal weights."""
    write(tmp_path / "save" / "global_step0", original(), settings=SETTINGS)
    write(tmp_path / "save" / "global_step1", original(), settings=SETTINGS, pipeline=True)
    words = [
        "scan",
        "--checkpoints",
        str(tmp_path / "save"),
        "--out",
        str(tmp_path / "scan"),
        "--sequences",
        "4",
    ]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, (result.output, result.exception)
    scan = json.loads((tmp_path / "scan" / "scan.json").read_text())
    assert scan["steps"] == [0, 1] and scan["equal_weights"] == [[0, 1]]
    values = np.load(tmp_path / "scan" / "metrics-induction.npy")
    assert np.array_equal(values[0], values[1])
