"""Laws 8 and 9 of a ranking: what lies on the disk, and what is refused, naming both sides."""

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine_parts import GOLDEN
from forked import finish
from rank_runs import CORPUS, files, request, save_changed_model, start

from curator.artifacts.fields import Probe
from curator.errors import CuratorError, UsageError
from curator.ranking.ranking import Ranking
from curator.ranking.run import rank

# -- law 9: what lies on the disk -----------------------------------------------------------------------------------


def test_law_9_only_plain_arrays_and_json_no_pickle(whole: Ranking) -> None:
    for path in whole.path.rglob("*"):
        if path.suffix == ".npy":
            assert np.load(path, allow_pickle=False).dtype.kind in "fiu", path
        elif path.is_file():
            assert path.suffix == ".json", path
            json.loads(path.read_text())
    assert {path.name for path in whole.path.iterdir()} == {
        "manifest.json", "scores.npy", "blocks.npy", "losses.npy", "queries", "factors",
    }  # fmt: skip


def test_law_9_the_arrays_are_memory_mapped_and_read_only(whole: Ranking) -> None:
    for array in (whole.scores, whole.blocks, whole.losses):
        assert isinstance(array, np.memmap) and not array.flags.writeable


@pytest.mark.parametrize("name", ["scores", "blocks", "losses"])
@pytest.mark.parametrize("kept", [0, 60, 200])
def test_law_9_a_truncated_array_is_refused_by_name(
    whole: Ranking, tmp_path: Path, name: str, kept: int
) -> None:
    shutil.copytree(whole.path, tmp_path / "ranking")
    path = tmp_path / "ranking" / f"{name}.npy"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(CuratorError, match=rf"{name}\.npy"):
        Ranking.open(tmp_path / "ranking")


def test_law_9_arrays_that_do_not_fit_the_manifest_are_refused(whole: Ranking, tmp_path: Path) -> None:
    shutil.copytree(whole.path, tmp_path / "ranking")
    np.save(tmp_path / "ranking" / "scores.npy", whole.scores[:, :-1])
    with pytest.raises(CuratorError, match=r"scores\.npy: shape \(2, 36\), the manifest says \(2, 37\)"):
        Ranking.open(tmp_path / "ranking")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "no manifest.json"),
        ("{", "not valid JSON"),
        ("[]", "list"),
        ('{"format": "other"}', "'other'"),
        ('{"format": "curator-ranking-1"}', "manifest.json"),
    ],
)
def test_law_8_a_folder_that_is_no_ranking_is_refused(tmp_path: Path, text: str | None, says: str) -> None:
    if text is not None:
        (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(CuratorError, match=says):
        Ranking.open(tmp_path)


def test_law_8_the_manifest_holds_what_made_the_ranking(whole: Ranking) -> None:
    """Enough to run it again from what lies in the folder."""
    manifest = whole.manifest
    assert manifest["status"] == "complete" and manifest["samples"] == [3, 40]
    assert set(manifest["fingerprints"]) >= {"model", "corpus", "probe_sequences"}
    assert manifest["settings"]["damping"] == {"mode": "mean", "alpha": 0.1, "floor": 1e-5}
    assert manifest["settings"]["fisher"] == "sampled" and manifest["settings"]["factor_samples"] == 18
    assert manifest["layout"] == {"micro_batch": 4, "shard_size": 8, "seq_length": 32}
    assert set(manifest["versions"]) >= {"curator", "torch", "transformers", "numpy", "python"}
    assert manifest["request"]["command"].startswith("curator rank --model ")


# -- law 8: refusals ------------------------------------------------------------------------------------------------


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("corpus", {"corpus": "corpus"}, r"fingerprints\.corpus: there '{corpus}', asked for '[0-9a-f]{{16}}'"),
    ("model", {"model": "model"}, r"fingerprints\.model: there '{model}', asked for '[0-9a-f]{{16}}'"),
    ("probe tokens", {"probe_tokens": "probe_tokens"}, r"probe_sequences\.induction:1\.2: there '[0-9a-f]+', asked"),
    ("units", {"units": ("induction:1.3",)}, r"units: there \['induction:1\.2', .*asked for \['induction:1\.3'\]"),
    ("samples", {"samples": (3, 39)}, r"samples: there \[3, 40\], asked for \[3, 39\]"),
    ("dtype", {"dtype": "float32"}, r"settings\.dtype: there 'float64', asked for 'float32'"),
    ("damping", {"alpha": 0.2}, r"settings\.damping\.alpha: there 0\.1, asked for 0\.2"),
    ("fisher", {"fisher": "empirical"}, r"settings\.fisher: there 'sampled', asked for 'empirical'"),
    ("factor seed", {"factor_seed": 1}, r"settings\.factor_seed: there 0, asked for 1"),
    ("factor samples", {"factor_samples": 17}, r"settings\.factor_samples: there 18, asked for 17"),
    ("probe seed", {"probe": Probe(sequences=6, seed=5)}, r"settings\.probe\.seed: there 0, asked for 5"),
    ("batch", {"micro_batch": 2}, r"layout\.micro_batch: there 4, asked for 2"),
    ("shards", {"shard_size": 12}, r"layout\.shard_size: there 8, asked for 12"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "says"), [entry[1:] for entry in REFUSED], ids=[entry[0] for entry in REFUSED]
)
def test_law_8_another_request_is_refused_naming_both_sides(
    whole: Ranking, others: dict[str, Any], changes: dict[str, Any], says: str
) -> None:
    asked = {
        key: others[value] if isinstance(value, str) and value in others else value
        for key, value in changes.items()
    }
    before = files(whole.path)
    prints = whole.manifest["fingerprints"]
    with pytest.raises(
        CuratorError, match=says.format(corpus=prints["corpus"], model=prints["model"])
    ) as error:
        rank(request(**asked), whole.path)
    assert str(whole.path) in str(error.value)
    assert files(whole.path) == before


