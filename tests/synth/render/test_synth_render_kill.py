"""Kill and resume: real processes, ended by SIGKILL at every kind of change on the disk, and at any moment."""

import itertools
import signal
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from forked import finish
from generator_folders import FEW, LINES, write_generators
from render_runs import settings, start

from curator.artifacts.claim import lock_folder
from curator.errors import CuratorError
from synth.render.folder import Rows
from synth.render.run import render

# In the order in which they appear.
PLACES = ["parts/identity.json", "parts/p001/0-32", "parts/p001/32-60", "parts/p002/0-32", "parts/p002/60-92",
          "data.ninja", "dtype.ninja", "type.ninja", "patterns.json", "row_patterns.npy", "row_candidates.npy",
          "manifest.json"]  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Rows:
    """One uninterrupted run, in which one pattern is exhausted; its generators lie beside it."""
    folder = tmp_path_factory.mktemp("whole")
    generators = write_generators(folder / "generators", {"p001": LINES, "p002": FEW})
    return render(settings(generators.path, folder / "rows"))


def contents(folder: Path) -> dict[str, bytes]:
    """Every file's bytes; of the manifest, all but how long it took and where."""
    found = {}
    for path in folder.rglob("*"):
        if path.is_file() and path.name != "manifest.json":
            found[str(path.relative_to(folder))] = path.read_bytes()
    manifest = Rows.open(folder).manifest
    kept = {key: manifest[key] for key in manifest if key not in ("last_run", "request")}
    return {**found, "manifest": repr(kept).encode()}


def test_a_run_killed_at_every_kind_of_file_gives_the_same_folder(whole: Rows, tmp_path: Path) -> None:
    """Each kill is followed by a run that goes on and is killed at the next place."""
    folder, out = whole.path.parent / "generators", tmp_path / "rows"
    for place, moment in zip(PLACES, itertools.cycle(["after", "before"])):
        assert finish(start(folder, out, die_at=(place, moment))) == -signal.SIGKILL, (place, moment)
        with pytest.raises(CuratorError, match="no rendered rows"):
            Rows.open(out)
        if place == "manifest.json":
            break
    assert finish(start(folder, out)) == 0
    assert contents(out) == contents(whole.path)


def test_a_kill_behind_the_manifest_leaves_a_finished_folder(whole: Rows, tmp_path: Path) -> None:
    folder, out = whole.path.parent / "generators", tmp_path / "rows"
    assert finish(start(folder, out, die_at=("manifest.json", "after"))) == -signal.SIGKILL
    np.testing.assert_array_equal(Rows.open(out).corpus.rows(slice(None)), whole.corpus.rows(slice(None)))
    assert finish(start(folder, out)) == 0
    assert contents(out) == contents(whole.path)


def test_finished_shards_are_not_made_again(whole: Rows, tmp_path: Path) -> None:
    folder, out = whole.path.parent / "generators", tmp_path / "rows"
    assert finish(start(folder, out, die_at=("parts/p002/0-32", "after"))) == -signal.SIGKILL
    shard = out / "parts" / "p001" / "0-32" / "rows.npy"
    before = shard.stat().st_mtime_ns
    assert finish(start(folder, out, die_at=("data.ninja", "before"))) == -signal.SIGKILL
    assert shard.stat().st_mtime_ns == before


def test_a_parent_killed_at_any_moment_takes_its_workers_with_it_and_is_resumed(
    whole: Rows, tmp_path: Path
) -> None:
    folder, out = whole.path.parent / "generators", tmp_path / "rows"
    process = start(folder, out, workers=2)
    until = time.monotonic() + 60
    while not list(out.glob("parts/p00*/*-*")) and time.monotonic() < until:
        time.sleep(0.002)
    below = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.join()
    _, alive = psutil.wait_procs(below, timeout=10)
    assert below and not alive
    assert finish(start(folder, out, workers=2)) == 0
    assert contents(out) == contents(whole.path)


def test_a_second_process_in_the_same_folder_is_refused(whole: Rows, tmp_path: Path) -> None:
    with (
        lock_folder(tmp_path / "rows"),
        pytest.raises(CuratorError, match="another process is at work there"),
    ):
        render(settings(whole.path.parent / "generators", tmp_path / "rows"))
