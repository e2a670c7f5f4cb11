"""Curves as one tidy table: a row per run, step, quantity and unit."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from curator.artifacts.tables import save_table
from curator.artifacts.unit_names import UnitName
from curator.evaluate.quantities import SAYS
from curator.scan.metrics import names_in

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


def named_in(curve: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(quantity, unit) of all that a curve has, as `Measured` has it; those of earlier versions have less."""
    layers, heads = np.shape(curve["scores"])[1:]
    found = [("metric", unit) for unit in names_in("induction", (layers, heads))]
    for quantity, own in curve.get("quantities", {}).items():
        found += [(quantity, unit) for unit in own["units"]]
    return [*found, ("copy", "")]


def values_in(curve: Mapping[str, Any], quantity: str, unit: str = "") -> list[float] | None:
    """A value per step, or None where it was not measured."""
    name = UnitName.parse(unit)
    if quantity == "copy":
        return list(curve["copy_log_probability"])
    if (quantity, name.kind) == ("metric", "induction"):
        layer, head = name.numbers
        return [scores[layer][head] for scores in curve["scores"]]
    own = curve.get("quantities", {}).get(quantity, {"units": []})
    if unit not in own["units"]:
        return None
    place = own["units"].index(unit)
    return [row[place] for row in own["values"]]


def points_of(curve: Mapping[str, Any]) -> Iterator[Point]:
    """The points of a curve, one quantity and unit after another."""
    for quantity, unit in named_in(curve):
        values = values_in(curve, quantity, unit) or []
        yield from ((step, quantity, unit, value) for step, value in zip(curve["steps"], values))


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
