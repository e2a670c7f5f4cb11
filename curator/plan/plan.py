"""What the trainer consumes: for every training slot, which sample it holds and with which weight.

Slot s of a global batch of B is step s // B, row s % B. Two sparse tables describe all slots:
segments (run-length: where a run of consecutive samples of one source starts) and the slots whose
weight is not 1; a third, where it is asked for, which tokens of a slot count. A mask of 10 % of
Pythia's 146 M slots is 180 MB, an identity plan three numbers.
Refused: a dense array per slot, which every rank of a trainer would have to map.
Imports numpy alone, because the GPT-NeoX patches read plans in the trainer's own environment.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from curator.artifacts.files import load_array, save_array, save_json
from curator.artifacts.fingerprints import differences, fingerprint
from curator.artifacts.frames import frame
from curator.artifacts.manifests import load_manifest
from curator.errors import CuratorError
from curator.plan import edits
from curator.plan.rules import (
    ARRAYS,
    CORPUS,
    FORMAT,
    HEADER,
    OPTIONAL,
    TOKEN_ARRAYS,
    Divisor,
    problem_of_header,
)
from curator.plan.table import Table

MEND = "compile the plan again"


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan(Table):
    """A plan in canonical form: plans that say the same have the same arrays and fingerprint.

    Make one with `identity` and edit it with `mask`, `mask_tokens`, `replace` and `insert` (edits.py), which return
    new plans.
    """

    @staticmethod
    def identity(
        n_slots: int,
        batch_size: int,
        corpus_fingerprint: str,
        divisor: Divisor = "kept",
        epoch_samples: int | None = None,
    ) -> "Plan":
        """The plan that changes nothing: slot s holds sample s of the corpus with weight 1.

        Args:
            epoch_samples: length of a corpus that may end before the slots do: slot s holds sample s modulo it.
        """
        wraps = epoch_samples is not None and n_slots > epoch_samples
        slot_start = np.arange(0, n_slots if wraps else 1, epoch_samples if wraps else None, dtype=np.int64)
        return Plan(
            n_slots=int(n_slots),
            batch_size=int(batch_size),
            corpus_fingerprint=corpus_fingerprint,
            divisor=divisor,
            epoch_samples=epoch_samples if wraps else None,
            slot_start=slot_start,
            source=np.zeros(len(slot_start), np.int32),
            sample_start=np.zeros(len(slot_start), np.int64),
        )

    def mask(self, samples: np.ndarray) -> "Plan":
        """Give weight 0 to every slot that holds one of these corpus samples, each time it comes.

        Raises:
            CuratorError: some of the samples are held by no slot, so that masking them would do nothing.
        """
        return edits.mask(self, samples)

    def mask_tokens(
        self, samples: np.ndarray, row_masks: np.ndarray, targets: int, source: int = CORPUS
    ) -> "Plan":
        """Let only these tokens of ``samples`` count in every slot that holds them, among those that count there now.

        A sample none of whose tokens is left is masked.

        Args:
            samples: [n] of ``source``.
            row_masks: `token_masks.pack` of [n, targets] bool: place t says whether token t + 1 of the row counts.
            targets: the rows' width less one.

        Raises:
            CuratorError: a sample given twice, held by no slot, or rows of another length than before.
        """
        return edits.mask_tokens(self, samples, row_masks, targets, source)

    def replace(self, slots: np.ndarray, samples: np.ndarray, source: int = CORPUS) -> "Plan":
        """Let ``slots[i]`` hold ``samples[i]`` of ``source``, with weight 1 and all its tokens, whatever it was before.

        Raises:
            CuratorError: a slot is given twice or lies outside the plan, or there is no such source.
        """
        return edits.replace(self, slots, samples, source)

    def insert(self, steps: np.ndarray, samples: np.ndarray, source: int = CORPUS) -> "Plan":
        """Put in extra whole steps; what follows moves back by whole steps, with its weights.

        Args:
            steps: [k] rising steps of this plan, as they are counted now: extra step j stands before step
                ``steps[j]``, and at the end where that is the number of steps. Equal ones follow each other.
            samples: [k * batch_size] samples of ``source`` that fill the extra steps in order, with weight 1.

        Raises:
            CuratorError: another number of samples, steps that fall or lie outside the plan, or no such source.
        """
        return edits.insert(self, steps, samples, source)

    def with_source(self, name: str, path: str | Path, fingerprint: str) -> "tuple[Plan, int]":
        """A plan that knows this injected set, and the set's source number.

        A set with the fingerprint of one that is known already keeps that one's number, name and path.
        ``path`` is stored absolute.
        """
        return edits.with_source(self, name, path, fingerprint)

    def first_edited_slot(self, first: int = 0, last: int | None = None) -> int:
        """The first slot of [first, last), by default of all, that differs from the identity plan; else ``last``."""
        last = self.n_slots if last is None else min(last, self.n_slots)
        ends = np.append(self.slot_start[1:], self.n_slots)
        plain = self.slot_start if self.epoch_samples is None else self.slot_start % self.epoch_samples
        moved = (self.source != CORPUS) | (self.sample_start != plain)
        found = np.flatnonzero(moved & (ends > first))[:1]
        slots = [max(first, int(start)) for start in self.slot_start[found]]
        low = int(np.searchsorted(self.weight_slots, first))
        slots += [int(slot) for slot in self.weight_slots[low : low + 1]]
        low = int(np.searchsorted(self.mask_slots, first))
        slots += [int(slot) for slot in self.mask_slots[low : low + 1]]
        return min([*slots, last])

    def steps_for(self, base_steps: int) -> int:
        """How many steps a run takes with this plan that takes ``base_steps`` without it: those and the extra ones.

        Extra steps push whole base steps back, so the first step that is *not* wanted tells how many there are: the
        one that still holds most of its samples.

        Raises:
            CuratorError: that step was replaced for the most part, so that it cannot be found.
        """
        first, n_steps = base_steps * self.batch_size, self.n_slots // self.batch_size
        slots = np.arange(first, first + self.batch_size)
        samples = slots if self.epoch_samples is None else slots % self.epoch_samples
        for step in range(base_steps, n_steps):
            held = self.lookup(slots + (step - base_steps) * self.batch_size)
            if 2 * int(((held.source == CORPUS) & (held.sample == samples)).sum()) > self.batch_size:
                return step
        if self.epoch_samples is not None or self.highest_sample() < first:
            return n_steps  # the plan ends with the run
        raise CuratorError(
            f"where step {base_steps} of the run without this plan has gone cannot be told, since the plan replaces "
            "most of its samples"
        )

    def fingerprint(self) -> str:
        """Content fingerprint; where an injected set lies on the disk is no part of it."""
        header = {name: value for name, value in self._header().items() if name != "sources"}
        sources = [{key: source[key] for key in ("name", "fingerprint")} for source in self.sources]
        arrays = {name: getattr(self, name) for name in self._arrays()}
        return fingerprint({**FORMAT, **header, "sources": sources, **arrays})

    def check(
        self, corpus_fingerprint: str, batch_size: int, n_slots: int, setting: str = "the number of steps"
    ) -> None:
        """Refuse a run that this plan was not made for.

        Args:
            setting: what the trainer calls its number of steps, for the message.

        Raises:
            CuratorError: another corpus or batch size, or more steps than the plan has; names both sides.
        """
        lines = differences(
            {"corpus_fingerprint": corpus_fingerprint, "batch_size": batch_size},
            {"corpus_fingerprint": self.corpus_fingerprint, "batch_size": self.batch_size},
        )
        if lines:
            raise CuratorError(
                f"the plan was made for another run: {'; '.join(lines)}; compile the plan again for this run"
            )
        if n_slots > self.n_slots:
            steps = self.n_slots // self.batch_size
            raise CuratorError(
                f"the plan has {steps} steps of {self.batch_size} samples, but this run trains "
                f"{n_slots // batch_size} ({setting}): set {setting} to at most {steps}, or make a plan of more steps "
                "(--epochs, where the run passes over its corpus more than once)"
            )

    def save(self, folder: Path) -> None:
        """Write one .npy per array, then plan.json: where it is missing, the plan is not whole."""
        (folder / "plan.json").unlink(missing_ok=True)
        for name in TOKEN_ARRAYS:
            (folder / f"{name}.npy").unlink(missing_ok=True)
        for name in self._arrays():
            save_array(folder / f"{name}.npy", getattr(self, name))
        save_json(folder / "plan.json", {**FORMAT, **self._header(), "fingerprint": self.fingerprint()})

    def _arrays(self) -> tuple[str, ...]:
        """The arrays that this plan has: without token masks it is the same on disk as ever."""
        return (*ARRAYS, *(TOKEN_ARRAYS if self.row_targets is not None else ()))

    def _header(self) -> dict[str, Any]:
        """What stands in plan.json."""
        there = {name: getattr(self, name) for name in OPTIONAL if getattr(self, name) is not None}
        return {name: getattr(self, name) for name in HEADER} | there

    @staticmethod
    def load(folder: Path) -> "Plan":
        """Open a saved plan; its arrays stay memory-mapped.

        The path of an injected set that is not absolute is relative to the plan's folder.

        Raises:
            CuratorError: something is missing, cut short, unknown, out of range, or of another plan.
        """
        path = folder / "plan.json"
        header = load_manifest(path, FORMAT, MEND)
        if problem := problem_of_header(header):
            raise CuratorError(f"{path}: {problem}")
        fields: dict[str, Any] = {name: header[name] for name in (*HEADER, *OPTIONAL) if name in header}
        names = (*ARRAYS, *(TOKEN_ARRAYS if "row_targets" in header else ()))
        fields |= {name: load_array(folder / f"{name}.npy") for name in names}
        try:
            plan = Plan(**fields)
        except CuratorError as error:
            raise CuratorError(f"{folder}: {error}; {MEND}") from error
        if plan.fingerprint() != header["fingerprint"]:
            raise CuratorError(
                f"{folder}: the arrays have fingerprint {plan.fingerprint()}, but plan.json was written "
                f"for {header['fingerprint']}: files of two plans are mixed, or one was edited; {MEND}"
            )
        found = ({**source, "path": os.path.abspath(folder / source["path"])} for source in plan.sources)
        plan._set("sources", tuple(found))
        return plan

    @staticmethod
    def open(folder: str | Path) -> "Plan":
        """`load`, called as it is of a ranking and a scan."""
        return Plan.load(Path(folder))

    def to_frame(self) -> Any:
        """One row per slot, indexed by it: its step, which sample of which source it holds, and its weight (pandas).

        The corpus is called ``corpus``, an injected set by its name.

        Raises:
            CuratorError: pandas is not installed.
        """
        slots = np.arange(self.n_slots)
        held, names = self.lookup(slots), np.array(["corpus", *(one["name"] for one in self.sources)])
        columns = {"step": slots // self.batch_size, "sample": held.sample, "source": names[held.source]}
        return frame({**columns, "weight": held.weight}, slots, "slot")
