"""Plain tables for the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from curator.cli.doctor import Check
from curator.cli.printing import stdout

_STYLES = {"ok": "green", "warning": "yellow", "missing": "red"}


def print_fields(fields: Mapping[str, Any]) -> None:
    """One ``name  value`` line each; what is unknown says so."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in fields.items():
        text = "unknown" if value is None else f"{value:,}" if type(value) is int else str(value)
        table.add_row(name.replace("_", " "), text)
    stdout().print(table)


def print_rows(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table whose first column is text and whose others are numbers."""
    table = Table(box=None, pad_edge=False)
    for number, name in enumerate(header):
        table.add_column(name, justify="right" if number else "left", no_wrap=number == 0)
    for row in rows:
        table.add_row(*row)
    console = stdout()
    console.print(f"\n{title}", style="bold", soft_wrap=True)
    console.print(table)


def print_checks(checks: Sequence[Check]) -> None:
    """What `curator doctor` found; how to mend what is not ok."""
    console = stdout()
    table = Table(box=None, pad_edge=False)
    for name in ("", "what", "found", "needed for"):
        table.add_column(name, overflow="fold")
    for check in checks:
        table.add_row(
            Text(check.status, style=_STYLES[check.status]), check.name, check.detail, check.needed_for
        )
    console.print(table)
    mends = [check for check in checks if check.how_to_get]
    if mends:
        console.print("\nTo mend:", style="bold")
        for check in mends:
            console.print(f"  {check.name}: {check.how_to_get}", soft_wrap=True)
