"""Laws 1, 2, 8 and 9 of a whole ranking: `rank` from files to files, in workers, killed and resumed.

Real processes are forked from a server that has the engine imported, so that each starts in a fraction of a
second; they are killed by SIGKILL from within, at a chosen change on the disk, or from here, at any moment.
"""

import itertools
import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import GOLDEN, golden_model, relative_error

from curator.errors import CuratorError, UsageError
from curator.influence import fit
from curator.influence.curvature import Damping
from curator.influence.fit import subset
from curator.influence.request import RankRequest
from curator.influence.run import rank
from curator.influence.taps import Taps
from curator.ranking import Ranking
from curator.storage import load_json
from curator.units import ProbeSettings

UNITS = ("induction:1.2", "previous-token:0.0")
N_SAMPLES = 37  # divisible by no batch, shard or number of workers used here


def request(**changes: Any) -> RankRequest:
    """37 samples in 5 shards of up to 8, float64."""
    given: dict[str, Any] = {
        "model": str(GOLDEN / "model"),
        "corpus": GOLDEN / "rows.npy",
        "units": UNITS,
        "samples": (3, 3 + N_SAMPLES),
        "probe": ProbeSettings(sequences=6),
        "factor_samples": 18,
        "dtype": "float64",
        "micro_batch": 4,
        "shard_size": 8,
    }
    return RankRequest(**{**given, **changes})


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def results(folder: Path) -> dict[str, bytes]:
    """Everything a ranking holds but the manifest: scores, blocks, losses, queries and factors, to the bit."""
    return {name: content for name, content in files(folder).items() if name != "manifest.json"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Ranking:
    """One uninterrupted ranking; do not change it."""
    return rank(request(), tmp_path_factory.mktemp("whole") / "ranking")


# -- other processes ----------------------------------------------------------------------------------------------

_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["curator.influence.run", "pytest"])


def _rank_in_child(
    asked: RankRequest, out: Path, worker: tuple[int, int], die_at: tuple[str, str] | None
) -> None:
    """Runs in another process. ``die_at``: (part of a path, before or after): SIGKILL at that file's appearance."""
    fit._SAVE_EVERY_SECONDS = 0
    if die_at is not None:
        place, moment = die_at
        replace = os.replace

        def dying(source: Any, target: Any) -> None:
            # a folder appears whole after its files were written under another name
            hit = place in str(Path(target).relative_to(out)) if Path(target).is_relative_to(out) else False
            if hit and moment == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            replace(source, target)
            if hit:
                os.kill(os.getpid(), signal.SIGKILL)

        os.replace = dying
    sys.stderr = open(os.devnull, "w")
    rank(asked, out, worker=worker)


def start(
    asked: RankRequest, out: Path, worker: tuple[int, int] = (0, 1), die_at: tuple[str, str] | None = None
) -> BaseProcess:
    process = _PROCESSES.Process(target=_rank_in_child, args=(asked, out, worker, die_at))
    process.start()
    return process


def finish(process: BaseProcess) -> int | None:
    process.join(60)
    return process.exitcode


def run_until_complete(asked: RankRequest, out: Path) -> None:
    assert finish(start(asked, out)) == 0
    assert load_json(out / "manifest.json")["status"] == "complete"


# -- law 2: shards, workers, units ----------------------------------------------------------------------------------


def test_law_2_each_sample_is_there_once_in_order(whole: Ranking) -> None:
    """No sampler pads or drops: the last shard holds 5 samples, its last batch one."""
    assert len(whole) == N_SAMPLES and whole.samples.tolist() == list(range(3, 3 + N_SAMPLES))
    assert whole.scores.shape == (2, N_SAMPLES) and whole.blocks.shape == (4, N_SAMPLES)
    assert whole.units == list(UNITS)
    assert whole.block_names == [f"induction:1.2/{b}" for b in ("qk", "v", "o")] + ["previous-token:0.0/qk"]
    assert len(np.unique(whole.losses)) == N_SAMPLES
    np.testing.assert_allclose(whole.scores[0], whole.blocks[:3].sum(0), rtol=1e-12)
    np.testing.assert_array_equal(whole.scores[1], whole.blocks[3])


