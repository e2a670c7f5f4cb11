"""Plans against a dense brute-force plan, and what `Plan.load` and its edits refuse."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curator.errors import CuratorError
from curator.plan.plan import Plan

STEPS, BATCH = 6, 4
N = STEPS * BATCH

Edit = tuple[str, list[int], list[int]]


def identity() -> Plan:
    return Plan.identity(N, BATCH, "corpus-a")


class DensePlan:
    """One (sample, weight) per slot in plain Python: what `Plan` must agree with."""

    def __init__(self) -> None:
        self.slots = {slot: (slot, 1.0) for slot in range(N)}

    def mask(self, samples: set[int]) -> None:
        self.slots = {
            slot: (sample, 0.0 if sample in samples else weight)
            for slot, (sample, weight) in self.slots.items()
        }

    def replace(self, slots: list[int], samples: list[int]) -> None:
        self.slots |= {slot: (sample, 1.0) for slot, sample in zip(slots, samples)}

    def compiled(self) -> Plan:
        """One segment and one weight per slot: the least compact way to say the same."""
        return Plan(
            n_slots=N,
            batch_size=BATCH,
            corpus_fingerprint="corpus-a",
            slot_start=np.arange(N),
            source=np.zeros(N, np.int32),
            sample_start=np.array([sample for sample, _ in self.slots.values()]),
            weight_slots=np.arange(N),
            weights=np.array([weight for _, weight in self.slots.values()], np.float32),
        )


@st.composite
def edits(draw: st.DrawFn) -> tuple[Plan, DensePlan]:
    plan, dense = identity(), DensePlan()
    for _ in range(draw(st.integers(0, 4))):
        if draw(st.booleans()):
            held = sorted({sample for sample, _ in dense.slots.values()})
            samples = draw(st.lists(st.sampled_from(held), max_size=8))
            plan = plan.mask(np.array(samples, np.int64))
            dense.mask(set(samples))
        else:
            slots = draw(st.lists(st.integers(0, N - 1), unique=True, max_size=8))
            # Few different samples, so that neighbours, repeats and the original ones come up often.
            samples = [draw(st.integers(0, N + 3)) for _ in slots]
            plan = plan.replace(np.array(slots, np.int64), np.array(samples, np.int64))
            dense.replace(slots, samples)
    return plan, dense


@given(edits())
@settings(max_examples=300, deadline=None)
def test_edits_agree_with_a_dense_plan(pair: tuple[Plan, DensePlan]) -> None:
    plan, dense = pair
    held = plan.lookup(np.arange(N))
    assert held.source.tolist() == [0] * N
    assert list(zip(held.sample.tolist(), held.weight.tolist())) == list(dense.slots.values())
    masked = [slot for slot, (_, weight) in dense.slots.items() if weight == 0]
    assert plan.masked_slots().tolist() == masked
    for step in range(STEPS):
        assert plan.kept_per_step(step) == BATCH - sum(slot // BATCH == step for slot in masked)
    assert plan.highest_sample() == max(sample for sample, _ in dense.slots.values())
    edited = [slot for slot, content in dense.slots.items() if content != (slot, 1.0)]
    assert plan.first_edited_slot() == min(edited, default=N)
    for first, last in ((0, 5), (3, 9), (7, N), (N - 2, N)):
        within = [slot for slot in edited if first <= slot < last]
        assert plan.first_edited_slot(first, last) == min(within, default=last)


@given(edits())
@settings(max_examples=100, deadline=None)
def test_plans_that_say_the_same_have_the_same_arrays_and_fingerprint(pair: tuple[Plan, DensePlan]) -> None:
    plan, dense = pair
    again = dense.compiled()
    for name in ("slot_start", "source", "sample_start", "weight_slots", "weights"):
        np.testing.assert_array_equal(getattr(plan, name), getattr(again, name))
    assert plan.fingerprint() == again.fingerprint()
    plain = all(content == (slot, 1.0) for slot, content in dense.slots.items())
    assert (plan.fingerprint() == identity().fingerprint()) == plain


@given(pair=edits(), order=st.permutations(range(N)))
@settings(max_examples=50, deadline=None)
def test_lookup_keeps_the_order_of_the_slots(pair: tuple[Plan, DensePlan], order: list[int]) -> None:
    plan, dense = pair
    held = plan.lookup(np.array(order))
    assert list(zip(held.sample.tolist(), held.weight.tolist())) == [dense.slots[slot] for slot in order]


def edited_plan() -> Plan:
    return identity().mask(np.array([2, 9, 10])).replace(np.array([5, 6, 20]), np.array([17, 18, 0]))


def test_save_and_load_is_a_round_trip_and_a_loaded_plan_can_be_edited(tmp_path: Path) -> None:
    plan = edited_plan()
    plan.save(tmp_path / "plan")
    loaded = Plan.load(tmp_path / "plan")
    assert loaded.fingerprint() == plan.fingerprint()
    for one, other in zip(loaded.lookup(np.arange(N)), plan.lookup(np.arange(N))):
        np.testing.assert_array_equal(one, other)
    further = [some.replace(np.array([0]), np.array([3])).mask(np.array([3])) for some in (loaded, plan)]
    assert further[0].fingerprint() == further[1].fingerprint()
    further[0].save(tmp_path / "plan")  # over the files that it was loaded from
    assert Plan.load(tmp_path / "plan").fingerprint() == further[1].fingerprint()


def test_an_identity_plan_is_a_round_trip(tmp_path: Path) -> None:
    Plan.identity(N, BATCH, "corpus-a", "renormalised").save(tmp_path)
    loaded = Plan.load(tmp_path)
    assert loaded.divisor == "renormalised"
    assert loaded.fingerprint() != identity().fingerprint()
    assert loaded.lookup(np.arange(N)).sample.tolist() == list(range(N))


def test_a_save_that_is_cut_off_leaves_no_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edited_plan().save(tmp_path)
    monkeypatch.setattr("curator.plan.plan.save_json", lambda path, value: None)
    identity().save(tmp_path)
    with pytest.raises(CuratorError, match=r"plan\.json: no such file"):
        Plan.load(tmp_path)


def change_header(**changes: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        header = json.loads((folder / "plan.json").read_text())
        (folder / "plan.json").write_text(json.dumps({**header, **changes}))

    return change


def drop_key(folder: Path) -> None:
    header = json.loads((folder / "plan.json").read_text())
    del header["divisor"]
    (folder / "plan.json").write_text(json.dumps(header))


def change_array(name: str, array: np.ndarray) -> Callable[[Path], None]:
    return lambda folder: np.save(folder / f"{name}.npy", array)


def truncate(folder: Path) -> None:
    path = folder / "sample_start.npy"
    path.write_bytes(path.read_bytes()[:-4])


BROKEN: dict[str, tuple[Callable[[Path], None], str]] = {
    "another format": (change_header(format="other"), "curator-plan"),
    "a newer version": (change_header(version=2), "another version"),
    "unknown key": (change_header(extra=1), r"unknown keys \['extra'\]"),
    "missing key": (drop_key, r"missing keys \['divisor'\]"),
    "unknown divisor": (change_header(divisor="halved"), "'halved', expected one of kept, renormalised"),
    "text for a number": (change_header(n_slots="24"), "n_slots is '24', expected a whole number"),
    "part of a step": (change_header(n_slots=N - 1), "not whole steps of batch_size 4"),
    "sources no list": (change_header(sources={}), "expected a list"),
    "strange source": (change_header(sources=[{"name": "x"}]), "keys name, path and fingerprint"),
    "no array": (lambda folder: (folder / "source.npy").unlink(), r"source\.npy: no such file"),
    "truncated array": (truncate, r"sample_start\.npy: not a whole"),
    "shorter array": (change_array("source", np.zeros(2, np.int32)), "equally long"),
    "wrong dtype": (change_array("weight_slots", np.array([1.5])), "weight_slots is 1-dimensional float64"),
    "slots that fall": (change_array("weight_slots", np.array([10, 9, 2])), "weight_slots should rise"),
    "slot beyond": (change_array("weight_slots", np.array([2, 9, N])), r"within 0 \.\. 23"),
    "late start": (change_array("slot_start", np.arange(1, 6)), "slot_start begins with 1"),
    "unknown source": (change_array("source", np.array([0, 1, 0, 0, 0], np.int32)), r"expected 0 \.\. 0"),
    "negative sample": (change_array("sample_start", np.array([-1, 17, 7, 0, 21])), "counted from 0"),
    "negative weight": (change_array("weights", np.array([0, -1, 0], np.float32)), "not negative"),
    "weight that is NaN": (change_array("weights", np.array([0, np.nan, 0], np.float32)), "finite"),
    "files of two plans": (change_array("weight_slots", np.array([2, 9, 11])), "files of two plans"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_load_refuses_what_is_no_whole_plan(case: str, tmp_path: Path) -> None:
    damage, message = BROKEN[case]
    edited_plan().save(tmp_path)
    assert len(Plan.load(tmp_path).slot_start) == 5
    damage(tmp_path)
    with pytest.raises(CuratorError, match=message):
        Plan.load(tmp_path)


def test_edits_refuse_what_would_do_nothing_or_is_ambiguous() -> None:
    plan = identity()
    with pytest.raises(CuratorError, match=r"1 of 2 samples to mask are held by none.*first being 24"):
        plan.mask(np.array([3, 24]))
    with pytest.raises(CuratorError, match="first being 7"):
        plan.replace(np.array([7]), np.array([0])).mask(np.array([7]))
    with pytest.raises(CuratorError, match="counted from 0, found -1"):
        plan.mask(np.array([-1]))
    with pytest.raises(CuratorError, match="list of whole numbers"):
        plan.mask(np.array([0.5]))
    with pytest.raises(CuratorError, match="given twice: 3"):
        plan.replace(np.array([3, 1, 3]), np.array([0, 1, 2]))
    with pytest.raises(CuratorError, match=r"slot 24 lies outside the plan's slots 0 \.\. 23"):
        plan.replace(np.array([24]), np.array([0]))
    with pytest.raises(CuratorError, match="2 slots to replace, but 1 samples"):
        plan.replace(np.array([1, 2]), np.array([0]))
    with pytest.raises(CuratorError, match="no source 1"):
        plan.replace(np.array([1]), np.array([0]), source=1)
    with pytest.raises(CuratorError, match="slot -1 lies outside"):
        plan.lookup(np.array([-1]))
    with pytest.raises(CuratorError, match="slot 24 lies outside"):
        plan.kept_per_step(STEPS)


def test_a_replaced_slot_counts_again_and_a_masked_sample_is_masked_wherever_it_lies() -> None:
    plan = identity().mask(np.array([3])).replace(np.array([3, 8]), np.array([5, 5]))
    assert plan.masked_slots().tolist() == []
    assert plan.mask(np.array([5])).masked_slots().tolist() == [3, 5, 8]


def test_an_injected_set_is_a_source_of_its_own() -> None:
    sources = ({"name": "synthetic", "path": "here", "fingerprint": "f"},)
    plan = Plan(n_slots=N, batch_size=BATCH, corpus_fingerprint="corpus-a", sources=sources)
    plan = plan.replace(np.array([4, 5]), np.array([4, 5]), source=1)
    assert plan.lookup(np.arange(3, 7)).source.tolist() == [0, 1, 1, 0]
    assert plan.first_edited_slot() == 4
    with pytest.raises(CuratorError, match="held by none"):
        plan.mask(np.array([4]))  # sample 4 of the set is not sample 4 of the corpus
    moved = Plan(
        n_slots=N, batch_size=BATCH, corpus_fingerprint="corpus-a", sources=({**sources[0], "path": "there"},)
    ).replace(np.array([4, 5]), np.array([4, 5]), source=1)
    assert moved.fingerprint() == plan.fingerprint()


def test_check_names_both_sides() -> None:
    plan = identity()
    plan.check("corpus-a", BATCH, N)
    plan.check("corpus-a", BATCH, N - BATCH)
    with pytest.raises(CuratorError, match="corpus_fingerprint: there 'corpus-a', asked for 'corpus-b'"):
        plan.check("corpus-b", BATCH, N)
    with pytest.raises(CuratorError, match="batch_size: there 4, asked for 8"):
        plan.check("corpus-a", 8, N)
    with pytest.raises(CuratorError, match="6 steps of 4 samples, but this run trains 7"):
        plan.check("corpus-a", BATCH, N + BATCH)


def test_a_plan_of_pythia_size_stays_small() -> None:
    n_slots = 143_000 * 1024
    plan = Plan.identity(n_slots, 1024, "pile").mask(np.arange(1_000_000, 1_010_000))
    arrays = (plan.slot_start, plan.source, plan.sample_start, plan.weight_slots, plan.weights)
    assert sum(array.nbytes for array in arrays) < 10_000 * 12 + 100
    held = plan.lookup(np.arange(n_slots - 1024, n_slots))
    assert held.sample[-1] == n_slots - 1
    assert plan.kept_per_step(1_000_000 // 1024 + 1) == 0
