"""A live progress bar with rate and time left; imported when the first one is drawn."""

from collections.abc import Iterator
from contextlib import contextmanager

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
from curator.progress import Advance
from curator.visible import visible


@contextmanager
def bar(description: str, total: int, unit: str, done: int) -> Iterator[Advance]:
    """As `curator.progress.Progress.task`."""
    drawn = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(unit),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", style="dim", markup=False),
        console=console,
    )
    with drawn:
        task = drawn.add_task(visible(description), total=total, completed=done, note="")

        def advance(count: int = 1, note: str = "") -> None:
            drawn.update(task, advance=count)
            if note:
                drawn.update(task, note=visible(note))

        yield advance


class _Rate(ProgressColumn):
    def __init__(self, unit: str):
        super().__init__()
        self.unit = unit

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.1f} {self.unit}/s" if speed else f"- {self.unit}/s", style="cyan")
