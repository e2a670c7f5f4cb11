"""What inserting did, in numbers with intervals: when the head formed, and how strong it was when the window ended.

Steps are the trainer's iterations, extra ones included, so that arms with equally many extra steps compare like with
like: synthetic and top rows are each held against random rows of the same number and schedule, paired by seed.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from curator.analysis.intervals import Mean, paired
from curator.artifacts.files import save_json
from curator.report.study import plot_heads, plot_scans
from curator.study.result import Result
from synth.demo.study import KINDS, InsertStudy

NAMES = {"random": "random rows", "top": "top by influence", "synthetic": "rendered rows"}
PAIRS = (("synthetic", "random"), ("top", "random"), ("synthetic", "top"))


def summarise(results: list[Result], study: InsertStudy) -> list[dict[str, Any]]:
    """One entry per schedule and count: shifts and scores per kind, and their paired differences to random rows."""
    table = []
    for (schedule, count), arms in study.factorial.items():
        shifts = {kind: [r.shift(arms[kind], study.effect_at) for r in results] for kind in KINDS.values()}
        scores = {
            kind: [r.score_at_window_end(arms[kind]) - r.score_at_window_end("baseline") for r in results]
            for kind in KINDS.values()
        }
        entry: dict[str, Any] = {"schedule": schedule, "count": count}
        for kind in KINDS.values():
            entry[kind] = {
                "shift": asdict(Mean.of(shifts[kind])),
                "never": shifts[kind].count(None),
                "score": asdict(Mean.of(scores[kind])),
            }
        for ours, theirs in PAIRS:
            entry[f"{ours} - {theirs}"] = {
                "shift": asdict(Mean.of(paired(shifts[ours], shifts[theirs]))),
                "score": asdict(Mean.of(paired(scores[ours], scores[theirs]))),
            }
        table.append(entry)
    return table


def write_report(out: Path, study: InsertStudy, results: list[Result]) -> dict[str, Any]:
    """Write ``results.json`` and one plot per schedule, of the seeds in which a head formed.

    Returns:
        What results.json holds; of no seeds, nothing is written.
    """
    plot_scans(out, results)
    formed = [result for result in results if result.has_formed]
    said: dict[str, Any] = {"seeds": [result.seed for result in formed]}
    if not formed:
        return said
    said |= {
        "inserted": summarise(formed, study),
        "pipeline": [result.content["pipeline"] for result in formed],
        "baseline": asdict(Mean.of([result.score_at_window_end("baseline") for result in formed])),
    }
    save_json(out / "results.json", said)
    largest = {schedule: (count, arms) for (schedule, count), arms in sorted(study.factorial.items())}
    for schedule, (count, arms) in largest.items():
        drawn = [(arms[kind], name, kind == "random") for kind, name in NAMES.items()]
        title = f"{study.title} with {count} rows inserted ({schedule})"
        plot_heads(out / f"curves-{schedule}.png", study, formed, drawn, title)
    return said
