"""How long work says where it is: to whoever called for it, and to nobody by default.

Work says `progress` and `remark`; what becomes of them is the caller's: `reporting` sets it for the whole process. The
command line draws bars (``cli/bars.py``), a trainer writes plain lines (`Lines`), a notebook may give its own.
"""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Protocol

from curator.visible import note

LINE_EVERY_S = 30.0


class Advance(Protocol):
    """Called with the number of finished items, and optionally a short note to show."""

    def __call__(self, count: int = 1, note: str = "") -> None: ...


class Progress:
    """Shows nothing; what shows something overrides both."""

    def task(
        self, description: str, total: int, unit: str = "samples", done: int = 0
    ) -> AbstractContextManager[Advance]:
        """While ``total`` items are worked through, of which ``done`` were finished earlier."""
        return nullcontext(_silent)

    def remark(self, line: str) -> None:
        """Something that happened, in one line."""


class Lines(Progress):
    """Plain lines on standard error, one per 30 seconds and task, so that a log stays readable."""

    @contextmanager
    def task(self, description: str, total: int, unit: str = "samples", done: int = 0) -> Iterator[Advance]:
        started = last = time.monotonic()
        finished = done

        def log(final: bool = False, tail: str = "") -> None:
            seconds = max(time.monotonic() - started, 1e-9)
            rate = (finished - done) / seconds
            left = "done" if final else f"{(total - finished) / rate:,.0f} s left" if rate else "starting"
            tail = f" {tail}" if tail else ""
            note(f"{description}: {finished}/{total} {unit}, {rate:,.1f}/s, {seconds:,.0f} s, {left}{tail}")

        def advance(count: int = 1, note: str = "") -> None:
            nonlocal finished, last
            finished += count
            if time.monotonic() - last >= LINE_EVERY_S:
                last = time.monotonic()
                log(tail=note)

        yield advance
        log(final=True)

    def remark(self, line: str) -> None:
        note(line)


_current = Progress()


@contextmanager
def reporting(to: Progress | None) -> Iterator[None]:
    """Until the block ends, all work of this process says to ``to`` where it is; processes it starts say nothing.

    Args:
        to: None leaves it as it is.
    """
    global _current
    before, _current = _current, to or _current
    try:
        yield
    finally:
        _current = before


def progress(
    description: str, total: int, unit: str = "samples", done: int = 0
) -> AbstractContextManager[Advance]:
    """See `Progress.task`."""
    return _current.task(description, total, unit, done)


def remark(line: str) -> None:
    """See `Progress.remark`."""
    _current.remark(line)


def _silent(count: int = 1, note: str = "") -> None:
    """An `Advance` that shows nothing."""
