"""A progress bar with rate and time left for every long piece of work.

On a terminal it is drawn live; in a log file one plain line per 30 seconds, so that a cluster
job's output stays readable.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from curator.cli.printing import console
from curator.visible import note, visible

__all__ = ["Advance", "console", "progress", "quiet"]
_quiet = False


def quiet() -> None:
    """Show no progress in this process: its parent shows the whole."""
    global _quiet
    _quiet = True


class Advance(Protocol):
    """Called with the number of finished items, and optionally a short note to show."""

    def __call__(self, count: int = 1, note: str = "") -> None: ...


class _Rate(ProgressColumn):
    def __init__(self, unit: str):
        super().__init__()
        self.unit = unit

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.1f} {self.unit}/s" if speed else f"- {self.unit}/s", style="cyan")


@contextmanager
def progress(description: str, total: int, unit: str = "samples", done: int = 0) -> Iterator[Advance]:
    """Show ``description`` while ``total`` items are worked through; ``done`` were finished earlier."""
    if _quiet:
        yield lambda count=1, note="": None
        return
    if console.is_terminal:
        bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            _Rate(unit),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", style="dim", markup=False),
            console=console,
        )
        with bar:
            task = bar.add_task(visible(description), total=total, completed=done, note="")

            def advance(count: int = 1, note: str = "") -> None:
                bar.update(task, advance=count)
                if note:
                    bar.update(task, note=visible(note))

            yield advance
        return

    started = last = time.monotonic()
    finished = done

    def log(final: bool = False, tail: str = "") -> None:
        seconds = max(time.monotonic() - started, 1e-9)
        rate = (finished - done) / seconds
        left = "done" if final else f"{(total - finished) / rate:,.0f} s left" if rate else "starting"
        tail = f" {tail}" if tail else ""
        note(f"{description}: {finished}/{total} {unit}, {rate:,.1f}/s, {seconds:,.0f} s, {left}{tail}")

    def advance_plain(count: int = 1, note: str = "") -> None:
        nonlocal finished, last
        finished += count
        if time.monotonic() - last >= 30:
            last = time.monotonic()
            log(tail=note)

    yield advance_plain
    log(final=True)
