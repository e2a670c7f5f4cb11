"""``curator study``: run a study file, and tell what came out; list those that come with the tool."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from curator.cli.running import Commands
from curator.errors import UsageError

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    help="Arms times seeds from one YAML file: what leaving samples out, or adding them, does to a unit.",
)


StudyName = Annotated[
    str, typer.Argument(help="A YAML file, or a name of 'curator study list'.", show_default=False)
]
FirstSeed = Annotated[int, typer.Option(min=0, help="The first of them.")]


@app.command("list", epilog="Example: curator study list")
def list_studies() -> None:
    """Name the studies that come with the tool."""
    from curator.cli.tables import print_fields
    from curator.study.study import FILES, Study, load_study

    titles = {}
    for file in sorted(FILES.glob("*.yml")):
        try:
            titles[file.stem] = load_study(file.stem, Study).title
        except UsageError:  # of another package, with fields of its own
            continue
    print_fields(titles)


@app.command("run", epilog="Example: curator study run natural --out study --seeds 5")
def run(
    study: StudyName,
    out: Annotated[
        Path, typer.Option(help="Folder for everything; a killed study goes on there.", show_default=False)
    ],
    seeds: Annotated[int, typer.Option(min=1, help="How many training seeds; they run side by side.")] = 5,
    seed: FirstSeed = 0,
    quick: Annotated[
        bool, typer.Option("--quick", help="The study's smoke size, where its file has one.")
    ] = False,
) -> None:
    """Train, scan, rank, and train again in every arm, for every seed; then compare the arms.

    Every seed has a corpus order, a baseline, a window and rankings of its own. What is finished is not done again.
    """
    from curator.study.study import Study, load_study

    asked = load_study(study, Study)
    study_and_tell(asked.quickened() if quick else asked, out, range(seed, seed + seeds), Path(study).stem)


def validate(
    study: StudyName,
    out: Annotated[
        Path, typer.Option(help="The study's folder; what is there is not done again.", show_default=False)
    ],
    seeds: Annotated[int, typer.Option(min=1, help="How many training seeds.")] = 1,
    seed: FirstSeed = 0,
    subsets: Annotated[
        int, typer.Option(min=3, help="Random halves of the window, one training each.")
    ] = 100,
    within: Annotated[
        bool,
        typer.Option(
            "--within-categories",
            help="Keep half of every category of samples: no gain by telling them apart.",
        ),
    ] = False,
) -> None:
    """Say whether a ranking foretells what training does, better than statistics that cost nothing.

    The linear datamodeling score of every ranking and statistic of a study: Spearman's correlation, over random halves
    of the window, of the kept samples' summed scores with the head's mean score after training on them.
    """
    from curator.cli.printing import say
    from curator.cli.tables import print_rows
    from curator.study.study import Study, load_study
    from curator.study.validate import validate as validate_seed

    asked = load_study(study, Study)
    found = [validate_seed(asked, out, one, subsets, within) for one in range(seed, seed + seeds)]
    names = list(found[0].scored.correlations)
    print_rows(
        f"Linear datamodeling score over {subsets} random halves of the window [95 % interval, bootstrap]",
        ["order", *(f"seed {one.seed}" for one in found)],
        [[name, *(one.scored.correlations[name].text() for one in found)] for name in names],
    )
    say("\n".join(one.sentence() for one in found))


def study_and_tell(study: Any, out: Path, seeds: Sequence[int], name: str) -> None:
    """Run ``study``, write its report and print its tables."""
    from curator.study.run import run_study

    started = time.monotonic()
    results = run_study(study, out, seeds, name=name)
    print_study(out, study, results, time.monotonic() - started)


def print_study(out: Path, study: Any, results: Sequence[Any], seconds: float) -> None:
    """Write the report of a study that took ``seconds``, and print its tables."""
    from curator.cli.next_steps import next_step
    from curator.cli.printing import console, say
    from curator.cli.tables import print_rows
    from curator.report.study import write_report

    report = write_report(out, study, list(results))
    for result in results:
        if not result.has_formed:
            console.print(
                f"seed {result.seed}: no induction head formed (best score {result.content['final_score']:.2f}), so "
                "there is nothing to attribute; drill rows make it form (--drill-fraction of the demo, drill_fraction "
                "of a study file)"
            )
    if not report["arms"]:
        return
    for one in report["arms"]:
        top, window = one["top_drill_share"]
        drills = (
            f"; drill rows are {top:.0%} of the top samples, {window:.0%} of the window" if window else ""
        )
        console.print(
            f"seed {one['seed']}: {one['unit']}, score {one['final_score']:.2f} at the end; attributed at step "
            f"{one['attribution_step']}, window {one['window'][0]} to {one['window'][1]}{drills}"
        )
    told, at = ", ".join(str(one["seed"]) for one in report["arms"]), f"{study.effect_at:g}"
    print_rows(
        f"Step at which the head's induction score crosses a threshold (mean over seeds {told})",
        ["arm", *(f"at {threshold:g}" for threshold in study.thresholds), f"Δ at {at}", "copy"],
        [_row(one) for one in report["effects"]],
    )
    print_rows(
        f"Paired differences of Δ at {at}",
        ["arms", "difference", "seeds"],
        [[one["says"], _interval(one), str(one["n"])] for one in report["differences"]],
    )
    arms = [one for one in report["effects"] if one["arm"] != "baseline"]
    print_rows(
        "The head's mean score over the window: against the baseline's, and paired differences",
        ["arms", "Δ score"],
        [[one["says"], _area(one)] for one in [*arms, *report["differences"]]],
    )
    print_rows(
        "The same differences, tested",
        ["arms", "Δ score: bootstrap", "p", "in σ", f"Δ at {at}: bootstrap", "p", "in σ"],
        [[_pair(one), *_tested(one["area"], 3), *_tested(one, 0)] for one in report["differences"]],
    )
    _print_hand_over(report)
    say(
        f"Δ: crossing of {at} minus the baseline's of the same seed: mean ± half the 95 % interval over seeds\n"
        "(Student's t) [lowest … highest run]; draws of an arm are averaged within a seed; never: not by the end.\n"
        "copy: log-probability in nats per copied token at the end.\n"
        "bootstrap: 95 % interval over seeds, too narrow where there are few; p: paired t-test, corrected for as many\n"
        "comparisons (Holm); σ: standard deviation of single runs of a random control.\n" + study.notes
    )
    first = report["arms"][0]["seed"]
    say(
        f"\nDone in {seconds:.0f} s. Written to {out}/:\n"
        f"  curves.png         the head's score in every arm\n"
        f"  top-samples.md     the ten top samples of seed {first} as text, repeated spans marked\n"
        f"  results.json       all numbers; effects.parquet every comparison, curves.parquet every measured point\n"
        f"  seed{first}/            corpus, baseline checkpoints, scan, ranking, plans, arms"
    )
    unit = report["arms"][0]["ranked"]
    next_step("curator", "show", out / f"seed{first}" / "ranking", "--unit", unit, "--top", 5)


WIDEST = 4
"""Heads of a layer that are printed; results.json has all."""


def _pair(one: dict[str, Any]) -> str:
    """Two arms, by name."""
    return f"{one['arm']} − {one['against']}"


def _tested(one: dict[str, Any], digits: int) -> list[str]:
    """Bootstrap interval, corrected p, and the difference in σ of the control; empty where there is none."""
    interval, p, sigmas = one["bootstrap"], one["p_holm"], one["sigmas"]
    ends = f"{interval['low']:+.{digits}f} … {interval['high']:+.{digits}f}" if interval else ""
    chance = "" if p is None else f"{p:.3f}" if p >= 0.001 else "<0.001"
    return [ends, chance, "" if sigmas is None else f"{sigmas:+.1f}"]


def _print_hand_over(report: dict[str, Any]) -> None:
    """Of each arm against its first control: how every head's mean score changes, layers below each other."""
    from curator.analysis.intervals import Mean
    from curator.cli.tables import print_rows

    firsts: dict[str, dict[str, Any]] = {}
    for one in report["hand_over"]:
        firsts.setdefault(one["arm"], one)
    rows = [
        [f"{_pair(one)}, layer {layer}", *(Mean(**each).text(3) for each in heads[:WIDEST])]
        for one in firsts.values()
        for layer, heads in enumerate(one["changes"])
    ]
    if rows:
        places = ["strongest", *(f"{place}." for place in range(2, len(rows[0])))]
        print_rows(
            "Every head's mean score: a layer's heads by their last score in the baseline",
            ["arms", *places],
            rows,
        )


def _row(effect: dict[str, Any]) -> list[str]:
    crosses = []
    for one in effect["crosses"].values():
        mean = "" if one["mean"] is None else f"{one['mean']:.0f}"
        crosses.append(f"{mean} ({one['never']} never)".strip() if one["never"] else mean)
    shift = "" if effect["arm"] == "baseline" else _interval(effect["shift"])
    copied = effect["copy_log_probability"]
    return [effect["says"], *crosses, shift, "-" if copied is None else f"{copied:.2f}"]


def _area(one: dict[str, Any]) -> str:
    """``+0.012 ± 0.004``."""
    from curator.analysis.intervals import Mean

    return Mean(one["area"]["mean"], one["area"]["half"], one["area"]["n"]).text(3)


def _interval(one: dict[str, Any]) -> str:
    """``+37 ± 6 [+36 … +37], 1 never``."""
    never = f"{one['never']} never" if one["never"] else ""
    if not one["n"]:
        return never
    from curator.analysis.intervals import Mean

    mean = Mean(one["mean"], one["half"], one["n"]).text()
    spread = f" [{one['low']:+.0f} … {one['high']:+.0f}]" if one["runs"] > 1 else ""
    return f"{mean}{spread}" + (f", {never}" if never else "")