@pytest.mark.parametrize("shard_size", [4, 16, 40])
def test_law_2_shards_of_whole_batches_change_no_bit(whole: Ranking, tmp_path: Path, shard_size: int) -> None:
    again = rank(request(shard_size=shard_size), tmp_path / "ranking")
    assert results(again.path) == results(whole.path)


@pytest.mark.parametrize(
    "layout", [{"shard_size": 3}, {"shard_size": 1}, {"micro_batch": 7, "shard_size": 37}]
)
def test_law_2_any_layout_changes_scores_by_rounding_alone(
    whole: Ranking, tmp_path: Path, layout: dict[str, int]
) -> None:
    again = rank(request(**layout), tmp_path / "ranking")
    assert relative_error(again.scores, whole.scores) < 1e-9
    assert relative_error(again.blocks, whole.blocks) < 1e-9
    assert relative_error(again.losses, whole.losses) < 1e-12


def test_law_2_the_default_layout_in_float32_agrees(whole: Ranking, tmp_path: Path) -> None:
    again = rank(request(dtype="float32", micro_batch=None, shard_size=None), tmp_path / "ranking")
    assert again.scores.dtype == np.float32
    assert relative_error(again.blocks, whole.blocks) < 1e-4


def test_law_2_the_order_of_units_and_their_company_change_no_score(whole: Ranking, tmp_path: Path) -> None:
    turned = rank(request(units=UNITS[::-1]), tmp_path / "turned")
    assert turned.units == list(UNITS[::-1])
    for unit in UNITS:
        assert relative_error(turned.unit_scores(unit), whole.unit_scores(unit)) < 1e-12
    alone = rank(request(units=UNITS[:1]), tmp_path / "alone")
    assert relative_error(alone.scores[0], whole.scores[0]) < 1e-10


def test_law_2_several_workers_change_no_bit(whole: Ranking, tmp_path: Path) -> None:
    """Two real processes share the shards; both end well, and both see the complete ranking."""
    out = tmp_path / "ranking"
    processes = [start(request(), out, worker) for worker in ((1, 2), (0, 2))]
    assert [finish(process) for process in processes] == [0, 0]
    assert results(out) == results(whole.path)
    np.testing.assert_array_equal(Ranking.open(out).scores, whole.scores)


def test_law_2_a_worker_that_dies_can_be_started_again(whole: Ranking, tmp_path: Path) -> None:
    out = tmp_path / "ranking"
    first = start(request(), out, (0, 2))
    assert finish(start(request(), out, (1, 2), ("shards/000003", "before"))) == -signal.SIGKILL
    assert first.is_alive() and not (out / "shards" / "000003.npy").exists()
    assert finish(start(request(), out, (1, 2))) == 0
    assert finish(first) == 0
    assert results(out) == results(whole.path)


def test_law_2_a_run_of_two_workers_can_be_resumed_by_one(whole: Ranking, tmp_path: Path) -> None:
    out = tmp_path / "ranking"
    assert finish(start(request(), out, (0, 2), ("shards/000002", "after"))) == -signal.SIGKILL
    run_until_complete(request(), out)
    assert results(out) == results(whole.path)


# -- law 2: kill and resume -----------------------------------------------------------------------------------------

# In the order in which they appear; each kill resumes what the one before it left.
PLACES = [
    "manifest.json", "sweeps/1/4", "sweeps/1/12", "sweeps/2/8", "sweeps/2/16", "factors/sides/0002",
    "factors/eigenvalues/0001", "factors/index.json", "queries/0001.npy", "queries/index.json",
    "shards/000000", "shards/000003", "shards/000004", "scores.npy", "blocks.npy", "losses.npy",
]  # fmt: skip


