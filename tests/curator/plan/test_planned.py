"""Reading what a plan's slots hold, and training on it: an injected row is trained on as a corpus row is (law 6)."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_runs import CONFIG, assert_same_bits, differ, random_rows

from curator.corpus import Corpus, open_corpus
from curator.errors import CuratorError
from curator.plan.plan import Plan
from curator.plan.rows import PlannedRows, open_sources
from curator.training import TrainingConfig, train

BATCH = CONFIG.batch_size


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # bit-identity is promised for a fixed number of threads
    yield
    torch.set_num_threads(before)


def save_rows(path: Path, rows: np.ndarray) -> Corpus:
    np.save(path, rows)
    return open_corpus(path)


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return save_rows(tmp_path / "corpus.npy", random_rows())


@pytest.fixture
def extra(tmp_path: Path) -> Corpus:
    return save_rows(tmp_path / "extra.npy", random_rows(16, seed=7))


def identity(corpus: Corpus) -> Plan:
    return Plan.identity(len(corpus), BATCH, corpus.fingerprint())


def injected(corpus: Corpus, extra: Corpus) -> Plan:
    """Two extra steps (before steps 1 and 5), and three slots of later steps replaced."""
    plan, number = identity(corpus).with_source("extra", extra.path, extra.fingerprint())
    plan = plan.insert(np.array([1, 5]), np.array([3, 2, 9, 10, 11, 12, 0, 0]), number)
    return plan.replace(np.array([40, 41, 50]), np.array([5, 6, 7]), number)


def by_hand(corpus: Corpus, extra: Corpus) -> np.ndarray:
    """The rows that `injected` means, slot by slot: 14 steps of 4."""
    own, other = np.load(corpus.path), np.load(extra.path)
    rows = np.concatenate([own[:4], other[[3, 2, 9, 10]], own[4:20], other[[11, 12, 0, 0]], own[20:]])
    rows[[40, 41, 50]] = other[[5, 6, 7]]
    return rows


# Reading


def test_rows_come_in_slot_order_from_corpus_and_set(corpus: Corpus, extra: Corpus) -> None:
    plan = injected(corpus, extra)
    rows = PlannedRows(plan, corpus, open_sources(plan, corpus))
    expected = by_hand(corpus, extra).astype(np.int64)
    shuffled = np.random.default_rng(0).permutation(plan.n_slots)
    for slots in (np.arange(plan.n_slots), shuffled, np.array([7, 7, 40]), np.zeros(0, np.int64)):
        read = rows.rows(slots)
        assert read.dtype == np.int64 and read.shape == (len(slots), rows.row_width)
        np.testing.assert_array_equal(read, expected[slots])
    samples = np.array([4, 5, 6, 7, 8, 1])
    np.testing.assert_array_equal(rows.source_rows(1, samples), np.load(extra.path)[samples])
    np.testing.assert_array_equal(rows.source_rows(0, samples), np.load(corpus.path)[samples])


def test_runs_are_read_as_slices_and_scattered_samples_at_once(
    corpus: Corpus, extra: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    read = type(corpus).rows

    def note(self: Corpus, index: Any) -> np.ndarray:
        asked.append((self is corpus, index if isinstance(index, slice) else "samples"))
        return read(self, index)

    plan, number = identity(corpus).with_source("extra", extra.path, extra.fingerprint())
    plan = plan.replace(np.array([8]), np.array([0]), number)
    rows = PlannedRows(plan, corpus, [extra])
    monkeypatch.setattr(type(corpus), "rows", note)
    rows.rows(np.arange(16))
    assert asked == [(True, slice(0, 8)), (True, slice(9, 16)), (False, "samples")]
    asked.clear()
    rows.rows(np.array([1, 3, 5, 6]))
    assert asked == [(True, "samples")]


def test_reading_refuses_what_is_not_there(corpus: Corpus, extra: Corpus) -> None:
    plan = injected(corpus, extra)
    with pytest.raises(CuratorError, match="the plan injects 1 sets, but 0 are open"):
        PlannedRows(plan, corpus)
    rows = PlannedRows(plan, corpus, [extra])
    with pytest.raises(CuratorError, match=r"there is no source 2; this plan has 0 \(the corpus\) \.\. 1"):
        rows.source_rows(2, np.array([0]))
    with pytest.raises(CuratorError, match=r"extra\.npy: sample 16 asked for"):
        rows.source_rows(1, np.array([3, 16]))
    with pytest.raises(CuratorError):
        rows.source_rows(1, np.array([-1]))
    with pytest.raises(CuratorError, match="slot 56 lies outside"):
        rows.rows(np.array([56]))


def change(**changes: str) -> Callable[[Plan, Path], Plan]:
    return lambda plan, folder: replace(plan, sources=({**plan.sources[0], **changes},))


def rewrite(rows: np.ndarray) -> Callable[[Plan, Path], Plan]:
    def write(plan: Plan, folder: Path) -> Plan:
        np.save(folder / "extra.npy", rows)
        return plan

    return write


MISFITS: dict[str, tuple[Callable[[Plan, Path], Plan], str]] = {
    "moved": (
        change(path="/nowhere/extra.npy"),
        r"set 'extra' \(source 1 of the plan\) cannot be opened: .*write its new path into plan\.json",
    ),
    "other fingerprint": (
        change(fingerprint="0123456789abcdef"),
        r"extra\.npy: injected set 'extra' .* has fingerprint \w{16}, but the plan was made with 0123456789abcdef",
    ),
    "changed rows": (rewrite(random_rows(16, seed=8)), r"has fingerprint \w{16}, but the plan was made with"),
    "other width": (
        rewrite(random_rows(16)[:, :7]),
        r"extra\.npy: rows to inject are 7 tokens wide, but those of the corpus .*corpus\.npy are 9",
    ),
    "past its end": (
        lambda plan, folder: plan.replace(np.array([2]), np.array([16]), 1),
        r"reads sample 16 of injected set 'extra' .* ends with sample 15",
    ),
}


@pytest.mark.parametrize("case", MISFITS)
def test_law_8_an_injected_set_that_does_not_fit_is_refused_naming_both_sides(
    case: str, corpus: Corpus, extra: Corpus, tmp_path: Path
) -> None:
    make, message = MISFITS[case]
    plan = make(injected(corpus, extra), tmp_path)
    with pytest.raises(CuratorError, match=message):
        open_sources(plan, corpus)
    config = CONFIG.changed(steps=14)
    with pytest.raises(CuratorError, match=message):
        train(config, corpus, tmp_path / "out", plan=plan, checkpoint_steps=[])
    assert not (tmp_path / "out").exists()


# Training


def run(corpus: Corpus, out: Path, plan: Plan | None = None, **changes: Any) -> None:
    config: TrainingConfig = CONFIG.changed(**{"steps": 14, **changes})
    train(config, corpus, out, plan=plan, checkpoint_steps=[2, 6])


@pytest.mark.parametrize("micro_batch_size", [None, 3])
def test_law_6_training_on_an_injected_set_is_training_on_a_corpus_with_those_rows(
    corpus: Corpus, extra: Corpus, tmp_path: Path, micro_batch_size: int | None
) -> None:
    run(corpus, tmp_path / "plan", injected(corpus, extra), micro_batch_size=micro_batch_size)
    written = save_rows(tmp_path / "written.npy", by_hand(corpus, extra))
    run(written, tmp_path / "written", micro_batch_size=micro_batch_size)
    for step in ("step2", "step6", "step14"):
        assert_same_bits(tmp_path / "plan" / step, tmp_path / "written" / step)
    losses = [(tmp_path / name / "losses.npy").read_bytes() for name in ("plan", "written")]
    assert losses[0] == losses[1]


def test_law_6_extra_steps_of_the_corpuss_own_samples(corpus: Corpus, tmp_path: Path) -> None:
    plan = identity(corpus).insert(np.array([12, 12]), np.array([9, 8, 7, 6, 0, 1, 2, 3]))
    rows = np.load(corpus.path)
    written = save_rows(tmp_path / "written.npy", np.concatenate([rows, rows[[9, 8, 7, 6, 0, 1, 2, 3]]]))
    run(corpus, tmp_path / "plan", plan)
    run(written, tmp_path / "written")
    assert_same_bits(tmp_path / "plan" / "step14", tmp_path / "written" / "step14")


def test_law_6_a_masked_slot_is_never_read_whatever_stands_there(extra: Corpus, tmp_path: Path) -> None:
    rows = random_rows()
    plans = []
    for name, value in (("clean", 3), ("poisoned", 65535)):
        rows[21] = value
        corpus = save_rows(tmp_path / f"{name}.npy", rows)
        plan = injected(corpus, extra).mask(np.array([21]))
        run(corpus, tmp_path / name, plan)
        plans.append(plan)
    assert_same_bits(tmp_path / "clean" / "step14", tmp_path / "poisoned" / "step14")
    assert plans[0].masked_slots().tolist() == [29]


def test_tokens_of_an_injected_set_are_checked_before_the_first_step(corpus: Corpus, tmp_path: Path) -> None:
    rows = random_rows(16, seed=7)
    rows[12, 5] = 24
    plan = injected(corpus, save_rows(tmp_path / "extra.npy", rows))
    seen: list[int] = []
    with pytest.raises(CuratorError, match=r"extra\.npy: sample 12, column 5: token id 24 is outside"):
        train(
            CONFIG.changed(steps=14),
            corpus,
            tmp_path / "out",
            plan=plan,
            checkpoint_steps=[],
            on_step=lambda step, model: seen.append(step),
        )
    assert not seen and not (tmp_path / "out").exists()


def test_decay_steps_keep_the_curve_of_a_run_without_extra_steps(corpus: Corpus, tmp_path: Path) -> None:
    long = CONFIG.changed(steps=14, decay_steps=12)
    for step in range(12):
        assert long.learning_rate_at(step) == CONFIG.learning_rate_at(step)
    assert long.learning_rate_at(13) == long.learning_rate_at(11) == pytest.approx(1e-3)
    assert CONFIG.changed(steps=14).learning_rate_at(8) != CONFIG.learning_rate_at(8)
    with pytest.raises(CuratorError, match=r"decay_steps is 2; expected None or at least warmup_steps \(3\)"):
        CONFIG.changed(decay_steps=2)


def test_a_longer_run_starts_from_a_checkpoint_whose_schedule_it_shares(
    corpus: Corpus, extra: Corpus, tmp_path: Path
) -> None:
    plan, number = identity(corpus).with_source("extra", extra.path, extra.fingerprint())
    plan = plan.insert(np.array([6, 6]), np.arange(8), number)
    train(CONFIG, corpus, tmp_path / "base", checkpoint_steps=[6])
    long = CONFIG.changed(steps=14, decay_steps=12)
    start = tmp_path / "base" / "step6"
    train(long, corpus, tmp_path / "from", plan=plan, start_from=start, checkpoint_steps=[])
    train(long, corpus, tmp_path / "whole", plan=plan, checkpoint_steps=[6])
    assert_same_bits(tmp_path / "from" / "step14", tmp_path / "whole" / "step14")
    assert_same_bits(tmp_path / "whole" / "step6", start)
    assert differ(tmp_path / "whole" / "step14", tmp_path / "base" / "step12")
    with pytest.raises(CuratorError, match=r"decay_steps: there 12, asked for 14\n.*decay_steps keeps the"):
        train(
            CONFIG.changed(steps=14),
            corpus,
            tmp_path / "other",
            plan=plan,
            start_from=start,
            checkpoint_steps=[],
        )
