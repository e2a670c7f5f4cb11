"""Laws 1, 2, 8 and 9 of a whole ranking: `rank` from files to files, in workers, killed and resumed.

Real processes are forked from a server that has the engine imported, so that each starts in a fraction of a
second; they are killed by SIGKILL from within, at a chosen change on the disk, or from here, at any moment.
"""

import itertools
import os
import random
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from engine_parts import relative_error
from forked import finish
from rank_runs import CORPUS, N_SAMPLES, UNITS, files, request, results, run_until_complete, start

from curator.artifacts.files import load_json
from curator.errors import CuratorError
from curator.influence.fit import subset
from curator.influence.taps import Taps
from curator.ranking.ranking import Ranking
from curator.ranking.run import rank

# -- law 2: shards, workers, units ----------------------------------------------------------------------------------


def test_law_2_each_sample_is_there_once_in_order(whole: Ranking) -> None:
    """No sampler pads or drops: the last shard holds 5 samples, its last batch one."""
    assert len(whole) == N_SAMPLES and whole.samples.tolist() == list(range(3, 3 + N_SAMPLES))
    assert whole.scores.shape == (2, N_SAMPLES) and whole.blocks.shape == (4, N_SAMPLES)
    assert whole.units == list(UNITS)
    assert list(map(str, whole.block_keys)) == [
        *(f"induction:1.2/{b}" for b in ("qk", "v", "o")),
        "previous-token:0.0/qk",
    ]
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


def test_law_2_the_default_layout_in_float32_agrees(tmp_path: Path) -> None:
    """With the data's own labels: of drawn ones, one in thousands lies so near a boundary that float32 picks
    its neighbour, and among 18 samples a single other label moves the curvature by a percent."""
    exact = rank(request(fisher="empirical"), tmp_path / "exact")
    again = rank(
        request(fisher="empirical", dtype="float32", micro_batch=None, shard_size=None), tmp_path / "ranking"
    )
    assert again.scores.dtype == np.float32
    assert relative_error(again.blocks, exact.blocks) < 1e-4


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
    "manifest.json", "sweeps/1/4", "sweeps/1/12", "factors/sides/0002", "factors/bases/0001", "factors/sides.json",
    "sweeps/2/8", "sweeps/2/16", "factors/eigenvalues/0001", "factors/index.json", "queries/0001.npy",
    "queries/index.json", "shards/000000", "shards/000003", "shards/000004", "scores.npy", "blocks.npy", "losses.npy",
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
    """From outside, three times, after a random part of the time that a whole run takes here and now."""
    whole_time = 0.0
    for name in ("first", "timed"):  # the first also starts the server that the others are forked from
        began = time.monotonic()
        run_until_complete(request(), tmp_path / name)
        whole_time = time.monotonic() - began
    moments, kills = random.Random(0), 0
    out = tmp_path / "ranking"
    for _ in range(30):
        process = start(request(), out)
        process.join(moments.uniform(0.2, 0.8) * whole_time)
        process.kill()
        code = finish(process)
        assert code in (-signal.SIGKILL, 0)
        kills += code != 0
        if kills == 3:
            break
        if code == 0:  # it came to its end before the moment: begin anew
            shutil.rmtree(out)
    assert kills == 3
    run_until_complete(request(), out)
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
    assert set(files(killed_everywhere)) == set(files(whole.path))


def test_law_9_a_kill_while_clearing_up_leaves_nothing_behind(whole: Ranking, tmp_path: Path) -> None:
    """The manifest says complete, the shards are still there: the same command clears them away."""
    out = tmp_path / "ranking"
    asked = request()
    assert finish(start(asked, out, die_at=("losses.npy", "after"))) == -signal.SIGKILL
    assert finish(start(asked, out, die_at=("manifest.json", "after"))) == -signal.SIGKILL
    np.testing.assert_array_equal(Ranking.open(out).scores, whole.scores)
    run_until_complete(asked, out)
    assert set(files(out)) == set(files(whole.path))


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
    rows = np.load(CORPUS).astype(np.int64)
    expected = rows[subset(3, 40, 5, seed=0)].sum(1).tolist()
    assert [total for total, _ in seen] == expected * 2
    assert len({uniforms for _, uniforms in seen}) == 10


def test_law_2_a_complete_ranking_is_returned_at_once(whole: Ranking, no_pass: None) -> None:
    """Also for those who leave the layout open, which the first start chose."""
    before = {path: path.stat().st_mtime_ns for path in whole.path.rglob("*")}
    for layout in ({}, {"micro_batch": None, "shard_size": None}):
        again = rank(request(**layout), whole.path)
        np.testing.assert_array_equal(again.scores, whole.scores)
    assert before == {path: path.stat().st_mtime_ns for path in whole.path.rglob("*")}


def test_law_2_the_same_command_started_twice_is_refused_once(whole: Ranking, tmp_path: Path) -> None:
    """Two workers 0 in one folder would tidy away each other's files; the second to come is turned away."""
    out = tmp_path / "ranking"
    first = start(request(), out, die_at=("shards/000000", "stop"))
    while not (out / "shards" / "000000.npy").exists():
        assert first.is_alive()
        time.sleep(0.01)
    assert finish(start(request(), out)) == 1
    os.kill(first.pid or 0, signal.SIGCONT)
    assert finish(first) == 0
    assert results(out) == results(whole.path)
