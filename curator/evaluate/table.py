"""Curves as one tidy table: a row per run, step, quantity and unit."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curator.artifacts.tables import save_table
from curator.evaluate.quantities import SAYS

COLUMNS = ("study", "seed", "arm", "draw", "step", "tokens", "quantity", "unit", "value")
Point = tuple[int, str, str, float]
"""(step, quantity, unit, value); the unit of what is the whole model's is ``""``."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run's rows: what they say of it, and its points.

    Attributes:
        draw: of an arm that is drawn more than once, from 1; 1 of all others.
        tokens_per_step: None where it is not known.
    """

    arm: str
    points: Iterable[Point]
    study: str | None = None
    seed: int | None = None
    draw: int = 1
    tokens_per_step: int | None = None


def points_of(curve: Mapping[str, Any]) -> Iterator[Point]:
    """The points of a curve as `Measured` has it; those of versions that measured less have fewer."""
    for number, step in enumerate(curve["steps"]):
        for layer, row in enumerate(curve["scores"][number]):
            yield from (
                (step, "metric", f"induction:{layer}.{head}", score) for head, score in enumerate(row)
            )
        yield step, "copy", "", curve["copy_log_probability"][number]
        for quantity, own in curve.get("quantities", {}).items():
            yield from (
                (step, quantity, unit, value) for unit, value in zip(own["units"], own["values"][number])
            )


def save_curves(path: Path, runs: Iterable[Run], about: Mapping[str, Any]) -> None:
    """Write the table; beside its columns, what every quantity is and ``about``."""
    columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    for run in runs:
        for step, quantity, unit, value in run.points:
            tokens = None if run.tokens_per_step is None else step * run.tokens_per_step
            row = (run.study, run.seed, run.arm, run.draw, step, tokens, quantity, unit, value)
            for column, one in zip(columns.values(), row):
                column.append(one)
    measured = set(columns["quantity"])
    says = {name: words for name, words in SAYS.items() if name in measured}
    save_table(path, columns, {"quantities": says, **about})
