"""A rank's part of an emission on disk: memory-mapped arrays, made whole at the start, filled step by step.

A row has its place by arithmetic, so a run that was killed and goes on writes over what it wrote before. The layout is
described in curator/influence/emission.py, which reads it.
"""

import errno
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap

from curator.artifacts.files import new_folder, remove_temporaries, save_array, save_json
from curator.artifacts.fingerprints import fingerprint
from curator.artifacts.manifests import load_object
from curator.corpus import Corpus
from curator.errors import CuratorError
from curator.influence.emission import (
    NOT_REACHED,
    Wanted,
    check_arrays,
    filled_arrays,
    load_sum,
    open_sums,
    placed_arrays,
)
from curator.plan.plan import Plan
from neox_patches.clock import Layout
from neox_patches.data import held
from neox_patches.emit.description import check_same

KEPT_SUMS = 2
"""Sums of so many checkpoints are kept: the newest may belong to one that the trainer did not finish."""


class RankStore:
    """The arrays of one rank.

    Args:
        steps: chosen steps, rising; rows of a step lie together, in the rank's own order.
        shapes: per block of gradients, what is written per sample; ``n_scores``: rows of scores.
        index: what stands in index.json.
        sums_bytes: size of the factors' sums of one checkpoint; served: the corpus whose rows are served, if any.
        first_step: where training stands. Steps before it are over, so that a folder without them was lost.
    """

    def __init__(
        self,
        folder: Path,
        layout: Layout,
        steps: Sequence[int],
        plan: Plan | None,
        shapes: Sequence[tuple[int, int]],
        n_scores: int,
        index: dict[str, Any],
        sums_bytes: int = 0,
        served: Corpus | None = None,
        first_step: int = 0,
    ):
        self.folder, self.layout = folder, layout
        self.place = {step: number for number, step in enumerate(steps)}
        self.n_rows = len(steps) * layout.rows_per_step
        wanted = filled_arrays(len(steps), self.n_rows, n_scores, shapes)
        file = folder / "index.json"
        there = load_object(file, "remove the folder, or give another emit.out") if file.is_file() else None
        check_not_lost(folder, there is not None, steps, first_step)
        if there is not None:
            check_same(folder, index, there)
            check_arrays(folder, {**placed_arrays(self.n_rows), **wanted}, _way_on(folder, steps, first_step))
            remove_temporaries(folder)
        self._check_space(wanted, sums_bytes)
        if there is None:
            self._write_rows(steps, plan, served)
            for name, (shape, dtype) in wanted.items():
                _make(folder / f"{name}.npy", shape, dtype)
            save_json(folder / "index.json", index)
        self.arrays = {
            name: np.load(folder / f"{name}.npy", mmap_mode="r+", allow_pickle=False) for name in wanted
        }

    def _check_space(self, wanted: Wanted, sums_bytes: int) -> None:
        """Refuse at the start what would not fit: all ranks are taken to write to this disk, as a shared folder is."""
        if self.folder.exists() and not self.folder.is_dir():
            raise CuratorError(f"{self.folder}: is a file; give another emit.out, or remove it")
        self.folder.mkdir(parents=True, exist_ok=True)
        size = sum(
            int(np.prod(shape)) * np.dtype(dtype).itemsize
            for name, (shape, dtype) in wanted.items()
            if not (self.folder / f"{name}.npy").exists()
        )
        sums = sums_bytes * max(
            0, KEPT_SUMS + 1 - len(self._sums())
        )  # the next ones are whole before old ones go
        layout, free = self.layout, shutil.disk_usage(self.folder).free
        ranks = layout.dp_size * layout.mp_size * layout.pp_size
        if (size + sums) * ranks > free:
            and_sums = f", and {sums / 1e9:.3g} GB of the factors' sums" if sums else ""
            raise CuratorError(
                f"{self.folder}: {ranks} rank(s) emit {size / 1e9:.3g} GB each ({self.n_rows} samples){and_sums}, but "
                f"{free / 1e9:.3g} GB are free; choose fewer steps or units, or compress the gradients"
            )

    def _write_rows(self, steps: Sequence[int], plan: Plan | None, served: Corpus | None) -> None:
        layout = self.layout
        slots = [layout.slots(step, micro) for step in steps for micro in range(layout.accumulation)]
        rows = np.concatenate(slots)
        sources, samples, weights = held(plan, rows, served)
        for name, array in (
            ("slots", rows),
            ("sources", sources),
            ("samples", samples),
            ("weights", weights),
        ):
            save_array(self.folder / f"{name}.npy", array)

    def rows(self, step: int) -> slice:
        """Where the step's rows lie."""
        first = self.place[step] * self.layout.rows_per_step
        return slice(first, first + self.layout.rows_per_step)

    def begin(self, step: int) -> None:
        """What the step wrote before, in a run that was killed, counts no longer."""
        self.arrays["flags"][self.place[step]] = NOT_REACHED

    def reached(self, step: int) -> bool:
        """Whether the step was written, or skipped by the optimizer."""
        return bool(self.arrays["flags"][self.place[step]] != NOT_REACHED)

    def write_gradients(self, number: int, step: int, micro: int, values: np.ndarray) -> None:
        """Rows of one micro-batch of one block."""
        first = self.rows(step).start + micro * self.layout.micro_batch_size
        self.arrays[f"gradients/{number}"][first : first + len(values)] = values

    def write_step(self, step: int, losses: np.ndarray, scores: np.ndarray | None, flag: int) -> None:
        """Losses [rows] and scores [scores, rows] of a step, then its flag."""
        rows = self.rows(step)
        self.arrays["losses"][rows] = losses
        if scores is not None:
            self.arrays["scores"][:, rows] = scores
        self.arrays["flags"][self.place[step]] = flag

    # -- sums -----------------------------------------------------------------------------------------------

    def save_sums(self, step: int, arrays: Sequence[np.ndarray], state: dict[str, Any]) -> None:
        """The factors' sums after ``step`` steps of training; of older ones, the newest are kept for a resume."""
        target = self.folder / "sums" / str(step)
        if not (target / "state.json").is_file():  # else saved at the last chosen step, before its checkpoint
            content = [fingerprint(array) for array in arrays]
            with new_folder(target) as folder:
                for number, array in enumerate(arrays):
                    save_array(folder / f"{number:04}.npy", array)
                save_json(folder / "state.json", {**state, "content": content})
        for old in self._sums()[:-KEPT_SUMS]:
            self._remove_sums(old)

    def load_sums(self, step: int) -> tuple[list[np.ndarray], dict[str, Any]] | None:
        """What was saved after ``step`` steps, if anything."""
        folder = self.folder / "sums" / str(step)
        if not (folder / "state.json").is_file():
            return None
        state = open_sums(folder)
        return [load_sum(folder, state, number) for number in range(state["arrays"])], state

    def drop_sums_after(self, step: int) -> None:
        """Remove sums of steps that this run is going to do again."""
        for there in self._sums():
            if there > step:
                self._remove_sums(there)

    def _sums(self) -> list[int]:
        """The steps after which sums were saved, rising."""
        return sorted(int(folder.name) for folder in (self.folder / "sums").glob("[0-9]*"))

    def _remove_sums(self, step: int) -> None:
        (self.folder / "sums" / str(step) / "state.json").unlink(
            missing_ok=True
        )  # what is half gone is not whole
        shutil.rmtree(self.folder / "sums" / str(step))