def test_law_8_an_unfinished_ranking_of_another_model_is_refused(
    others: dict[str, Any], tmp_path: Path
) -> None:
    """Its factors are complete: they are not taken for the other model's."""
    out = tmp_path / "ranking"
    assert finish(start(request(), out, die_at=("queries/0001.npy", "before"))) == -signal.SIGKILL
    assert (out / "factors" / "index.json").is_file()
    with pytest.raises(CuratorError, match="unfinished"):
        Ranking.open(out)
    with pytest.raises(CuratorError, match=r"fingerprints\.model"):
        rank(request(model=others["model"]), out)


@pytest.mark.parametrize("swapped", ["factors", "queries"])
def test_law_8_factors_and_queries_of_another_model_are_not_trusted_by_name(
    whole: Ranking, others: dict[str, Any], tmp_path: Path, swapped: str
) -> None:
    """Put into an unfinished ranking, as a copied or shared folder would be: refused, or made anew."""
    out = tmp_path / "ranking"
    where = {"factors": "queries/0000.npy", "queries": "shards/000000"}[swapped]
    assert finish(start(request(), out, die_at=(where, "before"))) == -signal.SIGKILL
    other = rank(request(model=others["model"]), tmp_path / "other")
    shutil.rmtree(out / swapped)
    shutil.copytree(other.path / swapped, out / swapped)
    try:
        rank(request(), out)
    except CuratorError as error:
        assert swapped in str(error)
    else:
        np.testing.assert_array_equal(Ranking.open(out).scores, whole.scores)


def test_law_8_a_folder_of_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(CuratorError, match="not empty"):
        rank(request(), tmp_path)
    assert files(tmp_path) == {"thesis.txt": b"years of work"}


def test_law_8_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ranking").write_text("a file")
    with pytest.raises(CuratorError, match="ranking"):
        rank(request(samples=(0, 4)), tmp_path / "ranking")


