"""GPT-NeoX checkpoints in use: listed, exported to a Hugging Face folder and back, ranked with, scanned."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from neox_checkpoints import (
    LAYER,
    POSITIONS,
    RANK,
    SETTINGS,
    VOCAB,
    assert_equal_models,
    change,
    original,
    write,
)
from tokenizers import Tokenizer, models
from transformers import GPTNeoXForCausalLM
from typer.testing import CliRunner

from curator.artifacts.fields import Probe
from curator.cli.app import app
from curator.errors import CuratorError
from curator.models import (
    checkpoint_files,
    hf,
    list_checkpoints,
    load_model,
    model_fingerprint,
    tokenizer_file,
)
from curator.models.export import export
from curator.models.settings import ExportSettings
from curator.ranking.run import prepare_queries, rank
from curator.ranking.settings import RankSettings
from curator.scan.checkpoint import WHOLE_FILE_BYTES, checkpoint_fingerprint

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
