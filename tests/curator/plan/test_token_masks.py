"""Token masks of plans against a dense plan by brute force: accounting, composition with every edit, refusals."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curator.errors import CuratorError
from curator.plan.plan import Plan
from curator.plan.token_masks import counts, pack, unpack

STEPS, BATCH, TARGETS = 4, 3, 11
N = STEPS * BATCH


def identity(divisor: str = "kept") -> Plan:
    return Plan.identity(N, BATCH, "corpus-a", divisor).with_source("set", "/set", "set-a")[0]


class Dense:
    """(source, sample, weight, which tokens count) per slot, in plain Python."""

    def __init__(self) -> None:
        self.slots = [(0, slot, 1.0, [True] * TARGETS) for slot in range(N)]

    def weights(self) -> np.ndarray:
        """[slots, targets]: the product of a slot's weight and its tokens'."""
        return np.array([[weight * on for on in counted] for _, _, weight, counted in self.slots])

    def compiled(self) -> Plan:
        """Said in the least compact way."""
        source, sample, weight, counted = zip(*self.slots)
        return Plan(
            n_slots=len(self.slots),
            batch_size=BATCH,
            corpus_fingerprint="corpus-a",
            sources=identity().sources,
            slot_start=np.arange(len(self.slots)),
            source=np.array(source, np.int32),
            sample_start=np.array(sample, np.int64),
            weight_slots=np.arange(len(self.slots)),
            weights=np.array(weight, np.float32),
            row_targets=TARGETS,
            mask_slots=np.arange(len(self.slots)),
            row_masks=pack(np.array(counted)),
        )


def tokens() -> st.SearchStrategy[list[bool]]:
    """Of any row: often all, or none."""
    return st.one_of(
        st.just([True] * TARGETS),
        st.just([False] * TARGETS),
        st.lists(st.booleans(), min_size=TARGETS, max_size=TARGETS),
    )


@st.composite
def edited(draw: st.DrawFn) -> tuple[Plan, Dense]:
    plan, dense = identity(), Dense()
    for _ in range(draw(st.integers(1, 5))):
        what = draw(st.sampled_from(["tokens", "tokens", "mask", "replace", "insert"]))
        if what in ("tokens", "mask"):
            source = (
                draw(st.sampled_from(sorted({slot[0] for slot in dense.slots}))) if what == "tokens" else 0
            )
            held = sorted({slot[1] for slot in dense.slots if slot[0] == source})
            if not held:
                continue
            samples = draw(st.lists(st.sampled_from(held), max_size=6, unique=True))
            if what == "mask":
                plan = plan.mask(np.array(samples, np.int64))
                dense.slots = [
                    (*slot[:2], 0.0, slot[3]) if slot[0] == 0 and slot[1] in samples else slot
                    for slot in dense.slots
                ]
                continue
            counted = {sample: draw(tokens()) for sample in samples}
            bits = pack(np.array([counted[sample] for sample in samples]).reshape(-1, TARGETS))
            plan = plan.mask_tokens(np.array(samples, np.int64), bits, TARGETS, source)
            dense.slots = [
                (*slot[:3], [a and b for a, b in zip(slot[3], counted[slot[1]])])
                if slot[0] == source and slot[1] in counted
                else slot
                for slot in dense.slots
            ]
        elif what == "replace":
            slots = draw(st.lists(st.integers(0, len(dense.slots) - 1), unique=True, max_size=4))
            samples = [draw(st.integers(0, N - 1)) for _ in slots]
            source = draw(st.integers(0, 1))
            plan = plan.replace(np.array(slots, np.int64), np.array(samples, np.int64), source)
            for slot, sample in zip(slots, samples):
                dense.slots[slot] = (source, sample, 1.0, [True] * TARGETS)
        else:
            step, source = draw(st.integers(0, len(dense.slots) // BATCH)), draw(st.integers(0, 1))
            samples = draw(st.lists(st.integers(0, N - 1), min_size=BATCH, max_size=BATCH))
            plan = plan.insert(np.array([step]), np.array(samples), source)
            dense.slots[step * BATCH : step * BATCH] = [
                (source, sample, 1.0, [True] * TARGETS) for sample in samples
            ]
    return plan, dense


@given(edited())
@settings(max_examples=300, deadline=None)
def test_every_edit_agrees_with_a_dense_plan(pair: tuple[Plan, Dense]) -> None:
    """A token's weight is the product of its slot's and its own, whatever came first; what is put in counts whole."""
    plan, dense = pair
    slots, weights = np.arange(len(dense.slots)), dense.weights()
    held, counted = plan.lookup(slots), plan.counted(slots)
    assert [*zip(held.source.tolist(), held.sample.tolist())] == [slot[:2] for slot in dense.slots]
    on = np.ones(weights.shape, bool) if counted is None else counted
    np.testing.assert_array_equal(held.weight[:, None] * on, weights)
    for step, part in enumerate(weights.reshape(-1, BATCH, TARGETS)):
        assert plan.tokens_per_step(step, TARGETS) == (part > 0).sum()
        assert plan.kept_per_step(step) == (part > 0).any(1).sum()
    kept = weights[(weights > 0).any(1)]
    assert plan.masked_tokens() == (kept == 0).sum()
    plain = [(0, slot) for slot in slots]
    edited = [s for s in slots if dense.slots[s][:2] != plain[s] or (weights[s] != 1).any()]
    assert plan.first_edited_slot() == min(edited, default=len(slots))
    for first, last in ((2, 7), (5, len(slots))):
        within = [slot for slot in edited if first <= slot < last]
        assert plan.first_edited_slot(first, last) == min(within, default=last)


@given(pair=edited(), folder=st.just("plan"))
@settings(max_examples=100, deadline=None)
def test_plans_that_say_the_same_are_the_same_also_from_the_disk(
    pair: tuple[Plan, Dense], folder: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    plan, dense = pair
    again = dense.compiled()
    assert plan.fingerprint() == again.fingerprint()
    path = tmp_path_factory.mktemp(folder)
    plan.save(path)
    loaded = Plan.load(path)
    assert loaded.fingerprint() == plan.fingerprint()
    for name in ("mask_slots", "row_masks", "weight_slots", "weights"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(again, name))
    assert (path / "row_masks.npy").exists() == (plan.row_targets is not None) == (len(plan.mask_slots) > 0)


@given(st.lists(tokens(), max_size=5))
def test_bits_are_what_was_packed(rows: list[list[bool]]) -> None:
    counted = np.array(rows, bool).reshape(-1, TARGETS)
    assert np.array_equal(unpack(pack(counted), TARGETS), counted)
    assert counts(pack(counted)).tolist() == counted.sum(1).tolist()


@given(edited(), st.permutations(range(N)))
@settings(max_examples=50, deadline=None)
def test_token_masks_come_in_the_order_of_the_slots(pair: tuple[Plan, Dense], order: list[int]) -> None:
    plan, dense = pair
    counted = plan.counted(np.array(order))
    weights = dense.weights()[order]
    on = np.ones(weights.shape, bool) if counted is None else counted
    np.testing.assert_array_equal(plan.lookup(np.array(order)).weight[:, None] * on, weights)


def test_masks_of_all_tokens_or_none_are_no_masks() -> None:
    samples, every = np.array([3, 7]), np.ones((2, TARGETS), bool)
    assert identity().mask_tokens(samples, pack(every), TARGETS).fingerprint() == identity().fingerprint()
    none = identity().mask_tokens(samples, pack(~every), TARGETS)
    assert none.fingerprint() == identity().mask(samples).fingerprint() and none.row_targets is None


def test_a_plan_without_token_masks_is_on_disk_what_it_was(tmp_path: Path) -> None:
    """Also where one with token masks lay in the folder; an older version reads it."""
    some = np.ones((1, TARGETS), bool)
    some[0, 4] = False
    identity().mask_tokens(np.array([2]), pack(some), TARGETS).save(tmp_path)
    assert (tmp_path / "mask_slots.npy").exists()
    identity().mask(np.array([2])).save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [
            "plan.json",
            *(f"{name}.npy" for name in ("slot_start", "source", "sample_start", "weight_slots", "weights")),
        ]
    )
    assert "row_targets" not in (tmp_path / "plan.json").read_text()


def test_a_trainer_reads_the_rows_of_its_slots_alone(tmp_path: Path) -> None:
    """The bits stay on the disk, mapped; a row of 2048 tokens takes 256 bytes of it."""
    n, targets = 3000, 2048
    random = np.random.default_rng(0)
    plan = Plan.identity(n, 10, "corpus-a")
    counted = random.random((n, targets)) < 0.7
    plan.mask_tokens(np.arange(n), pack(counted), targets).save(tmp_path)
    assert (tmp_path / "row_masks.npy").stat().st_size < 257 * n
    loaded = Plan.load(tmp_path)
    assert isinstance(loaded.row_masks, np.memmap) and isinstance(loaded.mask_slots, np.memmap)
    some = random.permutation(n)[:20]
    found = loaded.counted(some)
    assert found is not None and np.array_equal(found, counted[some])


def cut(**changes: object) -> Callable[[Plan], Plan]:
    return lambda plan: replace(plan, **changes)  # type: ignore[arg-type]


BITS = pack(np.eye(2, TARGETS, dtype=bool))
BROKEN: dict[str, tuple[Callable[[Plan], Plan], str]] = {
    "no targets": (cut(row_targets=None), "mask_slots has 2 slots, but row_targets is missing"),
    "no number": (cut(row_targets=2.5), "row_targets is 2.5, expected a whole number"),
    "other targets": (cut(row_targets=TARGETS + 8), r"row_masks is uint8 \(2, 2\), expected uint8 \(2, 3\)"),
    "fewer rows": (cut(mask_slots=np.array([4])), r"expected uint8 \(1, 2\)"),
    "slots that fall": (cut(mask_slots=np.array([4, 1])), "mask_slots should rise strictly within 0 .. 11"),
    "a slot beyond": (cut(mask_slots=np.array([4, N])), "mask_slots should rise"),
    "other numbers": (cut(mask_slots=np.array([1.0, 4.0])), "mask_slots is 1-dimensional float64"),
    "bits behind": (cut(row_masks=BITS | 1), "bits behind the last of 11 tokens"),
    "a sample twice": (lambda plan: plan.mask_tokens(np.array([1, 1]), BITS, TARGETS), "given twice: 1"),
    "a sample of no slot": (
        lambda plan: plan.mask_tokens(np.array([1, N]), BITS, TARGETS),
        "held by none of the plan's 12 slots, the first being 12",
    ),
    "rows of another width": (
        lambda plan: plan.mask_tokens(np.array([1, 2]), BITS, TARGETS + 1),
        "rows of 12 tokens that a model is asked for, but those that the plan has are of 11",
    ),
    "numbers for bits": (
        lambda plan: plan.mask_tokens(np.array([1, 2]), np.eye(2, TARGETS), TARGETS),
        r"are float64 \(2, 11\), expected uint8 \(2, 2\): bits, as token_masks.pack makes them",
    ),
    "an unknown source": (
        lambda plan: plan.mask_tokens(np.array([1, 2]), BITS, TARGETS, 2),
        "source 2",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_no_token_mask_is_refused(case: str) -> None:
    change, says = BROKEN[case]
    plan = identity().mask_tokens(np.array([1, 4]), BITS, TARGETS)
    with pytest.raises(CuratorError, match=says):
        change(plan)


def test_bits_of_another_plan_are_refused(tmp_path: Path) -> None:
    identity().mask_tokens(np.array([1, 4]), BITS, TARGETS).save(tmp_path)
    np.save(tmp_path / "row_masks.npy", BITS[::-1].copy())
    with pytest.raises(CuratorError, match="files of two plans are mixed"):
        Plan.load(tmp_path)
