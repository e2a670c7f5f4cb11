"""What a study shows: effects with intervals, paired by seed; a picture of the curves; the top samples as text.

An effect is an arm's crossing step minus the baseline's of the same seed, so that the spread between seeds does not
hide or make one. Draws of an arm are averaged within a seed, since they share all but the draw.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from curator.analysis.intervals import Mean, paired
from curator.artifacts.files import save_json, save_text
from curator.corpus import open_corpus
from curator.ranking.ranking import Ranking
from curator.report.plots import Curve, plot_curves, plot_scan
from curator.report.show import view_samples
from curator.report.writers import to_markdown
from curator.scan.scan import Scan
from curator.study.effects import Comparison, comparisons, hand_over, save_effects
from curator.study.result import Result
from curator.study.study import Study


def write_report(out: Path, study: Study, results: list[Result]) -> dict[str, Any]:
    """Write ``results.json``, ``effects.parquet``, two pictures and ``top-samples.md`` of the seeds with a head.

    Returns:
        What results.json holds: per seed ``arms``, over seeds ``effects``, ``differences`` and ``hand_over``.
    """
    plot_scans(out, results)
    formed = [result for result in results if result.has_formed]
    if not formed:
        return {"arms": []}
    compared = comparisons(study, formed)
    handed = [
        hand_over(study, formed, arm.name, other).to_json() for arm in study.arms for other in arm.against
    ]
    said = {
        "arms": [_details(result, study) for result in formed],
        "effects": effects(study, formed),
        "differences": differences(study, formed, compared),
        "hand_over": handed,
    }
    save_json(out / "results.json", said)
    save_effects(out / "effects.parquet", compared)
    drawn = [(run, arm.says or arm.name, arm.is_control) for run, arm in study.runs if arm.plot]
    plot_heads(out / "curves.png", study, formed, drawn, study.title)
    plot_differences(out / "differences.png", study, formed)
    _samples(out, formed[0], study.train.batch_size)
    return said


def plot_scans(out: Path, results: list[Result]) -> None:
    """Draw every seed's scan."""
    for result in results:
        folder = out / f"seed{result.seed}" / "scan"
        plot_scan(Scan.open(folder), folder / "scan.png")


def effects(study: Study, results: list[Result]) -> list[dict[str, Any]]:
    """Per arm, the baseline first: mean crossing steps, shift at the last threshold, copying at the end.

    ``never`` counts runs that do not cross, ``low`` and ``high`` are of single runs.
    """
    found = []
    for name, says, runs in [("baseline", "baseline", ["baseline"]), *_arms(study)]:
        pairs = [(result, run) for result in results for run in runs]
        crosses = {
            f"{at:g}": _over([result.crossing(run, at) for result, run in pairs]) for at in study.thresholds
        }
        shifts = [result.shift(run, study.effect_at) for result, run in pairs]
        seeds = Mean.of(_by_seed(study, result, runs) for result in results)
        copied = [result.copying_at(run, result.last_step) for result, run in pairs]
        found.append(
            {
                "arm": name,
                "says": says,
                "crosses": crosses,
                "shift": {**_over(shifts), **asdict(seeds)},
                "area": asdict(Mean.of(_area(result, runs) for result in results)),
                "copy_log_probability": _over(copied)["mean"],
            }
        )
    return found


def differences(study: Study, results: list[Result], compared: Sequence[Comparison]) -> list[dict[str, Any]]:
    """Per arm and arm that it is held against: the difference of their shifts, over seeds in which both cross.

    With what ``compared`` has of it, and of the difference of their areas.
    """
    says = {name: says for name, says, _ in _arms(study)}
    shifts = {name: [_by_seed(study, r, runs) for r in results] for name, _, runs in _arms(study)}
    areas = {name: [_area(r, runs) for r in results] for name, _, runs in _arms(study)}
    found = []
    for arm in study.arms:
        for other in arm.against:
            pairs = paired(shifts[arm.name], shifts[other])
            words = {"arm": arm.name, "against": other, "says": f"{says[arm.name]} − {says[other]}"}
            area = asdict(Mean.of(paired(areas[arm.name], areas[other]))) | _tested(compared, arm.name, other)
            tested = _tested(compared, arm.name, other, study.effect_at)
            found.append({**words, **_over(pairs), **asdict(Mean.of(pairs)), **tested, "area": area})
    return found