@pytest.fixture(scope="module")
def killed_everywhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Killed at the appearance of every kind of file, each time a moment before or after, then completed."""
    out = tmp_path_factory.mktemp("killed") / "ranking"
    for place, moment in zip(PLACES, itertools.cycle(["before", "after", "after"])):
        if place == "manifest.json":
            moment = "after"  # before it, there is nothing to resume: see the test below
        process = start(request(), out, die_at=(place, moment))
        assert finish(process) == -signal.SIGKILL, (place, moment)
        with pytest.raises(CuratorError, match=r"unfinished|not a ranking"):
            Ranking.open(out)
    run_until_complete(request(), out)
    return out


def test_law_2_a_kill_at_every_kind_of_file_changes_no_bit(whole: Ranking, killed_everywhere: Path) -> None:
    ours, theirs = results(killed_everywhere), results(whole.path)
    assert {name: ours[name] for name in theirs} == theirs


def test_law_2_a_kill_while_the_manifest_is_written_can_be_started_again(
    whole: Ranking, tmp_path: Path
) -> None:
    """What it leaves, the manifest under a temporary name, does not make the folder that of something else."""
    out = tmp_path / "ranking"
    assert finish(start(request(), out, die_at=("manifest.json", "before"))) == -signal.SIGKILL
    run_until_complete(request(), out)
    np.testing.assert_array_equal(Ranking.open(out).scores, whole.scores)


def test_law_2_a_kill_at_any_moment_changes_no_bit(whole: Ranking, tmp_path: Path) -> None:
    """From outside, after a random time, until a run comes to its end by itself."""
    moments, kills = random.Random(0), 0
    out = tmp_path / "ranking"
    for _ in range(40):
        began = time.monotonic()
        process = start(request(), out)
        process.join(moments.uniform(0.3, 0.9))
        if not process.is_alive():
            assert process.exitcode == 0
            if kills >= 3:
                break
            shutil.rmtree(out)  # a fast machine: begin anew
        else:
            process.kill()
            assert finish(process) == -signal.SIGKILL
            kills += 1
        assert time.monotonic() - began < 30
    if not out.exists() or load_json(out / "manifest.json")["status"] != "complete":
        run_until_complete(request(), out)
    assert kills >= 3
    ours, theirs = results(out), results(whole.path)
    assert {name: ours[name] for name in theirs} == theirs


@pytest.mark.parametrize(
    ("place", "left"),
    [
        ("sweeps/1/12", [6, 18, 37]),
        ("sweeps/2/8", [10, 37]),
        ("factors/index.json", [37]),
        ("shards/000002", [13]),
    ],
)
def test_law_2_a_resumed_run_does_only_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, left: list[int]
) -> None:
    """After 12 of 18 samples of a sweep, or 3 of 5 shards, only the rest goes through the model."""
    out, passed = tmp_path / "ranking", [0, 0]
    assert finish(start(request(), out, die_at=(place, "after"))) == -signal.SIGKILL
    run = Taps.run

    def counted(self: Taps, rows: torch.Tensor, **labels: Any) -> Any:
        passed[not labels] += len(rows)
        return run(self, rows, **labels)

    monkeypatch.setattr(Taps, "run", counted)
    rank(request(), out)
    assert passed == [sum(left[:-1]), left[-1]]


def test_law_9_a_killed_run_leaves_nothing_behind_once_complete(
    whole: Ranking, killed_everywhere: Path
) -> None:
    """Half-written temporary files of killed runs, the largest of a whole ranking's size, are cleared away."""
    assert set(results(killed_everywhere)) == set(results(whole.path))


