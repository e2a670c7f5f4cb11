"""What the commands do with a merged experiment: gather, call one room, say where the result is."""

from pathlib import Path
from shlex import quote
from typing import Any

from curator.artifacts.fields import Probe
from curator.artifacts.storage import is_temporary
from curator.cli import next_steps
from curator.cli.next_steps import next_step
from curator.cli.printing import say
from curator.cli.tables import print_rows
from curator.corpus import Corpus, check_tokens, open_corpus
from curator.errors import CuratorError, UsageError
from curator.plan.plan import Plan
from curator.plan.rules import Divisor
from curator.ranking.ranking import Ranking
from curator.settings import Experiment, Train, merge, require


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
    experiment: Experiment,
    probe_flags: dict[str, Any],
    flags: dict[str, Any],
    worker: tuple[int, int],
    queries_only: bool = False,
    also: dict[str, Any] | None = None,
) -> None:
    """`curator rank`; ``also``: flags that were merged into ``experiment`` before."""
    from curator.influence.curvature import Damping
    from curator.influence.emission import Emission
    from curator.ranking.from_emission import rank_emission
    from curator.ranking.given_queries import GivenQueries
    from curator.ranking.request import RankRequest
    from curator.ranking.run import prepare_queries, rank
    from curator.units import ProbeSettings

    named = {f"--{name}": f"--probe-{name}" for name in ("sequences", "seed", "ids")}
    probe = _merge_probe(experiment.probe, probe_flags, named, "--probe-lengths")
    settings = merge(experiment.rank, **flags)
    out = require(settings, "out")
    check_device(experiment.device)
    if settings.queries_of is not None:
        _refuse_settings(settings.queries_of, probe_flags, {**flags, **(also or {})}, queries_only)
        given = GivenQueries.open(settings.queries_of).request(
            require(experiment, "corpus"),
            model=experiment.model,
            units=experiment.units,
            samples=settings.samples,
            micro_batch=settings.micro_batch,
            shard_size=settings.shard_size,
            unit_modules=experiment.unit_modules,
        )
        _print_ranking(rank(given, out, experiment.device, worker), out)
        return
    emission = None if settings.emitted is None else Emission.open(settings.emitted)
    if emission is not None and (queries_only or worker != (0, 1)):
        raise UsageError("--emitted needs no pass over the corpus: leave out --queries-only and --worker")
    if emission is not None and experiment.corpus is not None:
        fingerprint = open_corpus(experiment.corpus).fingerprint()
        if fingerprint != emission.corpus_fingerprint:
            raise CuratorError(
                f"{emission.path} was emitted from the corpus with fingerprint {emission.corpus_fingerprint}, but "
                f"{experiment.corpus} has {fingerprint}: give the same corpus, or leave it out"
            )
    samples, window = settings.samples, None
    if samples is None and experiment.window is not None:
        emitted_from = None if emission is None else emission.manifest["paths"]["corpus"]
        samples, window = window_samples(experiment, experiment.corpus or emitted_from)
    request = RankRequest(
        model=require(experiment, "model"),
        corpus=emission.path if emission else require(experiment, "corpus"),
        units=require(experiment, "units"),
        samples=samples,
        probe=ProbeSettings.of(probe),
        probe_tokens=probe.tokens,
        probe_ids=probe.ids,
        tokenizer=experiment.tokenizer,
        fisher=settings.fisher,
        factor_samples=settings.factor_samples,
        factor_seed=settings.factor_seed,
        damping=Damping(mode=settings.damping, alpha=settings.alpha, floor=settings.floor),
        dtype=experiment.dtype,
        micro_batch=settings.micro_batch,
        shard_size=settings.shard_size,
        unit_modules=experiment.unit_modules,
        batch_size=experiment.batch_size,
        window=window,
    )
    if emission is not None:
        ranking = rank_emission(request, emission, out, experiment.device)
        for sentence in emission.state():
            say(sentence)
    elif queries_only:
        prepare_queries(request, out, experiment.device)
        say(f"Written to {out}/: queries and factors.")
        say(f"Next: emit: {{scores: [{out.absolute()}]}} in a patch file (docs/neox.md)")
        return
    else:
        ranking = rank(request, out, experiment.device, worker)
    _print_ranking(ranking, out)


def window_samples(
    experiment: Experiment, corpus: Path | str | None
) -> tuple[tuple[int, int], dict[str, Any]]:
    """[first, last) sample index of the window's steps, and the window in words for the manifest.

    Args:
        corpus: its path, whose length is looked at where the run passes over it more than once.
    """
    steps, batch_size = require(experiment, "window"), require(experiment, "batch_size")
    window = {"steps": list(steps), "batch_size": batch_size, "epochs": experiment.epochs}
    if experiment.epochs == 1:
        return experiment.window_samples(), window
    opened = open_corpus(corpus or require(experiment, "corpus"))
    n_steps = plan_slots(opened, batch_size, experiment.epochs) // batch_size
    if steps[1] > n_steps:
        raise UsageError(
            f"--window {steps[0]}:{steps[1]}: {experiment.epochs} epochs of {len(opened)} samples are {n_steps} steps "
            f"of {batch_size}; end at {n_steps}"
        )
    first, last = experiment.window_samples(len(opened))
    say(
        f"Steps {steps[0]} to {steps[1] - 1} hold samples {first} to {last - 1}, in epoch "
        f"{steps[0] * batch_size // len(opened) + 1} of {experiment.epochs} (sample = slot modulo {len(opened)})."
    )
    return (first, last), window


def _refuse_settings(ranking: Path, probe: dict[str, Any], flags: dict[str, Any], queries_only: bool) -> None:
    """Refuse flags beside --queries-of that the given queries have decided already, or that ask for other work."""
    fit = ("out", "samples", "micro_batch", "shard_size", "queries_of")
    given = [name for name, value in flags.items() if value is not None and name not in fit]
    for name, value in probe.items():
        if value is not None:
            given.append("probe_lengths" if name.endswith("_length") else f"probe_{name}")
    if queries_only:
        given.append("queries_only")
    if given:
        named = ", ".join(dict.fromkeys(f"--{name.replace('_', '-')}" for name in given))
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


def plan_slots(corpus: Corpus, batch_size: int, epochs: int) -> int:
    """The slots of the whole steps of ``epochs`` passes over the corpus.

    Raises:
        UsageError: GPT-NeoX's own order, which holds all its epochs already.
    """
    if epochs > 1 and corpus.neox_order:
        raise UsageError(
            f"--epochs is {epochs}, but {corpus.path} is GPT-NeoX's own order, which holds all epochs of its run, "
            "shuffled together; leave it out"
        )
    return len(corpus) * epochs // batch_size * batch_size


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


def check_device(device: str) -> None:
    """Refuse a GPU that this PyTorch does not see, before any work."""
    if device == "cpu":
        return
    import torch

    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if int(device.partition(":")[2] or 0) >= there:
        seen = f"sees {there} GPU(s), counted from 0" if there else "sees no GPU"
        raise UsageError(f"--device: {device}, but PyTorch {seen}; give --device cpu, or see curator doctor")
