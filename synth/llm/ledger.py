"""Money: reserved before a request is sent, settled by what the server says it used, in one file beside the cache.

Every line of ``spent.jsonl`` is ``[id, nanodollars]``; a later line of the same id replaces the earlier one. What a
killed run had in flight stays reserved, since it may be billed. A lock beside it is held, and the file read on, for
every entry, so threads, processes and all runs with the same cache share one budget.
"""

import json
import math
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from curator.artifacts.claim import lock_file
from curator.artifacts.files import naming
from curator.errors import CuratorError

NANO = 1_000_000_000


class BilledError(CuratorError):
    """Its text ends with what all runs spent, read when it is shown: what was under way is settled by then.

    Args:
        ledger: None where prices are unknown.
    """

    def __init__(self, text: str, ledger: "Ledger | None" = None):
        super().__init__(text)
        self._ledger = ledger

    def __str__(self) -> str:
        text = super().__str__()
        if self._ledger is None:
            return text
        try:
            return f"{text} (all runs with this cache: ${self._ledger.total:.4f})"
        except OSError:  # a full or lost disk may be why the run ends
            return text


class BudgetReached(BilledError):
    """The next request could cost more than what is left of --budget, or the last one did."""


class Ledger:
    """What was spent and reserved, in USD; thread-safe."""

    def __init__(self, path: Path, budget: float | None):
        self._path, self._lock = path, path.with_name(f".{path.stem}.tmp")
        self._budget = None if budget is None else math.floor(budget * NANO)
        self._entries: dict[str, int] = {}
        self._offset = 0
        self._open: set[str] = set()
        self._settled = threading.Condition()

    @property
    def total(self) -> float:
        """USD spent or reserved by all runs so far."""
        if self._path.is_file():
            with self._settled, self._locked():
                pass
        return sum(self._entries.values()) / NANO

    @property
    def passed(self) -> bool:
        """Whether the budget is: no reservation does that, but a server may count more than was reserved."""
        return self._budget is not None and self.total * NANO > self._budget + 0.5

    def reserve(self, usd: float) -> str:
        """Set ``usd`` aside; waits for requests of this process that are under way where they may leave enough.

        Raises:
            BudgetReached: it would pass the budget.
        """
        amount = math.ceil(usd * NANO)
        with self._settled:
            while True:
                with self._locked() as file:
                    spent = sum(self._entries.values())
                    if self._budget is None or spent + amount <= self._budget:
                        name = uuid.uuid4().hex[:16]
                        self._append(file, name, amount)
                        self._open.add(name)
                        return name
                if not self._open:
                    raise BudgetReached(
                        f"the budget of ${self._budget / NANO:g} would be passed: the next request may cost up to "
                        f"${amount / NANO:.6f}, and ${(self._budget - spent) / NANO:.6f} is left. What was answered is "
                        "kept and costs nothing again; raise --budget to go on",
                        self,
                    )
                self._settled.wait()

    def settle(self, name: str, usd: float | None) -> float:
        """Replace a reservation by what it cost; None keeps all of it. Returns the cost."""
        with self._settled:
            try:
                if usd is not None:
                    with suppress(OSError), self._locked() as file:  # a full disk: it stays reserved
                        self._append(file, name, math.ceil(usd * NANO))
            finally:  # somebody may be waiting
                self._open.discard(name)
                self._settled.notify_all()
            return self._entries[name] / NANO

    def _append(self, file: BinaryIO, name: str, amount: int) -> None:
        line = json.dumps([name, amount]).encode() + b"\n"
        file.write(line)
        file.flush()
        self._entries[name] = amount
        self._offset = file.tell()

    @contextmanager
    def _locked(self) -> Iterator[BinaryIO]:
        """The file, locked, with what others wrote read."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with naming(self._path), lock_file(self._lock), open(self._path, "a+b") as file:
            file.seek(self._offset)
            text = file.read()
            for line in text.splitlines():
                self._read(line)
            if text and not text.endswith(b"\n"):  # torn by a kill: that request was never sent
                file.write(b"\n")
                file.flush()
            self._offset = file.tell()
            yield file

    def _read(self, line: bytes) -> None:
        try:
            name, amount = json.loads(line)
        except (ValueError, TypeError):
            return
        if isinstance(name, str) and isinstance(amount, int) and amount >= 0:
            self._entries[name] = amount