def test_law_9_a_kill_while_clearing_up_leaves_nothing_behind(whole: Ranking, tmp_path: Path) -> None:
    """The manifest says complete, the shards are still there: the same command clears them away."""
    out = tmp_path / "ranking"
    asked = request()
    assert finish(start(asked, out, die_at=("losses.npy", "after"))) == -signal.SIGKILL
    assert finish(start(asked, out, die_at=("manifest.json", "after"))) == -signal.SIGKILL
    np.testing.assert_array_equal(Ranking.open(out).scores, whole.scores)
    run_until_complete(asked, out)
    assert set(results(out)) == set(results(whole.path))


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
    assert manifest["layout"] == {"micro_batch": 4, "shard_size": 8, "seq_length": 128}
    assert set(manifest["versions"]) >= {"curator", "torch", "transformers", "numpy", "python"}
    assert manifest["request"]["command"].startswith("curator rank --model ")


# -- law 8: refusals ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """A corpus, a model and probe tokens that differ by one entry."""
    folder = tmp_path_factory.mktemp("others")
    rows = np.load(GOLDEN / "rows.npy")
    rows[200, 7] ^= 1
    np.save(folder / "rows.npy", rows)
    np.save(folder / "probe.npy", np.array([[1, 2, 1, 2]]))
    shutil.copytree(GOLDEN / "model", folder / "model")
    model = golden_model()
    weight = model.gpt_neox.layers[0].mlp.dense_4h_to_h.weight
    value = weight[3, 3].item()
    try:
        weight[3, 3] += 1e-3
        model.save_pretrained(folder / "model")
    finally:
        weight[3, 3] = value
    yield {
        "corpus": folder / "rows.npy",
        "model": str(folder / "model"),
        "probe_tokens": folder / "probe.npy",
    }


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("corpus", {"corpus": "corpus"}, r"fingerprints\.corpus: there '{corpus}', asked for '[0-9a-f]{{16}}'"),
    ("model", {"model": "model"}, r"fingerprints\.model: there '{model}', asked for '[0-9a-f]{{16}}'"),
    ("probe tokens", {"probe_tokens": "probe_tokens"}, r"probe_sequences\.induction:1\.2: there '[0-9a-f]+', asked for"),
    ("units", {"units": ("induction:1.3",)}, r"units: there \['induction:1\.2', .*asked for \['induction:1\.3'\]"),
    ("samples", {"samples": (3, 39)}, r"samples: there \[3, 40\], asked for \[3, 39\]"),
    ("dtype", {"dtype": "float32"}, r"settings\.dtype: there 'float64', asked for 'float32'"),
    ("damping", {"damping": Damping(alpha=0.2)}, r"settings\.damping\.alpha: there 0\.1, asked for 0\.2"),
    ("fisher", {"fisher": "empirical"}, r"settings\.fisher: there 'sampled', asked for 'empirical'"),
    ("factor seed", {"factor_seed": 1}, r"settings\.factor_seed: there 0, asked for 1"),
    ("factor samples", {"factor_samples": 17}, r"settings\.factor_samples: there 18, asked for 17"),
    ("probe seed", {"probe": ProbeSettings(sequences=6, seed=5)}, r"settings\.probe\.seed: there 0, asked for 5"),
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


