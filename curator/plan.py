"""What the trainer consumes: for every training slot, which sample it holds and with which weight.

Slot s of a global batch of B is step s // B, row s % B. Two sparse tables describe all slots:
segments (run-length: where a run of consecutive samples of one source starts) and the slots whose
weight is not 1. A mask of 10 % of Pythia's 146 M slots is 180 MB, an identity plan three numbers.
Refused: a dense array per slot, which every rank of a trainer would have to map.
Imports numpy alone, because the GPT-NeoX patches read plans in the trainer's own environment.
"""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from curator.errors import CuratorError
from curator.plan_rules import (
    ARRAYS,
    CORPUS,
    FORMAT,
    HEADER,
    Divisor,
    index_array,
    problem_of,
    problem_of_header,
    some_of,
)
from curator.storage import differences, fingerprint, load_array, load_json, save_array, save_json


class Slots(NamedTuple):
    """What some slots hold, [n] each: source int32, sample int64 within the source, weight float32."""

    source: np.ndarray
    sample: np.ndarray
    weight: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """A plan in canonical form: plans that say the same have the same arrays and fingerprint.

    Make one with `identity` and edit it with `mask` and `replace`, which return new plans.
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
        problem = problem_of(self)
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

    @staticmethod
    def identity(n_slots: int, batch_size: int, corpus_fingerprint: str, divisor: Divisor = "kept") -> "Plan":
        """The plan that changes nothing: slot s holds sample s of the corpus with weight 1."""
        return Plan(
            n_slots=int(n_slots),
            batch_size=int(batch_size),
            corpus_fingerprint=corpus_fingerprint,
            divisor=divisor,
        )

    def mask(self, samples: np.ndarray) -> "Plan":
        """Give weight 0 to every slot that holds one of these corpus samples.

        Raises:
            CuratorError: some of the samples are held by no slot, so that masking them would do nothing.
        """
        wanted = np.unique(index_array("samples", samples))
        ends = self._sample_ends()
        from_corpus = self.source == CORPUS
        low = np.searchsorted(wanted, self.sample_start)
        count = np.where(from_corpus, np.searchsorted(wanted, ends) - low, 0)
        segment = np.repeat(np.arange(len(count)), count)  # one entry per (segment, wanted sample in it)
        hit = low[segment] + np.arange(len(segment)) - np.repeat(np.cumsum(count) - count, count)
        missing = np.ones(len(wanted), bool)
        missing[hit] = False
        if missing.any():
            raise CuratorError(
                f"{missing.sum()} of {len(wanted)} samples to mask are held by none of the plan's "
                f"{self.n_slots} slots, the first being {some_of(wanted[missing])}; "
                "leave out samples that the run never reaches or that were replaced before"
            )
        slots = np.sort(self.slot_start[segment] + wanted[hit] - self.sample_start[segment])
        return self._with_weight(slots, 0.0)

    def replace(self, slots: np.ndarray, samples: np.ndarray, source: int = CORPUS) -> "Plan":
        """Let ``slots[i]`` hold ``samples[i]`` of ``source``, with weight 1 whatever it was before.

        Raises:
            CuratorError: a slot is given twice or lies outside the plan, or there is no such source.
        """
        slots, samples = index_array("slots", slots), index_array("samples", samples)
        if len(slots) != len(samples):
            raise CuratorError(f"{len(slots)} slots to replace, but {len(samples)} samples to put there")
        if not 0 <= source <= len(self.sources):
            raise CuratorError(
                f"there is no source {source}; this plan has 0 (the corpus) .. {len(self.sources)}"
            )
        order = np.argsort(slots, kind="stable")
        slots, samples = slots[order], samples[order]
        twice = slots[1:][np.diff(slots) == 0]
        if len(twice):
            raise CuratorError(
                f"slots may be replaced once each, but given twice: {some_of(np.unique(twice))}"
            )
        if not len(slots):
            return self
        self._check_range(slots)
        after = slots + 1
        starts = np.unique(np.concatenate([self.slot_start, slots, after[after < self.n_slots]]))
        held = self.lookup(starts)
        edited = np.searchsorted(starts, slots)
        held.source[edited] = source
        held.sample[edited] = samples
        cut = dataclasses.replace(self, slot_start=starts, source=held.source, sample_start=held.sample)
        return cut._with_weight(slots, 1.0)

    def _with_weight(self, slots: np.ndarray, weight: float) -> "Plan":
        keep = ~np.isin(self.weight_slots, slots)
        merged = np.concatenate([self.weight_slots[keep], slots])
        weights = np.concatenate([self.weights[keep], np.full(len(slots), weight, np.float32)])
        order = np.argsort(merged, kind="stable")
        return dataclasses.replace(self, weight_slots=merged[order], weights=weights[order])

    def lookup(self, slots: np.ndarray) -> Slots:
        """What the slots hold, in the order given; fresh arrays, O(log segments) per slot."""
        slots = index_array("slots", slots)
        self._check_range(slots)
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
        self._check_range(np.array([first]))
        low, high = np.searchsorted(self.weight_slots, [first, first + self.batch_size])
        return self.batch_size - int((self.weights[low:high] == 0).sum())

    def highest_sample(self, source: int = CORPUS) -> int:
        """The highest sample index that any slot holds of this source; -1 where none does."""
        return int(self._sample_ends()[self.source == source].max(initial=0)) - 1

    def first_edited_slot(self) -> int:
        """The first slot that differs from the identity plan; ``n_slots`` where none does."""
        starts_plain = self.source[0] == CORPUS and self.sample_start[0] == 0
        moved = np.append(self.slot_start, self.n_slots)[1 if starts_plain else 0]
        return int(min(moved, self.weight_slots[0] if len(self.weight_slots) else self.n_slots))

    def _sample_ends(self) -> np.ndarray:
        """[segments] one past the last sample of each segment."""
        return self.sample_start + np.diff(self.slot_start, append=self.n_slots)

    def _check_range(self, slots: np.ndarray) -> None:
        outside = slots[(slots < 0) | (slots >= self.n_slots)]
        if len(outside):
            raise CuratorError(
                f"slot {some_of(outside)} lies outside the plan's slots 0 .. {self.n_slots - 1} "
                f"({self.n_slots // self.batch_size} steps of {self.batch_size})"
            )

    def fingerprint(self) -> str:
        """Content fingerprint; where an injected set lies on the disk is no part of it."""
        header = {name: getattr(self, name) for name in HEADER if name != "sources"}
        sources = [{key: source[key] for key in ("name", "fingerprint")} for source in self.sources]
        arrays = {name: getattr(self, name) for name in ARRAYS}
        return fingerprint({**FORMAT, **header, "sources": sources, **arrays})

    def check(self, corpus_fingerprint: str, batch_size: int, n_slots: int) -> None:
        """Refuse a run that this plan was not made for.

        Raises:
            CuratorError: another corpus or batch size, or more slots than the plan has; names both sides.
        """
        lines = differences(
            {"corpus_fingerprint": corpus_fingerprint, "batch_size": batch_size},
            {"corpus_fingerprint": self.corpus_fingerprint, "batch_size": self.batch_size},
        )
        if n_slots > self.n_slots:
            lines.append(f"n_slots: there {self.n_slots}, asked for {n_slots}")
        if lines:
            raise CuratorError(
                "the plan was made for another run: "
                + "; ".join(lines)
                + "; compile the plan again for this run"
            )

    def save(self, folder: Path) -> None:
        """Write one .npy per array, then plan.json: where it is missing, the plan is not whole."""
        (folder / "plan.json").unlink(missing_ok=True)
        for name in ARRAYS:
            save_array(folder / f"{name}.npy", getattr(self, name))
        header = {name: getattr(self, name) for name in HEADER}
        save_json(folder / "plan.json", {**FORMAT, **header, "fingerprint": self.fingerprint()})

    @staticmethod
    def load(folder: Path) -> "Plan":
        """Open a saved plan; its arrays stay memory-mapped.

        Raises:
            CuratorError: something is missing, cut short, unknown, out of range, or of another plan.
        """
        path = folder / "plan.json"
        header = load_json(path)
        if problem := problem_of_header(header):
            raise CuratorError(f"{path}: {problem}")
        fields: dict[str, Any] = {name: header[name] for name in HEADER}
        fields |= {name: load_array(folder / f"{name}.npy") for name in ARRAYS}
        try:
            plan = Plan(**fields)
        except CuratorError as error:
            raise CuratorError(f"{folder}: {error}; compile the plan again") from error
        if plan.fingerprint() != header["fingerprint"]:
            raise CuratorError(
                f"{folder}: the arrays have fingerprint {plan.fingerprint()}, but plan.json was written "
                f"for {header['fingerprint']}: files of two plans are mixed, or one was edited; "
                "compile the plan again"
            )
        return plan
