"""`Plan.insert` against a list with one (source, sample, weight) per slot, alone and among masks and replacements."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curator.errors import CuratorError
from curator.plan.plan import Plan

STEPS, BATCH = 5, 3
N = STEPS * BATCH
ARRAYS = ("slot_start", "source", "sample_start", "weight_slots", "weights")

Dense = list[tuple[int, int, float]]


def identity() -> Plan:
    return Plan.identity(N, BATCH, "corpus-a")


def with_two_sets() -> Plan:
    plan, _ = identity().with_source("one", "/one", "f1")
    plan, _ = plan.with_source("two", "/two", "f2")
    return plan


def slots_of(plan: Plan) -> Dense:
    held = plan.lookup(np.arange(plan.n_slots))
    return list(zip(held.source.tolist(), held.sample.tolist(), held.weight.tolist()))


def compiled(dense: Dense, plan: Plan) -> Plan:
    """One segment and one weight per slot: the least compact way to say the same."""
    return Plan(
        n_slots=len(dense),
        batch_size=BATCH,
        corpus_fingerprint="corpus-a",
        sources=plan.sources,
        slot_start=np.arange(len(dense)),
        source=np.array([source for source, _, _ in dense], np.int32),
        sample_start=np.array([sample for _, sample, _ in dense]),
        weight_slots=np.arange(len(dense)),
        weights=np.array([weight for _, _, weight in dense], np.float32),
    )


def insert_dense(dense: Dense, steps: list[int], samples: list[int], source: int) -> Dense:
    """From the last to the first, so that no insertion moves the place of one that is still to come."""
    dense = list(dense)
    for j in reversed(range(len(steps))):
        extra = [(source, sample, 1.0) for sample in samples[j * BATCH : (j + 1) * BATCH]]
        dense[steps[j] * BATCH : steps[j] * BATCH] = extra
    return dense


@st.composite
def insertions(draw: st.DrawFn, n_steps: int) -> tuple[list[int], list[int], int]:
    steps = sorted(draw(st.lists(st.integers(0, n_steps), max_size=4)))
    n = len(steps) * BATCH
    if draw(st.booleans()):  # samples that go on where others end, so that segments may merge
        first = draw(st.integers(0, N))
        return steps, list(range(first, first + n)), draw(st.integers(0, 2))
    return steps, draw(st.lists(st.integers(0, N), min_size=n, max_size=n)), draw(st.integers(0, 2))


@st.composite
def edited(draw: st.DrawFn) -> tuple[Plan, Dense]:
    plan = with_two_sets()
    dense = slots_of(plan)
    for _ in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(["insert", "insert", "mask", "replace"]))
        if kind == "insert":
            steps, samples, source = draw(insertions(plan.n_slots // BATCH))
            plan = plan.insert(np.array(steps, np.int64), np.array(samples, np.int64), source)
            dense = insert_dense(dense, steps, samples, source)
        elif kind == "mask":
            held = sorted({sample for source, sample, _ in dense if source == 0})
            chosen = draw(st.lists(st.sampled_from(held), max_size=5)) if held else []
            plan = plan.mask(np.array(chosen, np.int64))
            dense = [(s, i, 0.0 if s == 0 and i in chosen else w) for s, i, w in dense]
        else:
            slots = draw(st.lists(st.integers(0, len(dense) - 1), unique=True, max_size=5))
            source = draw(st.integers(0, 2))
            plan = plan.replace(np.array(slots, np.int64), np.array(slots, np.int64) + 1, source)
            for slot in slots:
                dense[slot] = (source, slot + 1, 1.0)
    return plan, dense


@given(edited())
@settings(max_examples=300, deadline=None)
def test_edits_agree_with_a_dense_plan_and_are_canonical(pair: tuple[Plan, Dense]) -> None:
    plan, dense = pair
    assert slots_of(plan) == dense
    again = compiled(dense, plan)
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(plan, name), getattr(again, name))
        assert getattr(plan, name).dtype == getattr(again, name).dtype
    assert plan.fingerprint() == again.fingerprint()
    assert plan.n_slots == len(dense) and type(plan.n_slots) is int
    for source in range(3):
        assert plan.highest_sample(source) == max((i for s, i, _ in dense if s == source), default=-1)


@given(insertions(STEPS), st.lists(st.integers(0, N - 1), unique=True))
@settings(max_examples=100, deadline=None)
def test_an_insertion_moves_the_other_slots_by_whole_steps_and_loses_or_repeats_none(
    inserted: tuple[list[int], list[int], int], masked: list[int]
) -> None:
    steps, samples, source = inserted
    before = with_two_sets().mask(np.array(masked, np.int64))
    after = before.insert(np.array(steps, np.int64), np.array(samples, np.int64), source)
    extra_steps = np.array(steps, int) + np.arange(len(steps))
    kept = np.setdiff1d(np.arange(STEPS + len(steps)), extra_steps)
    rest = (kept[:, None] * BATCH + np.arange(BATCH)).ravel()
    for one, other in zip(after.lookup(rest), before.lookup(np.arange(N))):
        np.testing.assert_array_equal(one, other)
    assert after.n_slots == N + len(steps) * BATCH


def test_mask_then_insert_and_insert_then_mask_differ_only_in_inserted_copies() -> None:
    steps, samples = np.array([1, 3]), np.array([4, 0, 9, 9, 9, 2])
    first = identity().mask(np.array([4, 9])).insert(steps, samples)
    then = identity().insert(steps, samples).mask(np.array([4, 9]))
    assert first.masked_slots().tolist() == [4 + 3, 9 + 6]  # the corpus's own slots; the copies train
    assert then.masked_slots().tolist() == [3, 5, 7, 12, 13, 15]
    assert [s[:2] for s in slots_of(first)] == [s[:2] for s in slots_of(then)]


def test_equal_places_are_consecutive_extra_steps_and_the_number_of_steps_appends() -> None:
    plan = with_two_sets().insert(np.array([2, 2, STEPS]), np.arange(9), 1)
    held = plan.lookup(np.arange(plan.n_slots))
    assert held.sample.tolist() == [0, 1, 2, 3, 4, 5, *range(6), *range(6, 15), 6, 7, 8]
    assert held.source.tolist() == [0] * 6 + [1] * 6 + [0] * 9 + [1] * 3
    assert len(plan.slot_start) == 4
    assert plan.first_edited_slot() == 6


def test_an_inserted_plan_is_a_round_trip_and_a_loaded_one_can_be_inserted_into(tmp_path: Path) -> None:
    plan = with_two_sets().mask(np.array([7])).insert(np.array([2]), np.array([5, 6, 1]), 2)
    plan.save(tmp_path)
    loaded = Plan.load(tmp_path)
    assert loaded.fingerprint() == plan.fingerprint() and slots_of(loaded) == slots_of(plan)
    further = [some.insert(np.array([0]), np.arange(3)) for some in (plan, loaded)]
    assert further[0].fingerprint() == further[1].fingerprint() != plan.fingerprint()


def test_inserting_nothing_changes_nothing() -> None:
    assert identity().insert(np.zeros(0, int), np.zeros(0, int)).fingerprint() == identity().fingerprint()


def test_a_set_with_the_same_fingerprint_is_the_same_source(tmp_path: Path) -> None:
    plan, number = identity().with_source("one", "somewhere/rows.npy", "f1")
    assert number == 1
    assert plan.sources == (
        {"name": "one", "path": str(Path.cwd() / "somewhere/rows.npy"), "fingerprint": "f1"},
    )
    again, number = plan.with_source("copy", "elsewhere", "f1")
    assert number == 1 and again.sources == plan.sources
    other, number = again.with_source("two", "there", "f2")
    assert number == 2 and len(other.sources) == 2
    assert identity().sources == ()


def test_a_relative_path_in_plan_json_is_relative_to_the_plans_folder(tmp_path: Path) -> None:
    plan, _ = identity().with_source("one", "/there/rows.npy", "f1")
    plan.save(tmp_path / "plan")
    header = tmp_path / "plan" / "plan.json"
    header.write_text(header.read_text().replace("/there/rows.npy", "../rows.npy"))
    loaded = Plan.load(tmp_path / "plan")
    assert loaded.sources[0]["path"] == str(tmp_path / "rows.npy")
    assert loaded.fingerprint() == plan.fingerprint()


REFUSED = {
    "too few samples": ([1, 2], range(5), 0, "2 extra steps of 3 slots hold 6 samples, but 5 are given"),
    "too many samples": ([1], range(4), 0, "1 extra steps of 3 slots hold 3 samples, but 4 are given"),
    "beyond the end": ([6], range(3), 0, r"before step 6, but this plan has steps 0 \.\. 4; 5 puts one at"),
    "before the start": ([-1], range(3), 0, "before step -1"),
    "falling": ([2, 1], range(6), 0, "should not fall, but 1 stand after"),
    "no such source": ([1], range(3), 1, "there is no source 1; this plan has 0"),
    "negative sample": ([1], range(-1, 2), 0, "counted from 0, found -1"),
    "no whole numbers": ([0.5], range(3), 0, "steps should be a list of whole numbers"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_insert_refuses_and_names_both_sides(case: str) -> None:
    steps, samples, source, message = REFUSED[case]
    with pytest.raises(CuratorError, match=message):
        identity().insert(np.array(steps), np.array(samples), source)


def test_a_source_that_is_not_text_is_refused(tmp_path: Path) -> None:
    plan, _ = identity().with_source("one", "/there", "f1")
    plan.save(tmp_path)
    header = tmp_path / "plan.json"
    header.write_text(header.read_text().replace('"/there"', "7"))
    with pytest.raises(CuratorError, match="should hold text alone"):
        Plan.load(tmp_path)


def test_insertions_into_a_plan_of_pythia_size_stay_small_and_quick() -> None:
    """A cost per slot would take minutes and gigabytes here."""
    n_steps, batch = 143_000, 1024
    plan = Plan.identity(n_steps * batch, batch, "pile").mask(np.arange(1_000_000, 1_010_000))
    plan = plan.insert(np.arange(0, n_steps, 1000), np.arange(143 * batch))
    assert plan.n_slots == (n_steps + 143) * batch
    assert sum(getattr(plan, name).nbytes for name in ARRAYS) < 10_000 * 12 + 300 * 20
    assert plan.lookup(np.array([plan.n_slots - 1])).sample[0] == n_steps * batch - 1


@given(edited=st.lists(insertions(STEPS), max_size=3), alone=st.lists(st.integers(0, STEPS - 1)))
@settings(max_examples=100, deadline=None)
def test_a_run_takes_its_own_steps_and_the_extra_ones_before_their_end(
    edited: list[tuple[list[int], list[int], int]], alone: list[int]
) -> None:
    """Against a list of steps that remembers which are the corpus's; one slot of some is replaced, one masked."""
    plan = with_two_sets().mask(np.array([4]))
    steps: list[int] = list(range(STEPS))
    for where, samples, source in edited:
        plan = plan.insert(np.array(where, np.int64), np.array(samples, np.int64), max(source, 1))
        for place in reversed(where):
            steps.insert(place, -1)
    slots = np.array([BATCH * steps.index(step) + 1 for step in sorted(set(alone))], np.int64)
    plan = plan.replace(slots, np.zeros(len(slots), np.int64))
    for taken in range(STEPS + 1):
        expected = steps.index(taken) if taken < STEPS else len(steps)
        assert plan.steps_for(taken) == expected


def test_a_step_that_is_replaced_as_a_whole_is_not_found() -> None:
    plan = with_two_sets().replace(np.arange(6, 9), np.arange(3), 1)
    assert plan.steps_for(1) == 1 and plan.steps_for(3) == 3
    with pytest.raises(CuratorError, match=r"where step 2 .* cannot be told"):
        plan.steps_for(2)
