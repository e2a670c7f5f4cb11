"""The one way to the terminal: text is printed as it is, without markup, and what would act on a terminal as escapes.

`say` writes a line of a result, `stdout` gives a console for tables, `console` is for what is said meanwhile and for
errors. A colour is given as a style, never within a text. No other module of this package or of `synth` prints.
"""

import sys
import traceback
from collections.abc import Iterable
from types import TracebackType
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from curator.visible import note, visible

WIDE = 120
"""Columns of a table that goes to a file or a pipe, where there is no terminal to fit."""


class PlainConsole(Console):
    """A console that reads no markup, and shows what every text holds."""

    def __init__(self, **options: Any):
        super().__init__(highlight=False, markup=False, emoji=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Before anything is measured, so that columns fit."""
        return super().render_str(visible(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Whatever came another way, as a `Text` of its own; rich's own codes stand in control segments."""
        for segment in super().render(renderable, options):
            if segment.control:
                yield segment
            else:
                yield Segment(visible(segment.text), segment.style)


console = PlainConsole(stderr=True)


def stdout() -> Console:
    """The console for results."""
    return PlainConsole(width=None if sys.stdout.isatty() else WIDE)


def say(text: str = "", end: str = "\n") -> None:
    """Print a line of a result."""
    print(visible(text), end=end)


def say_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """`sys.excepthook` for what nobody expected, whose words may hold anything."""
    note("".join(traceback.format_exception(kind, error, trace)).rstrip("\n"))
