"""What `synth demo` does with its flags, and how it tells what came out."""

import time
from pathlib import Path
from typing import Any

from curator.analysis.intervals import Mean
from curator.cli.next_steps import next_step
from curator.cli.printing import say
from curator.cli.tables import print_rows
from curator.study.result import Result
from curator.study.run import run_study
from curator.study.study import load_study
from synth.demo.report import NAMES, write_report
from synth.demo.rows import STAGES, make_rows
from synth.demo.study import KINDS, InsertStudy


def run_demo(out: Path, seed: int = 0, n_seeds: int = 3, quick: bool = False) -> None:
    """Run ``configs/studies/synth-demo.yml`` on seeds ``seed … seed + n_seeds - 1`` into ``out``, and tell."""
    started = time.monotonic()
    study = load_study("synth-demo", InsertStudy)
    study = study.quickened() if quick else study
    results = run_study(study, out, range(seed, seed + n_seeds), make_rows, STAGES, name="demo")
    print_demo(out, study, results, time.monotonic() - started)


def print_demo(out: Path, study: InsertStudy, results: list[Result], seconds: float) -> None:
    """Write the report, and print its tables."""
    report = write_report(out, study, results)
    seeds = report["seeds"]
    if not seeds:
        say("No head formed in any seed, so nothing was inserted; more drill rows make one form.")
        return
    at = f"{study.effect_at:g}"
    _print_table(
        f"Iterations until the head's score crosses {at}, against the baseline (seeds {', '.join(map(str, seeds))}; "
        "mean ± half the 95 % interval; negative is sooner)",
        report,
        "shift",
        0,
    )
    _print_table(
        "The head's score at the iteration at which the ranked window ends, minus the baseline's "
        f"({Mean(**report['baseline']).text(3)})",
        report,
        "score",
        3,
    )
    say(
        f"\nDone in {seconds:.0f} s. Written to {out}/:\n"
        "  results.json            all numbers, with scores at the window's end\n"
        f"  curves-SCHEDULE.png     the head's score with {max(c for _, c in study.factorial)} rows inserted\n"
        f"  seed{seeds[0]}/patterns, generators, rows, audit    what every step of synth left"
    )
    next_step("curator", "show", out / f"seed{seeds[0]}" / "audit", "--top", 5)


def _print_table(title: str, report: dict[str, Any], what: str, digits: int) -> None:
    columns = [*KINDS.values(), "top - random", "synthetic - random"]
    rows = [
        [
            f"{entry['count']} {entry['schedule']}",
            *(Mean(**entry[column][what]).text(digits) for column in columns),
        ]
        for entry in report["inserted"]
    ]
    print_rows(title, ["inserted", *NAMES.values(), "top − random", "rendered − random"], rows)
