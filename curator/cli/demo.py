"""What `curator demo` does with its flags, and how it tells what came out."""

import time
from pathlib import Path
from typing import Any

from curator.analysis.intervals import Mean
from curator.cli.next_steps import next_step
from curator.cli.printing import console, say
from curator.cli.tables import print_rows
from curator.report.study import write_report
from curator.study.result import Result
from curator.study.run import run_study
from curator.study.study import Study, load_study


def run_demo(
    out: Path, seed: int = 0, n_seeds: int = 2, drill_fraction: float | None = None, quick: bool = False
) -> None:
    """Run ``configs/studies/demo.yml`` on seeds ``seed … seed + n_seeds - 1`` into ``out``, and tell.

    Args:
        drill_fraction: of the embedded corpus; None takes the study's own.
        quick: the smoke size.
    """
    started = time.monotonic()
    study = load_study("demo", Study)
    study = study.quickened() if quick else study
    if drill_fraction is not None:
        study = study.changed(drill_fraction=drill_fraction)
    results = run_study(study, out, range(seed, seed + n_seeds), name="demo")
    print_demo(out, study, results, time.monotonic() - started)


def print_demo(out: Path, study: Study, results: list[Result], seconds: float) -> None:
    """Write the report, and print its tables."""
    report = write_report(out, study, results)
    for result in results:
        if not result.has_formed:
            console.print(
                f"seed {result.seed}: no induction head formed (best score {result.content['final_score']:.2f}), so "
                "there is nothing to attribute; drill rows make it form, see --drill-fraction"
            )
    if not report["arms"]:
        return
    for one in report["arms"]:
        top, window = one["top_drill_share"]
        console.print(
            f"seed {one['seed']}: {one['unit']}, score {one['final_score']:.2f} at the end; attributed at step "
            f"{one['attribution_step']}, window {one['window'][0]} to {one['window'][1]}; drill rows are {top:.0%} of "
            f"the top samples, {window:.0%} of the window"
        )
    seeds, at = ", ".join(str(one["seed"]) for one in report["arms"]), f"{study.effect_at:g}"
    print_rows(
        f"Step at which the head's induction score crosses a threshold (mean over seeds {seeds})",
        ["arm", *(f"at {threshold:g}" for threshold in study.thresholds), f"Δ at {at}", "copy"],
        [_row(one) for one in report["effects"]],
    )
    print_rows(
        f"Paired differences of Δ at {at}",
        ["arms", "difference", "seeds"],
        [[one["says"], _interval(one), str(one["n"])] for one in report["differences"]],
    )
    say(
        f"Δ: crossing of {at} minus the baseline's of the same seed: mean ± half the 95 % interval over seeds\n"
        "(Student's t) [lowest … highest run]; draws of an arm are averaged within a seed.\n"
        f"copy: log-probability in nats per copied token at the end, step {study.last_step}; never: not by then.\n"
        "Read 'top' against both controls: most of the effect is finding the repetitive rows, and against random\n"
        "rows with the same share of drill rows the margin is within noise at this size."
    )
    first = report["arms"][0]["seed"]
    say(
        f"\nDone in {seconds:.0f} s. Written to {out}/:\n"
        f"  curves.png         the head's score in every arm\n"
        f"  top-samples.md     the ten top samples of seed {first} as text, repeated spans marked\n"
        f"  results.json       all numbers\n"
        f"  seed{first}/            corpus, baseline checkpoints, scan, ranking, plans, arms"
    )
    next_step("curator", "show", out / f"seed{first}" / "ranking", "--top", 5)


def _row(effect: dict[str, Any]) -> list[str]:
    crosses = []
    for one in effect["crosses"].values():
        mean = "" if one["mean"] is None else f"{one['mean']:.0f}"
        crosses.append(f"{mean} ({one['never']} never)".strip() if one["never"] else mean)
    shift = "" if effect["arm"] == "baseline" else _interval(effect["shift"])
    copied = effect["copy_log_probability"]
    return [effect["says"], *crosses, shift, "-" if copied is None else f"{copied:.2f}"]


def _interval(one: dict[str, Any]) -> str:
    """``+37 ± 6 [+36 … +37], 1 never``."""
    never = f"{one['never']} never" if one["never"] else ""
    if not one["n"]:
        return never
    mean = Mean(one["mean"], one["half"], one["n"]).text()
    spread = f" [{one['low']:+.0f} … {one['high']:+.0f}]" if one["runs"] > 1 else ""
    return f"{mean}{spread}" + (f", {never}" if never else "")
