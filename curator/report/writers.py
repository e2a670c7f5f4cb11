"""Samples for the terminal, for a Markdown file, and as JSON. Text of a corpus is never read as markup."""

import re
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from rich.console import Group
from rich.panel import Panel
from rich.text import Text

from curator.report.sample_view import SampleView
from curator.visible import visible

REPEATED = "bold black on yellow"
OPEN, CLOSE = "⟦", "⟧"
"""Around repeated passages in plain text."""


def shortened(view: SampleView, characters: int) -> SampleView:
    """``view`` with its text cut after so many characters; what is left out is counted."""
    segments, room = [], characters
    for text, repeated in view.segments:
        if room > 0:
            segments.append((text[:room], repeated))
        room -= len(text)
    if room < 0:
        segments.append((f" … {-room:,} more characters", False))
    return replace(view, segments=segments)


def to_terminal(views: Sequence[SampleView]) -> Group:
    """One panel per sample, repeated passages highlighted; print it with a rich Console."""
    panels = []
    for view in views:
        body = Text()
        for name, value in view.facts().items():
            body.append(f"{name} ", style="dim").append(f"{value}\n")
        body.append("\n")
        for text, repeated in view.segments:
            body.append(text, style=REPEATED if repeated else "")
        panels.append(Panel(body, title=Text(view.title), title_align="left"))
    return Group(*panels)


def to_markdown(views: Sequence[SampleView], title: str = "Samples") -> str:
    """Markdown that also reads well as plain text; repeated passages stand in ⟦ ⟧."""
    lines = [
        f"# {_escaped(title)}",
        "",
        f"Passages that occur more than once in a sample stand in {OPEN} {CLOSE}.",
        "",
    ]
    for view in views:
        text = "".join(f"{OPEN}{text}{CLOSE}" if repeated else text for text, repeated in view.segments)
        fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
        lines += [f"## {_escaped(view.title[0].upper() + view.title[1:])}", ""]
        lines += [f"- {name}: {_escaped(value)}" for name, value in view.facts().items()]
        lines += ["", f"{fence}text", text, fence, ""]
    return visible("\n".join(lines))


def to_json(views: Sequence[SampleView]) -> list[dict[str, Any]]:
    """All fields of every view, as plain JSON values."""
    return [asdict(view) for view in views]


def _escaped(text: str) -> str:
    return re.sub(r"([\\`*_{}\[\]<>#|])", r"\\\1", text.replace("\n", " "))
