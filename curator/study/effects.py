"""A study's effects: every arm against the baseline and against its controls, of every quantity, as one tidy table.

* ``area``: the mean of a curve over the window, of the ranked head (metric, ablation, its probes) or the whole model.
* ``emergence``: the step at which the ranked head's metric durably crosses a threshold, interpolated.
All are differences within a seed; draws of an arm are averaged within it. p values are corrected within a family: all
comparisons of one outcome with the baseline, or all with other arms.

Hand-over (paper, appendix K): the change of *every* head's mean metric, so that one sees whether others take up what a
head loses. Seeds number their heads alike only by chance: those of a layer are ordered by the baseline's last score.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from curator.analysis.effects import Effect, holm, mean_over
from curator.analysis.intervals import Mean, paired
from curator.artifacts.tables import save_table
from curator.evaluate.table import named_in
from curator.study.arm import Arm
from curator.study.result import Result
from curator.study.study import Study

BASELINE = "baseline"
Measure = Callable[[Result, str], float | None]
"""A number of one run."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What is compared: ``kind`` ``area`` or ``emergence``, of a quantity; units differ between seeds."""

    kind: str
    quantity: str
    unit: str = ""
    threshold: float | None = None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """An arm against another or the baseline, by one outcome.

    Attributes:
        never: runs of the arm, and of the other, that have no such number: the head never crosses.
        p_holm: p corrected within its family.
    """

    outcome: Outcome
    arm: str
    against: str
    effect: Effect
    p_holm: float | None
    never: tuple[int, int]


def comparisons(study: Study, results: Sequence[Result]) -> list[Comparison]:
    """All of them, outcome by outcome, each arm first against the baseline; of seeds in which a head formed."""
    arms = {arm.name: arm for arm in study.arms}
    found = []
    for outcome, measure in _outcomes(study, results):
        for of_baseline in (True, False):
            pairs = [
                (arm, other)
                for arm in study.arms
                for other in ([None] if of_baseline else [arms[name] for name in arm.against])
            ]
            effects = [_effect(results, measure, arm, other) for arm, other in pairs]
            adjusted = holm([effect.p for effect, _ in effects])
            found += [
                Comparison(
                    outcome=outcome,
                    arm=arm.name,
                    against=other.name if other else BASELINE,
                    effect=effect,
                    p_holm=p,
                    never=never,
                )
                for (arm, other), (effect, never), p in zip(pairs, effects, adjusted)
            ]
    return found


def _outcomes(study: Study, results: Sequence[Result]) -> list[tuple[Outcome, Measure]]:
    first = results[0]
    own = [named for named in named_in(first.content["curves"][BASELINE]) if _is_of(first, named[1])]
    found: list[tuple[Outcome, Measure]] = []
    for quantity, unit in own:
        suffix = unit.removeprefix(first.content["unit"])

        def area(
            result: Result, run: str, quantity: str = quantity, unit: str = unit, suffix: str = suffix
        ) -> float | None:
            return result.mean(run, quantity, unit and result.content["unit"] + suffix)

        found.append((Outcome(kind="area", quantity=quantity, unit=unit and f"head{suffix}"), area))
    for threshold in study.thresholds:

        def emergence(result: Result, run: str, threshold: float = threshold) -> float | None:
            return result.crossing(run, threshold)

        found.append(
            (Outcome(kind="emergence", quantity="metric", unit="head", threshold=threshold), emergence)
        )
    return found


def _is_of(result: Result, unit: str) -> bool:
    """Whether a curve is the ranked head's, or the whole model's."""
    head = result.content["unit"]
    return unit in ("", head) or unit.startswith(f"{head}:")


