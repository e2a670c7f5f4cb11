"""A range of a pattern's candidates as one shard on disk, and the processes that make them.

    parts/{pattern_id}/{start}-{stop}/   rows.npy [n, width], candidates.npy [n], hashes.npy [n, 16],
                                         counts.npy [n, 2] (texts, padding), info.json (what failed)

A shard appears whole: it is its own marker.
"""

import hashlib
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from curator.artifacts.files import load_array, load_json, new_folder, save_array, save_json
from curator.artifacts.workers import follow_parent
from curator.corpus.token_text import read_tokenizer
from synth.render.fill import Filled, Filler, Source
from synth.render.settings import Filling
from synth.sandbox import Failure, Sandbox


@dataclass(frozen=True, order=True)
class Task:
    """Candidates ``start`` to ``stop - 1`` of a pattern."""

    pattern_id: str
    start: int
    stop: int

    def folder(self, parts: Path) -> Path:
        return parts / self.pattern_id / f"{self.start}-{self.stop}"


@dataclass(frozen=True)
class Shard:
    """A finished task's arrays, the rows memory-mapped; see the module."""

    rows: np.ndarray
    candidates: np.ndarray
    hashes: np.ndarray
    counts: np.ndarray
    info: dict[str, Any]

    @staticmethod
    def open(folder: Path) -> "Shard":
        names = ("rows", "candidates", "hashes", "counts")
        arrays = {name: load_array(folder / f"{name}.npy", mmap=name == "rows") for name in names}
        return Shard(**arrays, info=load_json(folder / "info.json"))


@dataclass(frozen=True)
class Work:
    """What every task of a rendering needs, as it goes to worker processes."""

    parts: Path
    tokenizer: Path
    filling: Filling
    unsafe: bool
    sources: tuple[Source, ...]


class Worker:
    """Makes shards."""

    def __init__(self, work: Work):
        self.parts = work.parts
        self.sources = {source.pattern_id: source for source in work.sources}
        self.filler = Filler(work.filling, read_tokenizer(work.tokenizer), Sandbox(unsafe=work.unsafe))

    def make(self, task: Task) -> int:
        """Write the task's shard; how many candidates it covers."""
        try:
            filled = self.filler.fill(self.sources[task.pattern_id], range(task.start, task.stop))
        except Failure as failure:  # it does not even load
            filled = Filled([], f"{failure.kind}: {failure}")
        rows = filled.made
        width = self.filler.filling.width
        tokens = np.array([row.tokens for row in rows], self.filler.dtype).reshape(-1, width)
        hashes = [hashlib.blake2b(row.data, digest_size=16).digest() for row in tokens]
        arrays = {
            "rows": tokens,
            "candidates": np.array([row.candidate for row in rows], np.int64),
            "hashes": np.frombuffer(b"".join(hashes), np.uint8).reshape(-1, 16),
            "counts": np.array([(row.texts, row.padding) for row in rows], np.int32).reshape(-1, 2),
        }
        with new_folder(task.folder(self.parts)) as folder:
            for name, array in arrays.items():
                save_array(folder / f"{name}.npy", array)
            save_json(
                folder / "info.json",
                {
                    "failed": [[row.candidate, row.failure] for row in filled.failed],
                    "stopped": filled.stopped,
                },
            )
        return task.stop - task.start


_worker: Worker | None = None


def start_worker(work: Work) -> None:
    """In a new process: the parent cares for Ctrl-C, and its death is ours."""
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # there is one process per core
    follow_parent()
    _worker = Worker(work)


def make_shard(task: Task) -> int:
    """`Worker.make` in a worker process."""
    assert _worker is not None
    return _worker.make(task)