def _tested(
    compared: Sequence[Comparison], arm: str, other: str, threshold: float | None = None
) -> dict[str, Any]:
    """What stands beside a difference of the head's metric: of emergence at ``threshold``, else of area."""
    kind = "area" if threshold is None else "emergence"
    [one] = [
        one
        for one in compared
        if (one.arm, one.against, one.outcome.kind) == (arm, other, kind)
        and (one.outcome.quantity, one.outcome.unit, one.outcome.threshold) == ("metric", "head", threshold)
    ]
    interval = one.effect.bootstrap and asdict(one.effect.bootstrap)
    return {
        "bootstrap": interval,
        "p": one.effect.p,
        "p_holm": one.p_holm,
        "sigma": one.effect.sigma,
        "sigmas": one.effect.sigmas,
    }


def _arms(study: Study) -> list[tuple[str, str, list[str]]]:
    return [(arm.name, arm.says or arm.name, arm.runs) for arm in study.arms]


def _by_seed(study: Study, result: Result, runs: list[str]) -> float | None:
    """The mean shift of an arm's draws in one seed; None where none of them crosses."""
    return _over([result.shift(run, study.effect_at) for run in runs])["mean"]


def _area(result: Result, runs: list[str]) -> float:
    """The mean over an arm's draws of how much more area it has than the baseline."""
    return float(np.mean([result.area(run) for run in runs]))


def _over(values: list[float | None]) -> dict[str, Any]:
    known = [value for value in values if value is not None]
    counts = {"runs": len(known), "never": len(values) - len(known)}
    if not known:
        return {"mean": None, "low": None, "high": None, **counts}
    return {"mean": float(np.mean(known)), "low": min(known), "high": max(known), **counts}


def _details(result: Result, study: Study) -> dict[str, Any]:
    kept = ("unit", "ranked", "window", "attribution_step", "top_drill_share", "final_score")
    return {
        "seed": result.seed,
        **{name: result.content[name] for name in kept},
        "crossings": {
            run: {f"{at:g}": result.crossing(run, at) for at in study.thresholds} for run in result.runs
        },
        "mean_scores": {run: result.mean_score(run) for run in result.runs},
        "copy_log_probability": {run: result.copying_at(run, result.last_step) for run in result.runs},
    }


def plot_heads(
    path: Path, study: Study, results: list[Result], runs: list[tuple[str, str, bool]], title: str
) -> None:
    """The ranked head's score in ``runs``: each a run's name, that of its line, and whether it is dashed."""
    curves = []
    for result in results:
        for run, says, dashed in [("baseline", "baseline", False), *runs]:
            steps, values = result.head(run)
            curves.append(Curve(group=says, steps=steps, values=values, dashed=dashed))
    thresholds = {f"{threshold:g}": threshold for threshold in study.thresholds}
    plot_curves(curves, path, title=title, ylabel="induction score of the ranked head", thresholds=thresholds)


def plot_differences(path: Path, study: Study, results: list[Result]) -> None:
    """The ranked head's score in every arm less the baseline's of the same seed: means over seeds and their intervals.

    Windows that lie elsewhere in every seed are laid over each other at the attribution.
    """
    follows = study.window.before is not None
    curves = []
    for arm in study.arms:
        for result in results if arm.plot else ():
            zero = result.content["attribution_step"] if follows else 0
            first, last = result.content["window"][0], result.last_step
            steps, base = result.head("baseline")
            inside = (steps >= first) & (steps <= last)
            steps, base = steps[inside], base[inside]
            drawn = [np.interp(steps, *result.head(run)) for run in arm.runs]
            name = arm.says or arm.name
            values = np.mean(drawn, axis=0) - base
            curves.append(Curve(group=name, steps=steps - zero, values=values, dashed=arm.is_control))
    at = f"step, counted from where the head's score has reached {study.window.attribution:g}"
    plot_curves(
        curves,
        path,
        title=study.title,
        ylabel="induction score less the baseline's",
        thresholds={"": 0.0},
        xlabel=at if follows else "training step",
        interval=True,
    )


def _samples(out: Path, result: Result, batch_size: int) -> None:
    folder = out / f"seed{result.seed}"
    corpus = open_corpus(folder / "corpus")
    ranking = Ranking.open(folder / "ranking")
    unit, tokenizer = ranking.units[0], corpus.tokenizer_file
    views = view_samples(ranking, corpus, unit, count=10, tokenizer=tokenizer, batch_size=batch_size)
    save_text(out / "top-samples.md", to_markdown(views, title=f"Top samples of {unit}"))
