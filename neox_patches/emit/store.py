"""A rank's part of an emission on disk: memory-mapped arrays, made whole at the start, filled step by step.

A row has its place by arithmetic, so a run that was killed and goes on writes over what it wrote before. The layout is
described in curator/emission.py, which reads it.
"""

import errno
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap

from curator.emission import NOT_REACHED, load_sum
from curator.errors import CuratorError
from curator.plan import CORPUS, Plan
from curator.storage import fingerprint, load_json, new_folder, save_array, save_json
from neox_patches.clock import Layout
from neox_patches.emit.description import check_same


class RankStore:
    """The arrays of one rank.

    Args:
        steps: chosen steps, rising; rows of a step lie together, in the rank's own order.
        shapes: per block of gradients, what is written per sample; ``n_scores``: rows of scores.
        index: what stands in index.json.
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
    ):
        self.folder, self.layout = folder, layout
        self.place = {step: number for number, step in enumerate(steps)}
        self.n_rows = len(steps) * layout.rows_per_step
        wanted: dict[str, tuple[tuple[int, ...], Any]] = {
            "losses": ((self.n_rows,), np.float32),
            "flags": ((len(steps),), np.uint8),
        }
        if n_scores:
            wanted["scores"] = ((n_scores, self.n_rows), np.float32)
        wanted |= {f"gradients/{k}": ((self.n_rows, *shape), np.float32) for k, shape in enumerate(shapes)}
        self._check_space(wanted)
        there = load_json(folder / "index.json") if (folder / "index.json").is_file() else None
        if there is not None:
            check_same(folder, index, there)
        if there is None:
            self._write_rows(steps, plan)
        self.arrays = {name: self._open(name, shape, dtype) for name, (shape, dtype) in wanted.items()}
        if there is None:
            save_json(folder / "index.json", index)

    def _check_space(self, wanted: dict[str, Any]) -> None:
        """Refuse at the start what would not fit: all ranks are taken to write to this disk, as a shared folder is."""
        if self.folder.exists() and not self.folder.is_dir():
            raise CuratorError(f"{self.folder}: is a file; give another emit.out, or remove it")
        self.folder.mkdir(parents=True, exist_ok=True)
        size = sum(
            int(np.prod(shape)) * np.dtype(dtype).itemsize
            for name, (shape, dtype) in wanted.items()
            if not (self.folder / f"{name}.npy").exists()
        )
        layout, free = self.layout, shutil.disk_usage(self.folder).free
        ranks = layout.dp_size * layout.mp_size * layout.pp_size
        if size * ranks > free:
            raise CuratorError(
                f"{self.folder}: {ranks} rank(s) emit {size / 1e9:.3g} GB each ({self.n_rows} samples), but "
                f"{free / 1e9:.3g} GB are free; choose fewer steps or units, or compress the gradients"
            )

    def _write_rows(self, steps: Sequence[int], plan: Plan | None) -> None:
        layout = self.layout
        slots = [layout.slots(step, micro) for step in steps for micro in range(layout.accumulation)]
        rows = np.concatenate(slots)
        if plan is None:
            sources, samples = np.full(len(rows), CORPUS, np.int32), rows
            weights = np.ones(len(rows), np.float32)
        else:
            sources, samples, weights = plan.lookup(rows)
        for name, array in (
            ("slots", rows),
            ("sources", sources),
            ("samples", samples),
            ("weights", weights),
        ):
            save_array(self.folder / f"{name}.npy", array)

    def _open(self, name: str, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        path = self.folder / f"{name}.npy"
        if path.is_file():
            array = np.load(path, mmap_mode="r+", allow_pickle=False)
            if array.shape == shape and array.dtype == dtype:
                return array
        path.parent.mkdir(parents=True, exist_ok=True)
        array = open_memmap(path, mode="w+", dtype=dtype, shape=shape)
        _reserve(path)
        if dtype == np.float32 and array.ndim <= 2:
            array[:] = np.nan  # gradients, which are large, stay sparse: flags say what was written
        return array

    def rows(self, step: int) -> slice:
        """Where the step's rows lie."""
        first = self.place[step] * self.layout.rows_per_step
        return slice(first, first + self.layout.rows_per_step)

    def begin(self, step: int) -> None:
        """What the step wrote before, in a run that was killed, counts no longer."""
        self.arrays["flags"][self.place[step]] = NOT_REACHED

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
        """The factors' sums after ``step`` steps of training; older ones are kept, as a resume may need them."""
        target = self.folder / "sums" / str(step)
        if target.exists():
            shutil.rmtree(target)
        with new_folder(target) as folder:
            for number, array in enumerate(arrays):
                save_array(folder / f"{number:04}.npy", array)
            content = [fingerprint(array) for array in arrays]
            save_json(folder / "state.json", {**state, "content": content})

    def load_sums(self, step: int) -> tuple[list[np.ndarray], dict[str, Any]] | None:
        """What was saved after ``step`` steps, if anything."""
        folder = self.folder / "sums" / str(step)
        if not (folder / "state.json").is_file():
            return None
        state = load_json(folder / "state.json")
        return [load_sum(folder, state, number) for number in range(state["arrays"])], state

    def drop_sums_after(self, step: int) -> None:
        """Remove sums of steps that this run is going to do again."""
        for folder in (self.folder / "sums").glob("[0-9]*"):
            if int(folder.name) > step:
                shutil.rmtree(folder)


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
