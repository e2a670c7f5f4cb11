"""GPT-NeoX checkpoints that are damaged, of another model, or malicious: refused, with what was looked for."""

import os
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from neox_checkpoints import (
    LAYER,
    POSITIONS,
    RANK,
    SETTINGS,
    WIDTH,
    assert_equal_models,
    change,
    original,
    write,
)
from transformers import GPTNeoXForCausalLM

from curator.errors import CuratorError
from curator.models import (
    list_checkpoints,
    load_config,
    load_model,
)

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