def test_law_8_an_empty_folder_will_do(tmp_path: Path) -> None:
    assert len(rank(request(samples=(0, 4), factor_samples=4, dtype="float32"), tmp_path)) == 4


def test_law_8_a_token_outside_the_vocabulary_is_refused_before_work(tmp_path: Path, no_pass: None) -> None:
    rows = np.load(CORPUS)
    rows[17, 9] = 512
    np.save(tmp_path / "rows.npy", rows)
    with pytest.raises(
        CuratorError, match=r"rows\.npy: sample 17, column 9: token id 512 .* vocabulary of 512"
    ):
        rank(request(corpus=tmp_path / "rows.npy"), tmp_path / "ranking")
    assert not (tmp_path / "ranking").exists()


def test_law_8_rows_wider_than_the_models_positions_are_refused_before_work(
    tmp_path: Path, no_pass: None
) -> None:
    rows = np.load(GOLDEN / "rows.npy")
    np.save(tmp_path / "rows.npy", np.concatenate([rows, rows[:, :1]], 1))
    with pytest.raises(CuratorError, match=r"130 tokens .* 128 positions"):
        rank(request(corpus=tmp_path / "rows.npy"), tmp_path / "ranking")
    assert not (tmp_path / "ranking").exists()


def test_law_8_probe_tokens_longer_than_the_models_positions_are_refused(
    tmp_path: Path, no_pass: None
) -> None:
    np.save(tmp_path / "probe.npy", np.arange(258).reshape(2, 129) % 100)
    with pytest.raises(CuratorError, match=r"probe\.npy.*128"):
        rank(request(probe_tokens=tmp_path / "probe.npy"), tmp_path / "ranking")


@pytest.mark.parametrize(
    ("samples", "says"),
    [
        ((0, 257), "256"),
        *(((a, b), rf"samples: \({a}, {b}\) is not allowed") for a, b in ((-1, 5), (5, 5), (9, 3))),
    ],
)
def test_law_8_samples_outside_the_corpus_are_refused(
    tmp_path: Path, samples: tuple[int, int], says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        rank(request(samples=samples), tmp_path / "ranking")


@pytest.mark.parametrize("worker", [(2, 2), (-1, 2), (0, 0)])
def test_law_8_a_worker_that_cannot_be_is_refused(tmp_path: Path, worker: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="worker"):
        rank(request(), tmp_path / "ranking", worker=worker)


@pytest.mark.parametrize("module", ["embed_in", "layers.2.mlp.dense_4h_to_h"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_law_8_damaged_weights_are_refused_in_words(tmp_path: Path, module: str, value: float) -> None:
    save_changed_model(tmp_path / "model", f"gpt_neox.{module}.weight", value)
    with pytest.raises(CuratorError, match="not finite"):
        rank(request(model=str(tmp_path / "model"), dtype="float32"), tmp_path / "ranking")
    with pytest.raises(CuratorError, match=r"unfinished|not a ranking"):
        Ranking.open(tmp_path / "ranking")


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "elsewhere"}, {"corpus": Path("other.npy")}, {"units": ("induction:*",)}, {"samples": (0, 5)},
        {"probe": Probe(sequences=7)}, {"probe": Probe(sequences=6, seed=1)},
        {"probe": Probe(sequences=6, min_length=9)}, {"probe": Probe(sequences=6, max_length=19)},
        {"probe_tokens": Path("probe.npy")}, {"fisher": "empirical"}, {"factor_samples": 19}, {"factor_seed": 1},
        {"dtype": "bfloat16"}, {"micro_batch": 5}, {"shard_size": 9}, {"unit_modules": (Path("mine.py"),)},
    ],
    ids=lambda changes: next(iter(changes)),
)  # fmt: skip
def test_law_8_the_command_in_the_manifest_forgets_no_setting(changes: dict[str, Any]) -> None:
    assert request(**changes).command() != request().command()
