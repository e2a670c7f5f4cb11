"""The demo's table, plot and samples, written to files and to the terminal.

Everything is said in pairs: an arm's crossing step minus the baseline's of the same seed, so that the spread
between seeds does not hide or make an effect.
"""

from pathlib import Path
from typing import Any

import numpy as np

from curator.artifacts.files import save_json, save_text
from curator.cli.next_steps import next_step
from curator.cli.printing import console, say
from curator.cli.tables import print_rows
from curator.corpus import open_corpus
from curator.demo.settings import ARMS, THRESHOLDS, DemoSettings
from curator.ranking.ranking import Ranking
from curator.report.plots import Curve, plot_curves
from curator.report.show import view_samples
from curator.report.writers import to_markdown
from curator.scan.formation import crossing

GROUPS = {
    "baseline": "baseline",
    "mask-top": "top 10 % masked",
    "mask-random": "random masked",
    "mask-random-in-category": "random masked, same drill share",
    "repeat-top": "top 10 % in place of random",
    "repeat-random": "random in place of random",
    "repeat-random-in-category": "random in place of random, same drill share",
}


def group_of(arm: str) -> str:
    """``mask-random-2`` -> ``mask-random``: arms that differ by the draw alone."""
    name, _, number = arm.rpartition("-")
    return name if number.isdigit() else arm


def head_curve(result: dict[str, Any], arm: str) -> tuple[np.ndarray, np.ndarray]:
    """(steps, induction score of the ranked head) of one arm."""
    curve = result["curves"][arm]
    scores = np.array(curve["scores"])
    return np.array(curve["steps"]), scores[:, result["layer"], result["head"]]


def crossings(result: dict[str, Any], arm: str) -> dict[str, float | None]:
    """Threshold -> step at which the head's score durably crosses it, from the window's start on."""
    steps, values = head_curve(result, arm)
    inside = steps >= result["window"][0]
    return {f"{threshold:g}": crossing(steps[inside], values[inside], threshold) for threshold in THRESHOLDS}


def copy_at(result: dict[str, Any], arm: str, step: int) -> float | None:
    """Copy log-probability (nats per token) of one arm at ``step``."""
    curve = result["curves"][arm]
    return curve["copy_log_probability"][curve["steps"].index(step)] if step in curve["steps"] else None


def write_report(out: Path, settings: DemoSettings, results: list[dict[str, Any]], seconds: float) -> None:
    """Write ``results.json``, ``curves.png``, ``top-samples.md`` and print the table."""
    formed = [result for result in results if result["attribution_step"] is not None]
    for result in results:
        seed = result["identity"]["seed"]
        if result["attribution_step"] is None:
            console.print(
                f"seed {seed}: no induction head formed (best score {result['final_score']:.2f}), so there is "
                "nothing to attribute; drill rows make it form, see --drill-fraction"
            )
    if not formed:
        return
    table = [_row(group, formed, settings) for group in GROUPS]
    save_json(out / "results.json", {"arms": [_details(result, settings) for result in formed]})
    header = ["arm", *(f"crosses {threshold:g}" for threshold in THRESHOLDS), "Δ at 0.4", "copy log-prob"]
    for result in formed:
        top, window = result["top_drill_share"]
        console.print(
            f"seed {result['identity']['seed']}: {result['unit']}, score {result['final_score']:.2f} at the end; "
            f"attributed at step {result['attribution_step']}, window {result['window'][0]} to "
            f"{result['window'][1]}; drill rows are {top:.0%} of the top samples, {window:.0%} of the window"
        )
    seeds = ", ".join(str(result["identity"]["seed"]) for result in formed)
    print_rows(
        f"Step at which the head's induction score crosses a threshold (mean over seeds {seeds})",
        header,
        table,
    )
    say(
        "Δ: crossing of 0.4 minus the baseline's, paired by seed: mean [lowest … highest run].\n"
        f"copy log-prob: nats per copied token at the end, step {settings.arm_steps}; never: not by then.\n"
        "Read 'top' against both controls: most of the effect is finding the repetitive rows, and against random\n"
        "rows with the same share of drill rows the margin is within noise at this size."
    )
    _plot(out / "curves.png", formed)
    _samples(out, formed[0])
    first = formed[0]["identity"]["seed"]
    say(
        f"\nDone in {seconds:.0f} s. Written to {out}/:\n"
        f"  curves.png         the head's score in every arm\n"
        f"  top-samples.md     the ten top samples of seed {first} as text, repeated spans marked\n"
        f"  results.json       all numbers\n"
        f"  seed{first}/            corpus, baseline checkpoints, scan, ranking, plans, arms"
    )
    next_step("curator", "show", out / f"seed{first}" / "ranking", "--top", 5)