def check_not_lost(folder: Path, there: bool, steps: Sequence[int], first_step: int) -> None:
    """Refuse to make a folder anew when some of what belongs in it was trained before.

    Raises:
        CuratorError: says which steps would be missing.
    """
    if any(step < first_step for step in steps) and not there:
        way_on = _way_on(folder, steps, first_step)
        raise CuratorError(f"{folder}: nothing is there, but {way_on}")


def _way_on(folder: Path, steps: Sequence[int], first_step: int) -> str:
    """What to do about something of a rank's part that is lost."""
    over = [step for step in steps if step < first_step]
    if not over:
        return f"put it back, or remove {folder} as a whole, since none of its steps are over: it is made anew then"
    return (
        f"{len(over)} of the chosen steps ({over[0]} to {over[-1]}) are over: training goes on from step {first_step}. "
        f"If it was lost or moved, put it back; else choose steps from {first_step} on, and another emit.out"
    )


def _make(path: Path, shape: tuple[int, ...], dtype: type) -> None:
    """An array to be filled, over whatever a start that was stopped while it made the part left there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    array = open_memmap(path, mode="w+", dtype=dtype, shape=shape)
    _reserve(path)
    if dtype == np.float32 and array.ndim <= 2:
        array[:] = np.nan  # gradients, which are large, stay sparse: flags say what was written


def _reserve(path: Path) -> None:
    """Take the whole file's space now: writing to a memory map on a full disk ends the process without a word."""
    size = path.stat().st_size
    with open(path, "r+b") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                return  # a file system that cannot reserve
            path.unlink()
            raise CuratorError(
                f"{path}: {size / 1e9:.3g} GB do not fit on the disk; choose fewer steps or units, or compress the "
                "gradients"
            ) from error
