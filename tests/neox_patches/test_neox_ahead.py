"""Token ids of the steps to come are checked before the first step, or by a thread that is ahead of the trainer."""

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from curator.corpus import Corpus, open_corpus
from curator.errors import CuratorError
from curator.plan.plan import Plan
from curator.plan.rows import runs
from neox_patches import ahead
from neox_patches.ahead import Ahead

N, WIDTH, BATCH = 400, 5, 4
CPU = torch.device("cpu")


def corpus_with(tmp_path: Path, *bad: int) -> Corpus:
    """400 rows of ids below 100, but for one of 100 in each of these."""
    rows = np.random.default_rng(0).integers(0, 100, (N, WIDTH)).astype(np.uint16)
    rows[list(bad), 2] = 100
    np.save(tmp_path / "rows.npy", rows)
    return open_corpus(tmp_path / "rows.npy")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """40 rows are read before the first step, 10 at a time after it."""
    monkeypatch.setattr(ahead, "FIRST_TOKENS", 40 * WIDTH)
    monkeypatch.setattr(ahead, "CHUNK_TOKENS", 10 * WIDTH)


def check(corpus: Corpus, said: list[str], plan: Plan | None = None, first: int = 0, slots: int = N) -> Ahead:
    return Ahead(corpus, plan, first, slots, 100, said.append)


def steps_until_it_stops(watch: Ahead) -> int:
    """Steps taken, each a millisecond, until the check is over."""
    for step in range(10_000):
        watch.at_step(step, CPU)
        if watch._over:
            return step
        time.sleep(0.001)
    raise AssertionError("the thread never ended")


def test_what_is_quick_is_read_before_the_first_step(tmp_path: Path) -> None:
    said: list[str] = []
    with pytest.raises(
        CuratorError, match="sample 399, column 2: token id 100 is outside the vocabulary of 100"
    ):
        check(corpus_with(tmp_path, 399), said).begin(BATCH)
    check(corpus_with(tmp_path, 7), said, first=8).begin(BATCH)  # of a step that is over
    check(corpus_with(tmp_path, 399), said, slots=396).begin(BATCH)  # behind the run's end
    assert not said and "token ids" not in [thread.name for thread in threading.enumerate()]


@pytest.mark.usefixtures("small")
def test_the_rest_is_read_by_a_thread_and_stops_the_run_ahead_of_the_row(tmp_path: Path) -> None:
    said: list[str] = []
    watch = check(corpus_with(tmp_path, 305), said)
    watch.begin(BATCH)
    assert "checked up to step 9" in said[0]
    with pytest.raises(CuratorError, match="sample 305, column 2"):
        steps_until_it_stops(watch)
    whole = check(corpus_with(tmp_path), said)
    whole.begin(BATCH)
    steps_until_it_stops(whole)
    assert "all rows to come are within the vocabulary" in said[-1]


@pytest.mark.usefixtures("small")
def test_only_rows_that_the_plan_serves_are_read(tmp_path: Path) -> None:
    """Sample 305 is replaced, 399 never reached, and 20 comes back where the corpus begins again."""
    said: list[str] = []
    corpus = corpus_with(tmp_path, 305, 399)
    plan = Plan.identity(396, BATCH, corpus.fingerprint()).replace(np.array([305]), np.array([1]))
    watch = check(corpus, said, plan, slots=396)
    watch.begin(BATCH)
    steps_until_it_stops(watch)
    corpus = corpus_with(tmp_path, 20)
    for wrapped in (None, Plan.identity(600, BATCH, corpus.fingerprint(), epoch_samples=N)):
        again = check(corpus, said, wrapped, first=100, slots=600)
        again.begin(BATCH)
        with pytest.raises(CuratorError, match="sample 20, column 2"):
            steps_until_it_stops(again)


@pytest.mark.usefixtures("small")
def test_the_thread_rests_and_ends_when_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "REST", 1e6)
    ended: list[Any] = []
    monkeypatch.setattr(ahead.atexit, "register", lambda *call: ended.append(call))
    watch = check(corpus_with(tmp_path), [])
    state = torch.random.get_rng_state()
    watch.begin(BATCH)
    watch.at_step(0, CPU)
    (function, thread), *_ = ended
    thread.join(0.2)
    assert thread.daemon and thread.is_alive(), "it rests after the first chunk"
    function(thread)
    assert not thread.is_alive() and torch.equal(state, torch.random.get_rng_state())


def test_runs_of_samples() -> None:
    assert runs(np.array([3, 4, 5, 9, 8, 9])) == [(3, 6), (9, 10), (8, 10)]
    assert runs(np.array([], np.int64)) == []
