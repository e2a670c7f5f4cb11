"""A plan's fields, what makes them valid, and what its slots hold. Imports numpy alone, as all of this room does.

Two sparse tables: segments of slots that hold consecutive samples, and the slots whose weight is not 1. So the cost of
everything follows the number of segments and of edited slots, never that of all slots.
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple, get_args

import numpy as np

from curator.errors import CuratorError
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
    """Whether a step's loss sum is divided by B ("kept") or by the number of kept slots ("renormalised")."""
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
        self._set("sources", tuple(self.sources))

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
    return None