def _details(result: dict[str, Any], settings: DemoSettings) -> dict[str, Any]:
    return {
        "seed": result["identity"]["seed"],
        "unit": result["unit"],
        "window": result["window"],
        "attribution_step": result["attribution_step"],
        "top_drill_share": result["top_drill_share"],
        "crossings": {arm: crossings(result, arm) for arm in result["curves"]},
        "copy_log_probability": {arm: copy_at(result, arm, settings.arm_steps) for arm in result["curves"]},
    }


def _row(group: str, results: list[dict[str, Any]], settings: DemoSettings) -> list[str]:
    arms = ["baseline"] if group == "baseline" else [arm for arm in ARMS if group_of(arm) == group]
    pairs = [(result, arm) for result in results for arm in arms]
    cells = [
        _mean([crossings(result, arm)[f"{threshold:g}"] for result, arm in pairs]) for threshold in THRESHOLDS
    ]
    shifts: list[float | None] = []
    for result, arm in pairs:
        ours, base = crossings(result, arm)["0.4"], crossings(result, "baseline")["0.4"]
        shifts.append(None if ours is None or base is None else ours - base)
    shift = "" if group == "baseline" else _signed(shifts)
    copies = [copy_at(result, arm, settings.arm_steps) for result, arm in pairs]
    copied = [value for value in copies if value is not None]
    return [GROUPS[group], *cells, shift, f"{np.mean(copied):.2f}" if copied else "-"]


def _mean(values: list[float | None]) -> str:
    known = [value for value in values if value is not None]
    never = len(values) - len(known)
    mean = f"{np.mean(known):.0f}" if known else ""
    return f"{mean} ({never} never)".strip() if never else mean


def _signed(values: list[float | None]) -> str:
    known = [value for value in values if value is not None]
    never = len(values) - len(known)
    if not known:
        return f"{never} never"
    spread = f" [{min(known):+.0f} … {max(known):+.0f}]" if len(known) > 1 else ""
    return f"{np.mean(known):+.0f}{spread}" + (f", {never} never" if never else "")


def _plot(path: Path, results: list[dict[str, Any]]) -> None:
    curves = []
    for result in results:
        for arm in result["curves"]:
            group = group_of(arm)
            if "category" in group:
                continue  # in the table; seven colours say less than five
            steps, values = head_curve(result, arm)
            curves.append(Curve(group=GROUPS[group], steps=steps, values=values, dashed="random" in group))
    plot_curves(
        curves,
        path,
        title="Induction head: retrained without, or with more of, its top samples",
        ylabel="induction score of the ranked head",
        thresholds={f"{threshold:g}": threshold for threshold in THRESHOLDS},
    )


def _samples(out: Path, result: dict[str, Any]) -> None:
    folder = out / f"seed{result['identity']['seed']}"
    corpus = open_corpus(folder / "corpus")
    ranking = Ranking.open(folder / "ranking")
    views = view_samples(ranking, corpus, count=10, tokenizer=corpus.tokenizer_file, batch_size=32)
    save_text(out / "top-samples.md", to_markdown(views, title=f"Top samples of {result['unit']}"))
