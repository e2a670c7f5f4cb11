"""Token ids of the steps to come, checked before the trainer gets there.

Of a corpus whose rows are served, the rows of the first steps are read before the first step; where that would take
longer than a second or so, a thread of rank 0 goes on through the memory map while training runs, far ahead of it. It
sleeps most of the time, draws nothing from any generator, and ends with the process. What it finds is exchanged now
and then at the beginning of a step, so that all ranks stop at the same one, before the bad row. Refused: a look at a
common file, which ranks in other steps would see at different times.
"""

import atexit
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from curator.corpus import Corpus
from curator.corpus.checks import check_ids
from curator.errors import CuratorError
from curator.plan.plan import CORPUS, Plan
from curator.plan.rows import runs
from neox_patches.data import held
from neox_patches.together import rank, world_size

FIRST_TOKENS = 1 << 27
"""So many are read before the first step, about a quarter of a second's work where they are in memory."""
CHUNK_TOKENS = 1 << 22
REST = 9.0
"""The thread sleeps so many times as long as it reads."""
EXCHANGE_EVERY = 16
"""Steps."""
READING, DONE = -1, -2
"""What rank 0 says while it has found nothing, and when nothing is left to read; else the first slot of a bad chunk."""


@dataclass
class Ahead:
    """Checks the slots [first_slot, n_slots) of a run.

    Args:
        corpus: whose rows are served; plan: what the slots hold, if anything else than the corpus in its order.
        vocab_size: ids at or beyond it are refused.
        say: prints a line.
    """

    corpus: Corpus
    plan: Plan | None
    first_slot: int
    n_slots: int
    vocab_size: int
    say: Callable[[str], None]

    def __post_init__(self) -> None:
        self._chunk = max(1, CHUNK_TOKENS // self.corpus.row_width)
        self._state = READING
        self._over = False
        self._stop = threading.Event()

    def begin(self, batch_size: int) -> None:
        """Read the first rows now; leave the rest to a thread.

        Raises:
            CuratorError: at the first id beyond the vocabulary, the same on every rank.
        """
        reached, most = self.first_slot, self.first_slot + FIRST_TOKENS // self.corpus.row_width
        while reached < min(most, self.n_slots):
            reached = self._check(reached)
        self._over = reached >= self.n_slots
        if self._over:
            return
        self.say(
            f"token ids checked up to step {reached // batch_size - 1}; the rest are read while training runs"
        )
        if rank() == 0:
            thread = threading.Thread(target=self._read_on, args=(reached,), daemon=True, name="token ids")
            thread.start()
            atexit.register(self._end, thread)

    def at_step(self, number: int, device: torch.device) -> None:
        """What every rank does at the beginning of its ``number``-th step.

        Raises:
            CuratorError: a row to come holds an id beyond the vocabulary; raised by all ranks at the same step.
        """
        if self._over or (world_size() > 1 and number % EXCHANGE_EVERY):
            return
        state = self._state
        if world_size() > 1:
            told = torch.tensor([state], dtype=torch.int64, device=device)
            torch.distributed.broadcast(told, src=0)
            state = int(told)
        if state >= 0:
            self._check(state)
        self._over = state == DONE
        if self._over:
            self.say("token ids of all rows to come are within the vocabulary")

    def _check(self, first: int) -> int:
        """Read a chunk of slots from ``first`` on; returns the slot behind it."""
        last = min(first + self._chunk, self.n_slots)
        holds = held(self.plan, np.arange(first, last), self.corpus)
        for begin, end in runs(holds.sample[holds.source == CORPUS]):
            check_ids(self.corpus, begin, self.corpus.rows(slice(begin, end)), self.vocab_size)
        return last

    def _read_on(self, reached: int) -> None:
        """The thread's work."""
        while reached < self.n_slots:
            started = time.perf_counter()
            try:
                reached = self._check(reached)
            except CuratorError:
                self._state = reached
                return
            if self._stop.wait(REST * (time.perf_counter() - started)):
                return
        self._state = DONE

    def _end(self, thread: threading.Thread) -> None:
        """Before Python takes itself apart."""
        self._stop.set()
        thread.join(1.0)
