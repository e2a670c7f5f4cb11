"""What the commands do with a merged experiment: gather, call one room, say where the result is."""

from pathlib import Path
from shlex import quote

from curator.artifacts.fields import require
from curator.cli import next_steps
from curator.cli.next_steps import next_step
from curator.cli.printing import say
from curator.cli.tables import print_rows
from curator.plan.plan import Plan
from curator.planning.settings import MaskSettings
from curator.ranking.ranking import Ranking
from curator.ranking.settings import CollectSettings, CombineSettings, RankSettings
from curator.scan.settings import ScanSettings
from curator.training.settings import TrainSettings


def run_scan(settings: ScanSettings) -> None:
    """`curator scan`."""
    from curator.report.plots import plot_scan
    from curator.scan.stage import scan as measure

    scan, out = measure(settings), require(settings, "out")
    plot_scan(scan, out / "scan.png")
    for kind in scan.values:
        rows, notes = [], []
        for unit in scan.best(kind):
            window = scan.window(unit)
            ends = [window.t_start, window.t_end, window.attribution_step]
            rows.append(
                [unit, f"{scan.curve(unit)[-1]:.3f}", *("-" if end is None else str(end) for end in ends)]
            )
            notes += [f"{unit}: {window.note}"] if window.note else []
        title = f"{kind}, {len(scan.steps)} checkpoints, steps {scan.steps[0]} to {scan.steps[-1]}"
        print_rows(title, ["best units", "last score", "window start", "window end", "attribute at"], rows)
        say("\n".join(notes))
    say(f"Written to {out}/: scan.json, metrics-<kind>.npy, scan.png")
    next_step(*next_steps.rank(scan, settings))


def run_rank(settings: RankSettings, worker: tuple[int, int], queries_only: bool) -> None:
    """`curator rank`."""
    from curator.influence.emission import Emission
    from curator.ranking.stage import prepare, rank

    if queries_only:
        prepare(settings, worker)
        say(f"Written to {settings.out}/: queries and factors.")
        say(f"Next: emit: {{scores: [{Path(str(settings.out)).absolute()}]}} in a patch file (docs/neox.md)")
        return
    ranking = rank(settings, worker)
    _say_window(ranking)
    if settings.emitted is not None and settings.queries_of is None:
        for sentence in Emission.open(settings.emitted).state():
            say(sentence)
    _print_ranking(ranking, ranking.path)


def _say_window(ranking: Ranking) -> None:
    """Which samples the steps of the window are, where the run passes over its corpus more than once."""
    window = ranking.manifest["request"].get("window")
    if window is None or window["epochs"] == 1:
        return
    (first, end), n_samples = window["steps"], len(ranking.open_corpus())
    say(
        f"Steps {first} to {end - 1} hold samples {ranking.first_sample} to {ranking.end - 1}, in epoch "
        f"{first * window['batch_size'] // n_samples + 1} of {window['epochs']} (sample = slot modulo {n_samples})."
    )


def run_combine(settings: CombineSettings) -> None:
    """`curator combine`."""
    from curator.ranking.combine import combine

    ranking = combine(settings)
    _print_ranking(ranking, ranking.path)


def run_collect(settings: CollectSettings) -> None:
    """`curator collect`."""
    from curator.influence.emission import Emission
    from curator.ranking.from_emission import collect_scores

    emission = Emission.open(settings.emission)
    ranking = collect_scores(emission, settings.out, settings.samples)
    for sentence in emission.state():
        say(sentence)
    _print_ranking(ranking, settings.out)


def _print_ranking(ranking: Ranking, out: Path) -> None:
    rows = []
    for unit in ranking.units[:24]:
        scores = ranking.unit_scores(unit)
        best = int(ranking.samples_at(scores.argmax()))
        rows.append(
            [unit, f"{scores.min():+.4g}", f"{scores.mean():+.4g}", f"{scores.max():+.4g}", str(best)]
        )
    spanned = f"{len(ranking)} samples, {ranking.first_sample} to {ranking.end - 1}"
    title = f"{spanned}; positive = training on it raises the probe"
    print_rows(title, ["unit", "lowest", "mean", "highest", "highest sample"], rows)
    if len(ranking.units) > len(rows):
        say(f"and {len(ranking.units) - len(rows)} more units")
    say(f"Written to {out}/.")
    next_step(*next_steps.show(ranking))


def run_mask(settings: MaskSettings) -> None:
    """`curator mask`."""
    from curator.planning.mask import mask
    from curator.ranking.selection import Selection

    plan, out = mask(settings), require(settings, "out")
    chosen = Selection.open(out)
    samples, how = chosen.samples, chosen.description["select"]
    what = f"{len(plan.masked_slots())} of {plan.n_slots} slots"
    if settings.tokens is not None:
        tokens = len(plan.mask_slots) * (plan.row_targets or 0)
        what = (
            f"{plan.masked_tokens()} of {tokens} tokens ({settings.tokens}) of {len(plan.mask_slots)} slots"
        )
    say(
        f"Masked {what} ({how}), samples {samples[0]} to "
        f"{samples[-1]}, divisor {plan.divisor}.{said_epochs(plan)}\n"
        f"Written to {out}/: plan.json and its arrays, and what was masked: samples.npy, selection.json.\n"
        f"{how_to_follow(out)}"
    )


def said_epochs(plan: Plan) -> str:
    """What to know of a plan that passes over its corpus more than once, as a sentence; else nothing."""
    if plan.epoch_samples is None:
        return ""
    return (
        f" The run passes over the corpus more than once: slot s of the unedited run holds sample s modulo "
        f"{plan.epoch_samples}, and a masked sample is masked each time it comes."
    )


def run_train(settings: TrainSettings, every_step_asked: bool) -> None:
    """`curator train`."""
    from curator.training.stage import train

    out = train(settings, every_step_asked)
    stop = settings.stop_step or settings.steps
    say(f"Written to {out}/: step folders up to step{stop}, losses.npy.")
    next_step("curator", "scan", "--checkpoints", out, "--out", out.with_name(f"{out.name}-scan"))


def how_to_follow(plan: Path) -> str:
    """What to do with a plan, for the end of a command."""
    return (
        f"Next: curator train -e EXPERIMENT.yml --plan {quote(str(plan))} --out FOLDER, or with GPT-NeoX: "
        f"curator arm --plan {quote(str(plan))} --from SAVE/global_stepN --out FOLDER"
    )