@pytest.fixture
def no_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any pass through the model fails the test."""

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("work was begun")

    monkeypatch.setattr(Taps, "run", refuse)


def test_law_2_a_complete_ranking_is_returned_at_once(whole: Ranking, no_pass: None) -> None:
    """Also for those who leave the layout open, which the first start chose."""
    before = {path: path.stat().st_mtime_ns for path in whole.path.rglob("*")}
    for layout in ({}, {"micro_batch": None, "shard_size": None}):
        again = rank(request(**layout), whole.path)
        np.testing.assert_array_equal(again.scores, whole.scores)
    assert before == {path: path.stat().st_mtime_ns for path in whole.path.rglob("*")}


def test_law_8_a_token_outside_the_vocabulary_is_refused_before_work(tmp_path: Path, no_pass: None) -> None:
    rows = np.load(GOLDEN / "rows.npy")
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


@pytest.mark.parametrize("samples", [(0, 257), (-1, 5), (5, 5), (9, 3)])
def test_law_8_samples_outside_the_corpus_are_refused(tmp_path: Path, samples: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="256"):
        rank(request(samples=samples), tmp_path / "ranking")


@pytest.mark.parametrize("worker", [(2, 2), (-1, 2), (0, 0)])
def test_law_8_a_worker_that_cannot_be_is_refused(tmp_path: Path, worker: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="worker"):
        rank(request(), tmp_path / "ranking", worker=worker)


@pytest.mark.parametrize("module", ["embed_in", "layers.2.mlp.dense_4h_to_h"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_law_8_damaged_weights_are_refused_in_words(tmp_path: Path, module: str, value: float) -> None:
    model = golden_model()
    weight = model.gpt_neox.get_parameter(f"{module}.weight")
    before = weight[5, 5].item()
    try:
        weight[5, 5] = value
        model.save_pretrained(tmp_path / "model")
    finally:
        weight[5, 5] = before
    with pytest.raises(CuratorError, match="not finite"):
        rank(request(model=str(tmp_path / "model"), dtype="float32"), tmp_path / "ranking")
    with pytest.raises(CuratorError, match="unfinished|not a ranking"):
        Ranking.open(tmp_path / "ranking")


# -- the factor subset, and the command -----------------------------------------------------------------------------


def test_law_2_the_factor_subset_is_capped_seeded_and_without_repetition(whole: Ranking) -> None:
    assert load_json(whole.path / "factors" / "index.json")["samples"] == 18
    chosen = subset(3, 40, 18, seed=0)
    assert len(set(chosen.tolist())) == 18 and chosen.min() >= 3 and chosen.max() < 40
    assert (np.diff(chosen) > 0).all()
    np.testing.assert_array_equal(chosen, subset(3, 40, 18, seed=0))
    assert not np.array_equal(chosen, subset(3, 40, 18, seed=1))
    np.testing.assert_array_equal(subset(3, 40, 37, seed=0), np.arange(3, 40))
    np.testing.assert_array_equal(subset(3, 40, 10**6, seed=0), np.arange(3, 40))


def test_law_2_the_factors_see_only_their_subset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of its samples once per sweep, and with labels of its own in each."""
    seen: list[tuple[int, str]] = []
    run = Taps.run

    def watched(self: Taps, rows: torch.Tensor, **labels: Any) -> Any:
        if labels:
            seen.extend((int(row.sum()), str(own[:3])) for row, own in zip(rows, labels["uniforms"]))
        return run(self, rows, **labels)

    monkeypatch.setattr(Taps, "run", watched)
    rank(request(factor_samples=5, dtype="float32"), tmp_path / "ranking")
    rows = np.load(GOLDEN / "rows.npy").astype(np.int64)
    expected = rows[subset(3, 40, 5, seed=0)].sum(1).tolist()
    assert [total for total, _ in seen] == expected * 2
    assert len({uniforms for _, uniforms in seen}) == 10


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "elsewhere"}, {"corpus": Path("other.npy")}, {"units": ("induction:*",)}, {"samples": (0, 5)},
        {"probe": ProbeSettings(sequences=7)}, {"probe": ProbeSettings(sequences=6, seed=1)},
        {"probe": ProbeSettings(sequences=6, min_length=9)}, {"probe": ProbeSettings(sequences=6, max_length=19)},
        {"probe_tokens": Path("probe.npy")}, {"fisher": "empirical"}, {"factor_samples": 19}, {"factor_seed": 1},
        {"dtype": "bfloat16"}, {"micro_batch": 5}, {"shard_size": 9}, {"unit_modules": (Path("mine.py"),)},
    ],
    ids=lambda changes: next(iter(changes)),
)  # fmt: skip
def test_law_8_the_command_in_the_manifest_forgets_no_setting(changes: dict[str, Any]) -> None:
    assert request(**changes).command() != request().command()
