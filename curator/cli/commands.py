"""What the commands do with a merged experiment: gather, call one room, say where the result is."""

from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import Any

from curator.artifacts.fields import Probe, require
from curator.artifacts.flags import flag_name
from curator.artifacts.storage import is_temporary
from curator.cli import next_steps
from curator.cli.next_steps import next_step
from curator.cli.printing import say
from curator.cli.tables import print_rows
from curator.corpus import Corpus, check_tokens, open_corpus
from curator.corpus.slots import plan_slots
from curator.errors import CuratorError, UsageError
from curator.models.devices import check_device
from curator.plan.plan import Plan
from curator.plan.rules import Divisor
from curator.ranking.ranking import Ranking
from curator.ranking.settings import DECIDED_BY_QUERIES, RankSettings
from curator.settings import Experiment, Train, merge


def run_scan(experiment: Experiment, flags: dict[str, Any], probe_flags: dict[str, Any]) -> None:
    """`curator scan`."""
    from curator.report.plots import plot_scan
    from curator.scan.formation import Thresholds
    from curator.scan.scan import scan_checkpoints
    from curator.units import ProbeSettings

    settings = merge(experiment.scan, **flags)
    out = require(settings, "out")
    check_device(experiment.device)
    named = {"--ids": "--probe-ids"}
    probe = _merge_probe(experiment.probe, {"sequences": settings.sequences, **probe_flags}, named)
    steps = settings.steps and (settings.steps[0], settings.steps[1] - 1)
    scan = scan_checkpoints(
        settings.checkpoints or require(experiment, "checkpoints"),
        out,
        kinds=settings.kinds,
        steps=steps,
        settings=ProbeSettings.of(probe),
        probe_ids=probe.ids,
        tokenizer=experiment.tokenizer,
        corpus=experiment.corpus,
        thresholds=Thresholds(
            noise_floor=settings.noise_floor,
            attribution=settings.attribution,
            sufficiency=settings.sufficiency,
        ),
        device=experiment.device,
    )
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
    next_step(*next_steps.rank(scan, experiment))


def run_rank(
    settings: RankSettings, worker: tuple[int, int], queries_only: bool, given: Sequence[str]
) -> None:
    """`curator rank`; ``given``: the fields that flags gave, as against the file."""
    from curator.influence.emission import Emission
    from curator.ranking.stage import prepare, rank

    if settings.queries_of is not None:
        _refuse_settings(settings.queries_of, given, queries_only)
    if queries_only:
        prepare(settings)
        say(f"Written to {settings.out}/: queries and factors.")
        say(f"Next: emit: {{scores: [{Path(str(settings.out)).absolute()}]}} in a patch file (docs/neox.md)")
        return
    ranking = rank(settings, worker)
    if settings.emitted is not None and settings.queries_of is None:
        for sentence in Emission.open(settings.emitted).state():
            say(sentence)
    _print_ranking(ranking, ranking.path)


def _refuse_settings(ranking: Path, given: Sequence[str], queries_only: bool) -> None:
    """Refuse flags beside --queries-of that the given queries have decided already, or that ask for other work."""
    flags = [
        flag_name(RankSettings, *name.split("."))
        for name in given
        if name.split(".")[0] in DECIDED_BY_QUERIES
    ]
    flags += ["queries-only"] if queries_only else []
    if flags:
        named = ", ".join(dict.fromkeys(f"--{name}" for name in flags))
        raise UsageError(
            f"{named} cannot stand beside --queries-of: the queries of {ranking} were made with its own settings, and "
            "--samples says what to score"
        )


def run_collect(path: Path, out: Path, samples: tuple[int, int] | None) -> None:
    """`curator collect`."""
    from curator.influence.emission import Emission
    from curator.ranking.from_emission import collect_scores

    emission = Emission.open(path)
    ranking = collect_scores(emission, out, samples)
    for sentence in emission.state():
        say(sentence)
    _print_ranking(ranking, out)


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


