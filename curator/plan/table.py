"""A plan's fields, what makes them valid, and what its slots hold. Imports numpy alone, as all of this room does.

Two sparse tables: segments of slots that hold consecutive samples, and the slots whose weight is not 1; and a third
one, rarely there, of slots some of whose tokens do not count. So the cost of everything follows the number of segments
and of edited slots, never that of all slots.
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple, get_args

import numpy as np

from curator.errors import CuratorError
from curator.plan import token_masks
from curator.plan.rules import ARRAYS, CORPUS, Divisor, index_array, some_of


class Slots(NamedTuple):
    """What some slots hold, [n] each: source int32, sample int64 within the source, weight float32."""

    source: np.ndarray
    sample: np.ndarray
    weight: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class Table:
    """A plan in canonical form: plans that say the same have the same arrays.

    Segment k says that slot s holds sample ``sample_start[k] + (s - slot_start[k])`` of ``source[k]``.
    """

    n_slots: int
    """Number of training slots: steps times batch size."""
    batch_size: int
    """Global batch size B."""
    corpus_fingerprint: str
    """The corpus whose sample indices these are."""
    divisor: Divisor = "kept"
    """Whether a step's loss sum is divided by all its B rows' tokens ("kept") or by those left ("renormalised")."""
    sources: tuple[dict[str, Any], ...] = ()
    """The injected sets (``name``, ``path``, ``fingerprint``); set k, counted from 1, is source k."""
    epoch_samples: int | None = None
    """Length of the corpus, where the run passes over it more than once: slot s of the unedited run holds sample s
    modulo it. None: sample s."""
    slot_start: np.ndarray = field(default_factory=lambda: np.zeros(1, np.int64))
    """[segments] int64, rising from 0."""
    source: np.ndarray = field(default_factory=lambda: np.zeros(1, np.int32))
    """[segments] int32."""
    sample_start: np.ndarray = field(default_factory=lambda: np.zeros(1, np.int64))
    """[segments] int64."""
    weight_slots: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    """[weighted slots] int64, rising; every other slot has weight 1."""
    weights: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    """[weighted slots] float32 >= 0; 0 masks the slot."""
    row_targets: int | None = None
    """How many tokens of a row a model is asked for, its width less one; None where every token counts."""
    mask_slots: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    """[token-masked slots] int64, rising; of every other slot each token counts."""
    row_masks: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.uint8))
    """[token-masked slots, ceil(row_targets / 8)] uint8 bits: which of its tokens count (token_masks.py)."""

    def __post_init__(self) -> None:
        problem = _problem_of(self)
        if problem:
            raise CuratorError(f"this is not a valid plan: {problem}")
        first = np.ones(len(self.slot_start), bool)  # segments that do not merely continue their neighbour
        first[1:] = (np.diff(self.source) != 0) | (np.diff(self.sample_start) != np.diff(self.slot_start))
        if not first.all():
            for name in ("slot_start", "source", "sample_start"):
                self._set(name, getattr(self, name)[first])
        if (self.weights == 1).any():
            weighted = self.weights != 1
            self._set("weight_slots", self.weight_slots[weighted])
            self._set("weights", self.weights[weighted])
        if self.row_targets is not None:
            self._settle_masks(self.row_targets)
        self._set("sources", tuple(self.sources))

    def _settle_masks(self, targets: int) -> None:
        """A slot none of whose tokens counts has weight 0; one of weight 0, or all of whose tokens count, no mask."""
        counted = token_masks.counts(self.row_masks)
        empty = self.mask_slots[counted == 0]
        if len(empty):
            others = ~np.isin(self.weight_slots, empty)
            slots = np.concatenate([self.weight_slots[others], empty])
            weights = np.concatenate([self.weights[others], np.zeros(len(empty), np.float32)])
            order = np.argsort(slots, kind="stable")
            self._set("weight_slots", slots[order])
            self._set("weights", weights[order])
        kept = (counted < targets) & ~np.isin(self.mask_slots, self.masked_slots())
        if not kept.all():
            self._set("mask_slots", self.mask_slots[kept])
            self._set("row_masks", self.row_masks[kept])
        if not kept.any():
            self._set("row_targets", None)
            self._set("row_masks", np.zeros((0, 0), np.uint8))

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def lookup(self, slots: np.ndarray) -> Slots:
        """What the slots hold, in the order given; fresh arrays, O(log segments) per slot."""
        slots = index_array("slots", slots)
        self.check_slots(slots)
        segment = np.searchsorted(self.slot_start, slots, side="right") - 1
        sample = self.sample_start[segment] + (slots - self.slot_start[segment])
        weight = np.ones(len(slots), np.float32)
        if len(self.weight_slots):
            position = np.searchsorted(self.weight_slots, slots)
            position[position == len(self.weight_slots)] = 0
            found = self.weight_slots[position] == slots
            weight[found] = self.weights[position[found]]
        return Slots(self.source[segment], sample, weight)

    def masked_slots(self) -> np.ndarray:
        """The slots with weight 0, rising, int64."""
        return self.weight_slots[self.weights == 0]

    def kept_per_step(self, step: int) -> int:
        """B_kept: how many slots of the step's global batch have a weight above 0.

        A renormalising trainer scales the step's loss by B / B_kept, and trains on nothing where it is 0.
        """
        first = step * self.batch_size
        self.check_slots(np.array([first]))
        low, high = np.searchsorted(self.weight_slots, [first, first + self.batch_size])
        return self.batch_size - int((self.weights[low:high] == 0).sum())

    def counted(self, slots: np.ndarray) -> np.ndarray | None:
        """[n, row_targets] bool which tokens of these slots count: place t is token t + 1 of the row.

        None where all of them do. A token's weight is its slot's, or 0. Only these slots' rows are read.
        """
        if self.row_targets is None:
            return None
        slots = index_array("slots", slots)
        self.check_slots(slots)
        place = np.searchsorted(self.mask_slots, slots)
        place[place == len(self.mask_slots)] = 0
        found = self.mask_slots[place] == slots
        if not found.any():
            return None
        counted = np.ones((len(slots), self.row_targets), bool)
        counted[found] = token_masks.unpack(self.row_masks[place[found]], self.row_targets)
        return counted

    def tokens_per_step(self, step: int, targets: int) -> int:
        """How many tokens of the step's global batch have a weight above 0, of rows of ``targets``.

        What a renormalising trainer divides a step's loss sum by; ``kept_per_step * targets`` without token masks.
        """
        first = step * self.batch_size
        low, high = np.searchsorted(self.mask_slots, [first, first + self.batch_size])
        left_out = (high - low) * targets - token_masks.counts(self.row_masks[low:high]).sum()
        return self.kept_per_step(step) * targets - int(left_out)

    def masked_tokens(self) -> int:
        """How many tokens do not count, of slots that are not masked as a whole."""
        return len(self.mask_slots) * (self.row_targets or 0) - int(token_masks.counts(self.row_masks).sum())

    def highest_sample(self, source: int = CORPUS) -> int:
        """The highest sample index that any slot holds of this source; -1 where none does."""
        return int(self.sample_ends()[self.source == source].max(initial=0)) - 1

    def sample_ends(self) -> np.ndarray:
        """[segments] one past the last sample of each segment."""
        return self.sample_start + np.diff(self.slot_start, append=self.n_slots)

    def check_slots(self, slots: np.ndarray) -> None:
        """Refuse slots outside the plan."""
        outside = slots[(slots < 0) | (slots >= self.n_slots)]
        if len(outside):
            raise CuratorError(
                f"slot {some_of(outside)} lies outside the plan's slots 0 .. {self.n_slots - 1} "
                f"({self.n_slots // self.batch_size} steps of {self.batch_size})"
            )


def _problem_of(plan: "Table") -> str | None:
    """What is wrong with the plan's fields, in words; None where nothing is."""
    for name in ("n_slots", "batch_size"):
        value = getattr(plan, name)
        if type(value) is not int or value < 1:
            return f"{name} is {value!r}, expected a whole number from 1"
    if plan.n_slots % plan.batch_size:
        return f"n_slots is {plan.n_slots}, which is not whole steps of batch_size {plan.batch_size}"
    if plan.divisor not in get_args(Divisor):
        return f"divisor is {plan.divisor!r}, expected one of {', '.join(get_args(Divisor))}"
    if plan.epoch_samples is not None and (type(plan.epoch_samples) is not int or plan.epoch_samples < 1):
        return f"epoch_samples is {plan.epoch_samples!r}, expected a whole number from 1, or none"
    if type(plan.corpus_fingerprint) is not str:
        return f"corpus_fingerprint is {plan.corpus_fingerprint!r}, expected text"
    for source in plan.sources:
        if type(source) is not dict or set(source) != {"name", "path", "fingerprint"}:
            return f"source {source!r} should have exactly the keys name, path and fingerprint"
        if not all(type(value) is str for value in source.values()):
            return f"source {source!r} should hold text alone"
    return _problem_of_arrays(plan)