def _effect(
    results: Sequence[Result], measure: Measure, arm: Arm, other: Arm | None
) -> tuple[Effect, tuple[int, int]]:
    """The arm less the other; σ is of the other's runs less their seed's baseline, where it is random."""
    ours = [[measure(result, run) for run in arm.runs] for result in results]
    theirs = [[measure(result, run) for run in (other.runs if other else [BASELINE])] for result in results]
    bases = [measure(result, BASELINE) for result in results]
    scatter = [
        difference
        for base, runs in zip(bases, theirs)
        for difference in paired(runs, [base] * len(runs))
        if other is not None and other.is_control
    ]
    means = paired([_mean(runs) for runs in ours], [_mean(runs) for runs in theirs])
    never = tuple(sum(value is None for runs in side for value in runs) for side in (ours, theirs))
    return Effect.of(means, scatter), (never[0], never[1])


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def save_effects(path: Path, found: Sequence[Comparison]) -> None:
    """Write ``effects.parquet``: a row per comparison."""
    rows = [
        {
            "outcome": one.outcome.kind,
            "quantity": one.outcome.quantity,
            "unit": one.outcome.unit,
            "threshold": one.outcome.threshold,
            "arm": one.arm,
            "against": one.against,
            "seeds": one.effect.mean.n,
            "difference": one.effect.mean.mean,
            "t_half": one.effect.mean.half,
            "bootstrap_low": one.effect.bootstrap and one.effect.bootstrap.low,
            "bootstrap_high": one.effect.bootstrap and one.effect.bootstrap.high,
            "bootstrap": one.effect.bootstrap and one.effect.bootstrap.method,
            "p": one.effect.p,
            "p_holm": one.p_holm,
            "sigma": one.effect.sigma,
            "sigmas": one.effect.sigmas,
            "never": one.never[0],
            "never_against": one.never[1],
        }
        for one in found
    ]
    about = {
        "difference": "arm less the other, mean over seeds; of area per step of the window, of emergence in steps",
        "t_half": "half the 95 % interval, Student's t",
        "p_holm": "corrected over all comparisons of one outcome with the baseline, or with other arms",
        "sigma": "standard deviation of single runs of a random control, less their seed's baseline",
    }
    save_table(path, {name: [row[name] for row in rows] for name in rows[0]} if rows else {}, about)


# -- hand-over ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class HandOver:
    """Change of every head's mean metric over the window: ``changes[layer][place]``, over seeds.

    Attributes:
        heads: seed -> [layers][places] which head stands at each place.
    """

    arm: str
    against: str
    changes: list[list[Mean]]
    heads: dict[int, list[list[int]]]

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        changes = [[asdict(one) for one in row] for row in self.changes]
        return {"arm": self.arm, "against": self.against, "changes": changes, "heads": self.heads}


def hand_over(study: Study, results: Sequence[Result], arm: str, against: str) -> HandOver:
    """Of ``arm`` less ``against``, another arm or the baseline."""
    runs = {one.name: one.runs for one in study.arms} | {BASELINE: [BASELINE]}
    orders = [_order(result) for result in results]
    changes = np.array(
        [
            np.take_along_axis(_grid(result, runs[arm]) - _grid(result, runs[against]), order, 1)
            for result, order in zip(results, orders)
        ]
    )  # [seeds, layers, heads]
    means = [[Mean.of(one) for one in row.T.tolist()] for row in changes.transpose(1, 0, 2)]
    heads = {result.seed: order.tolist() for result, order in zip(results, orders)}
    return HandOver(arm=arm, against=against, changes=means, heads=heads)


def _order(result: Result) -> np.ndarray:
    """[layers, heads] the heads of each layer, the highest last score of the baseline first."""
    return np.argsort(-np.array(result.content["curves"][BASELINE]["scores"][-1]), axis=1, kind="stable")


def _grid(result: Result, runs: Sequence[str]) -> np.ndarray:
    """[layers, heads] the mean score over the window, averaged over runs."""
    first, last = result.content["window"]
    found = []
    for run in runs:
        curve = result.content["curves"][run]
        scores, steps = np.array(curve["scores"]), np.array(curve["steps"])
        found.append(
            [[mean_over(steps, one, first, last) for one in layer.T] for layer in scores.transpose(1, 0, 2)]
        )
    return np.mean(found, axis=0)