def run_mask(experiment: Experiment, flags: dict[str, Any]) -> None:
    """`curator mask`."""
    from curator.ranking.candidates import sources_of
    from curator.ranking.selection import select

    settings = merge(experiment.mask, **flags)
    out = require(settings, "out")
    rankings = [Ranking.open(path) for path in require(settings, "ranking")]
    batch_size = require(experiment, "batch_size")
    corpus = rankings[0].open_corpus(experiment.corpus)
    check_new_plan(out)
    plan = identity_plan(corpus, batch_size, settings.divisor, experiment.epochs)
    n_slots = plan.n_slots
    steps = settings.steps
    if steps is None and any(ranking.end > n_slots for ranking in rankings):
        steps = (0, n_slots // batch_size)  # the corpus ends within a step, which is never trained on
    selection = select(
        sources_of(rankings, settings.units),
        how=settings.select,
        count=settings.count,
        percent=settings.percent,
        steps=steps,
        batch_size=batch_size,
        categories=corpus.categories() if settings.select == "random-in-category" else None,
        bins=settings.loss_bins,
        seed=settings.seed,
        epoch_samples=plan.epoch_samples,
    )
    plan = plan.mask(selection.samples)
    selection.save(out)
    plan.save(out)
    say(
        f"Masked {len(plan.masked_slots())} of {n_slots} slots ({settings.select}), samples {selection.samples[0]} to "
        f"{selection.samples[-1]}, divisor {settings.divisor}.{said_epochs(plan)}\n"
        f"Written to {out}/: plan.json and its arrays, and what was masked: samples.npy, selection.json.\n"
        f"{how_to_follow(out)}"
    )


def check_new_plan(out: Path) -> None:
    """Refuse a folder for a new plan that is not empty."""
    if (out / "plan.json").exists():
        raise CuratorError(f"{out}: holds a plan already; choose another --out, or remove it")
    if out.is_dir() and any(not is_temporary(path) for path in out.iterdir()):
        raise CuratorError(f"{out}: the folder is not empty and holds no plan; choose another --out")


def identity_plan(corpus: Corpus, batch_size: int, divisor: Divisor, epochs: int = 1) -> Plan:
    """The plan that trains on the whole steps of ``epochs`` passes over the corpus as it is."""
    if batch_size > len(corpus):
        raise UsageError(f"--batch-size is {batch_size}, but {corpus.path} has {len(corpus)} samples alone")
    n_slots = plan_slots(corpus, batch_size, epochs)
    return Plan.identity(n_slots, batch_size, corpus.fingerprint(), divisor, len(corpus))


def said_epochs(plan: Plan) -> str:
    """What to know of a plan that passes over its corpus more than once, as a sentence; else nothing."""
    if plan.epoch_samples is None:
        return ""
    return (
        f" The run passes over the corpus more than once: slot s of the unedited run holds sample s modulo "
        f"{plan.epoch_samples}, and a masked sample is masked each time it comes."
    )


def run_train(experiment: Experiment, flags: dict[str, Any]) -> None:
    """`curator train`."""
    if experiment.train is None:
        raise UsageError(
            "what to train is missing: give --experiment with a 'train' section (configs/tiny.yml has one to copy)"
        )
    from curator.training import train

    settings: Train = merge(experiment.train, **flags)
    out = require(settings, "out")
    corpus = open_corpus(require(experiment, "corpus"))
    check_device(experiment.device)
    stop = settings.stop_step or settings.steps
    if (
        corpus.row_width == settings.seq_length + 1
    ):  # another width is refused by the trainer, with its reason
        check_tokens(corpus, settings.vocab_size, 0, min(stop * settings.batch_size, len(corpus)))
    first = 0
    if settings.start_from is not None:
        from curator.training.checkpoint import read_run

        first = read_run(settings.start_from)["step"]
    asked = flags.get("checkpoint_steps") is not None
    steps = [step for step in settings.saved_steps if asked or first <= step <= stop]
    train(
        settings.recipe,
        corpus,
        out,
        plan=None if settings.plan is None else Plan.load(settings.plan),
        start_from=settings.start_from,
        checkpoint_steps=steps,
        stop_step=settings.stop_step,
        device=experiment.device,
        epochs=experiment.epochs,
    )
    say(f"Written to {out}/: step folders up to step{stop}, losses.npy.")
    next_step("curator", "scan", "--checkpoints", out, "--out", out.with_name(f"{out.name}-scan"))


def how_to_follow(plan: Path) -> str:
    """What to do with a plan, for the end of a command."""
    return (
        f"Next: curator train -e EXPERIMENT.yml --plan {quote(str(plan))} --out FOLDER, or with GPT-NeoX: "
        f"curator arm --plan {quote(str(plan))} --from SAVE/global_stepN --out FOLDER"
    )


def _merge_probe(probe: Probe, flags: dict[str, Any], named: dict[str, str], other: str = "") -> Probe:
    """The probe under a command's flags; ``named``: what its fields are called there, and ``other`` those left."""
    try:
        return merge(probe, **flags)
    except UsageError as error:
        name, _, says = str(error).partition(": ")
        raise UsageError(f"{named.get(name, other or name)}: {says}") from error
