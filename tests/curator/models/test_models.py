"""What `load_model` reads, and what it refuses: nothing may be filled in, guessed or unpickled."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from curator.errors import CuratorError
from curator.models import list_checkpoints, load_model, model_fingerprint, tokenizer_file
from curator.training import TrainingConfig, build_model

CONFIG = TrainingConfig(
    n_layers=2,
    d_model=16,
    n_heads=2,
    d_mlp=32,
    vocab_size=24,
    seq_length=8,
    steps=1,
    batch_size=1,
    warmup_steps=0,
)
MLP = "gpt_neox.layers.1.mlp.dense_4h_to_h.weight"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    build_model(CONFIG).save_pretrained(tmp_path / "run" / "step5")
    return tmp_path / "run" / "step5"


def change_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def change_config(folder: Path, **changes: object) -> None:
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**settings, **changes}))


def test_a_loaded_model_is_the_saved_one_and_ready_to_be_measured(folder: Path) -> None:
    original = build_model(CONFIG)
    model = load_model(str(folder), torch.float64, "cpu")
    assert not model.training
    assert not model.config.use_cache
    assert model.config._attn_implementation == "sdpa"
    assert not any(parameter.requires_grad for parameter in model.parameters())
    for (name, saved), (_, loaded) in zip(original.named_parameters(), model.named_parameters(), strict=True):
        assert loaded.dtype == torch.float64
        assert torch.equal(saved.double(), loaded), name
    tokens = torch.arange(8)[None]
    torch.testing.assert_close(model(tokens).logits, original.double()(tokens).logits, rtol=0, atol=1e-12)
    assert load_model(folder).dtype == torch.float32


def test_fingerprint_is_of_the_content(folder: Path) -> None:
    before = model_fingerprint(load_model(folder))
    assert before == model_fingerprint(build_model(CONFIG))
    change_config(folder, num_attention_heads=4)  # same weights, another function
    assert model_fingerprint(load_model(folder)) != before
    change_config(folder, num_attention_heads=2)
    assert model_fingerprint(load_model(folder)) == before
    change_weights(folder, lambda weights: weights[MLP][3].neg_())
    assert model_fingerprint(load_model(folder)) != before


def test_weights_that_are_missing_superfluous_or_misshapen_are_named(folder: Path) -> None:
    whole = (folder / "model.safetensors").read_bytes()
    change_weights(folder, lambda weights: weights.pop(MLP))
    with pytest.raises(CuratorError, match=f"missing {MLP}"):
        load_model(folder)
    (folder / "model.safetensors").write_bytes(whole)
    change_weights(folder, lambda weights: weights.update({"gpt_neox.layers.2.extra": torch.ones(1)}))
    with pytest.raises(CuratorError, match=r"unexpected gpt_neox\.layers\.2\.extra"):
        load_model(folder)
    (folder / "model.safetensors").write_bytes(whole)
    change_weights(folder, lambda weights: weights.update({MLP: torch.ones(3, 3)}))
    with pytest.raises(CuratorError, match=rf"misshapen {MLP} \[3, 3\] instead of \[16, 32\]"):
        load_model(folder)


def test_buffers_that_older_versions_stored_are_no_surprise(folder: Path) -> None:
    buffers = {
        "gpt_neox.layers.0.attention.bias": torch.ones(1, 1, 8, 8, dtype=torch.uint8),
        "gpt_neox.layers.0.attention.masked_bias": torch.tensor(-1e9),
        "gpt_neox.layers.0.attention.rotary_emb.inv_freq": torch.ones(1),
    }
    change_weights(folder, lambda weights: weights.update(buffers))
    assert model_fingerprint(load_model(folder)) == model_fingerprint(build_model(CONFIG))


def test_a_truncated_file_is_an_error(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CuratorError, match="cannot be read"):
        load_model(folder)


def test_pickled_weights_are_refused(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(
        CuratorError, match=r"no model\.safetensors; found pytorch_model\.bin.*save_pretrained"
    ):
        load_model(folder)


def test_other_architectures_are_refused(folder: Path) -> None:
    change_config(folder, model_type="llama")
    with pytest.raises(CuratorError, match=r"config\.json: model_type is 'llama', expected 'gpt_neox'"):
        load_model(folder)


def test_a_wrong_folder_names_the_checkpoints_that_exist(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = folder.parent
    build_model(CONFIG).save_pretrained(run / "step10")
    with pytest.raises(CuratorError, match=r"no config\.json .*run holds the checkpoints step5, step10\)"):
        load_model(run)
    with pytest.raises(
        CuratorError, match=r"no folder .*step7 \(.*run holds the checkpoints step5, step10\)"
    ):
        load_model(run / "step7")
    monkeypatch.chdir(run.parent)
    with pytest.raises(CuratorError, match="holds the checkpoints step5, step10"):
        load_model("run/step7")  # could be a hub id, but there is a folder "run"
    assert load_model("run/step5").dtype == torch.float32


def test_a_hub_model_that_cannot_be_fetched_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(
        CuratorError, match=r"no folder of that name, and the hub model no-one/nothing at .*step3"
    ):
        load_model("no-one/nothing@step3")
    with pytest.raises(CuratorError, match="no such model"):
        load_model("nothing")


def test_neox_checkpoints_are_recognised(tmp_path: Path) -> None:
    (tmp_path / "layer_00-model_00-model_states.pt").touch()
    with pytest.raises(CuratorError, match="GPT-NeoX checkpoint"):
        load_model(tmp_path)


def test_list_checkpoints_sorts_by_step_and_leaves_out_what_is_incomplete(folder: Path) -> None:
    run = folder.parent
    for name in ("step-20", "step_100", "step0"):
        build_model(CONFIG).save_pretrained(run / name)
    (run / "step7").mkdir()
    (run / "step8").write_text("a file")
    build_model(CONFIG).save_pretrained(run / ".step9.abc.tmp")
    assert list_checkpoints(run) == [
        (0, run / "step0"),
        (5, run / "step5"),
        (20, run / "step-20"),
        (100, run / "step_100"),
    ]
    build_model(CONFIG).save_pretrained(run / "step-5")
    with pytest.raises(CuratorError, match="step-5 and step5 are both step 5"):
        list_checkpoints(run)
    with pytest.raises(CuratorError, match="no such folder"):
        list_checkpoints(run / "nowhere")


def test_the_tokenizer_lies_with_the_model_or_above_it(folder: Path) -> None:
    assert tokenizer_file(folder) is None
    assert tokenizer_file("no-one/nothing") is None
    (folder.parent / "tokenizer.json").touch()
    assert tokenizer_file(folder) == folder.parent / "tokenizer.json"
    (folder / "tokenizer.json").touch()
    assert tokenizer_file(folder) == folder / "tokenizer.json"