def _problem_of_arrays(plan: "Table") -> str | None:
    for name, dtype in ARRAYS.items():
        array = getattr(plan, name)
        if array.dtype != dtype or array.ndim != 1:
            return f"{name} is {array.ndim}-dimensional {array.dtype}, expected [n] {np.dtype(dtype)}"
    lengths = {name: len(getattr(plan, name)) for name in ARRAYS}
    if not lengths["slot_start"] == lengths["source"] == lengths["sample_start"] >= 1:
        return f"slot_start, source and sample_start should be equally long and not empty, found {lengths}"
    if lengths["weight_slots"] != lengths["weights"]:
        return f"weight_slots and weights should be equally long, found {lengths}"
    if plan.slot_start[0] != 0:
        return f"slot_start begins with {plan.slot_start[0]}, expected 0"
    for name in ("slot_start", "weight_slots"):
        slots = getattr(plan, name)
        if len(slots) and (slots[0] < 0 or slots[-1] >= plan.n_slots or not (np.diff(slots) > 0).all()):
            return f"{name} should rise strictly within 0 .. {plan.n_slots - 1}"
    if plan.source.min() < 0 or plan.source.max() > len(plan.sources):
        return f"source holds {plan.source.min()} .. {plan.source.max()}, expected 0 .. {len(plan.sources)}"
    if plan.sample_start.min() < 0:
        return f"sample_start holds {plan.sample_start.min()}, but samples are counted from 0"
    highest = plan.highest_sample()
    if plan.epoch_samples is not None and highest >= plan.epoch_samples:
        return (
            f"a slot holds sample {highest}, but epoch_samples says that the corpus has {plan.epoch_samples}"
        )
    if not np.isfinite(plan.weights).all() or np.signbit(plan.weights).any():
        return "weights should be finite and not negative"
    return token_masks.problem_of(plan)
