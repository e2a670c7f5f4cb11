"""What inserting did, in numbers with intervals: when the head formed, and how strong it was when the window ended.

Steps are the trainer's iterations, extra ones included, so that arms with equally many extra steps compare like with
like: synthetic and top rows are each held against random rows of the same number and schedule, paired by seed.
Intervals are Student's t over seeds (95 %).
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from curator.artifacts.files import save_json
from curator.cli.next_steps import next_step
from curator.cli.printing import say
from curator.cli.tables import print_rows
from curator.demo.report import crossings, head_curve
from curator.report.plots import Curve, plot_curves
from synth.demo.settings import KINDS, InsertSettings

T_95 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262}
"""Student's t, 97.5 % point, by number of seeds."""
THRESHOLD = "0.4"
NAMES = {"random": "random rows", "top": "top by influence", "synthetic": "rendered rows"}


@dataclass(frozen=True)
class Mean:
    """A mean over seeds; ``half`` is half the 95 % interval (NaN for one seed), ``n`` how many seeds it is over."""

    mean: float
    half: float
    n: int

    @staticmethod
    def of(values: Sequence[float]) -> "Mean":
        n = len(values)
        if not n:
            return Mean(math.nan, math.nan, 0)
        spread = float(np.std(values, ddof=1)) / math.sqrt(n) if n > 1 else math.nan
        return Mean(float(np.mean(values)), T_95.get(n, 1.96 + 2.4 / n) * spread, n)

    def text(self, digits: int = 0) -> str:
        if not self.n:
            return "never"
        half = "" if math.isnan(self.half) else f" ± {self.half:.{digits}f}"
        return f"{self.mean:+.{digits}f}{half}"


def shift(result: dict[str, Any], arm: str) -> float | None:
    """Iterations by which the arm crosses the threshold later than the baseline; negative is sooner."""
    ours, base = crossings(result, arm)[THRESHOLD], crossings(result, "baseline")[THRESHOLD]
    return None if ours is None or base is None else ours - base


def score_at_window_end(result: dict[str, Any], arm: str) -> float:
    """The head's score at the iteration at which the ranked window ends."""
    steps, values = head_curve(result, arm)
    return float(values[np.searchsorted(steps, result["window"][1])])


def summarise(results: list[dict[str, Any]], inserts: InsertSettings) -> list[dict[str, Any]]:
    """One entry per schedule and count: shifts and scores per kind, and their paired differences to random rows."""
    table = []
    for schedule in inserts.schedules:
        for count in inserts.counts:
            arms = {kind: f"{kind}-{count}-{schedule}" for kind in KINDS}
            shifts = {kind: [shift(result, arm) for result in results] for kind, arm in arms.items()}
            scores = {
                kind: [score_at_window_end(r, arm) - score_at_window_end(r, "baseline") for r in results]
                for kind, arm in arms.items()
            }
            entry: dict[str, Any] = {"schedule": schedule, "count": count}
            for kind in KINDS:
                known = [value for value in shifts[kind] if value is not None]
                entry[kind] = {
                    "shift": asdict(Mean.of(known)),
                    "never": len(results) - len(known),
                    "score": asdict(Mean.of(scores[kind])),
                }
            for ours, theirs in (("synthetic", "random"), ("top", "random"), ("synthetic", "top")):
                pairs = [
                    (a, b) for a, b in zip(shifts[ours], shifts[theirs]) if a is not None and b is not None
                ]
                entry[f"{ours} - {theirs}"] = {
                    "shift": asdict(Mean.of([a - b for a, b in pairs])),
                    "score": asdict(Mean.of([a - b for a, b in zip(scores[ours], scores[theirs])])),
                }
            table.append(entry)
    return table


def write_report(out: Path, inserts: InsertSettings, results: list[dict[str, Any]], seconds: float) -> None:
    """Write ``results.json`` and one plot per schedule, and print the table."""
    formed = [result for result in results if result["attribution_step"] is not None]
    if not formed:
        say("No head formed in any seed, so nothing was inserted; more drill rows make one form.")
        return
    table = summarise(formed, inserts)
    seeds = [result["identity"]["seed"] for result in formed]
    save_json(
        out / "results.json",
        {"seeds": seeds, "inserted": table, "pipeline": [result["pipeline"] for result in formed]},
    )
    rows = []
    for entry in table:
        cells = [f"{entry['count']} {entry['schedule']}"]
        cells += [Mean(**entry[kind]["shift"]).text() for kind in KINDS]
        cells += [Mean(**entry[f"{kind} - random"]["shift"]).text() for kind in ("top", "synthetic")]
        rows.append(cells)
    header = ["inserted", *(NAMES[kind] for kind in KINDS), "top − random", "rendered − random"]
    print_rows(
        f"Iterations until the head's score crosses {THRESHOLD}, against the baseline (seeds "
        f"{', '.join(map(str, seeds))}; mean ± half the 95 % interval; negative is sooner)",
        header,
        rows,
    )
    baseline = [score_at_window_end(result, "baseline") for result in formed]
    rows = []
    for entry in table:
        cells = [f"{entry['count']} {entry['schedule']}"]
        cells += [Mean(**entry[kind]["score"]).text(3) for kind in KINDS]
        cells += [Mean(**entry[f"{kind} - random"]["score"]).text(3) for kind in ("top", "synthetic")]
        rows.append(cells)
    print_rows(
        "The head's score at the iteration at which the ranked window ends, minus the baseline's "
        f"({Mean.of(baseline).text(3)})",
        header,
        rows,
    )
    for schedule in inserts.schedules:
        _plot(out / f"curves-{schedule}.png", formed, schedule, max(inserts.counts))
    first = seeds[0]
    say(
        f"\nDone in {seconds:.0f} s. Written to {out}/:\n"
        "  results.json            all numbers, with scores at the window's end\n"
        f"  curves-SCHEDULE.png     the head's score with {max(inserts.counts)} rows inserted\n"
        f"  seed{first}/patterns, generators, rows, audit    what every step of synth left"
    )
    next_step("curator", "show", out / f"seed{first}" / "audit", "--top", 5)


def _plot(path: Path, results: list[dict[str, Any]], schedule: str, count: int) -> None:
    curves = []
    for result in results:
        for kind in ("baseline", *KINDS):
            arm = kind if kind == "baseline" else f"{kind}-{count}-{schedule}"
            steps, values = head_curve(result, arm)
            curves.append(
                Curve(group=NAMES.get(kind, kind), steps=steps, values=values, dashed=kind == "random")
            )
    plot_curves(
        curves,
        path,
        title=f"Induction head with {count} rows inserted ({schedule})",
        ylabel="induction score of the ranked head",
        thresholds={THRESHOLD: float(THRESHOLD)},
    )
