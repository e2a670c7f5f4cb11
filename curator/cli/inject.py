"""What `curator inject` does: choose samples, decide on their slots, write the plan, say what to set."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from curator.artifacts.files import save_array, save_json
from curator.cli.commands import check_new_plan, how_to_follow, identity_plan, said_epochs
from curator.cli.printing import say
from curator.corpus import Corpus, check_tokens, open_corpus
from curator.errors import CuratorError, UsageError
from curator.plan.plan import CORPUS, Plan
from curator.plan.rows import check_widths
from curator.ranking.ranking import Ranking
from curator.ranking.selection import Selection
from curator.settings import Experiment, Inject, merge, require

FORMAT = "curator-injected-1"


def run_inject(experiment: Experiment, flags: dict[str, Any]) -> None:
    """`curator inject`."""
    settings = merge(experiment.inject, **flags)
    out = require(settings, "out")
    _check_given(settings)
    check_new_plan(out)
    rankings = [Ranking.open(path) for path in settings.ranking]
    if rankings:
        corpus = rankings[0].open_corpus(experiment.corpus)
    else:
        corpus = open_corpus(require(experiment, "corpus"))
    plan = edited = _plan_to_edit(settings, corpus, experiment)
    if settings.divisor is not None:
        plan = dataclasses.replace(plan, divisor=settings.divisor)

    selection, source = None, CORPUS
    if settings.rows is not None:
        rows, samples = _first_rows(settings.rows, settings.count, corpus)
        plan, source = plan.with_source(rows.path.stem, rows.path, rows.fingerprint())
        what = {"rows": str(settings.rows.absolute()), "fingerprint": rows.fingerprint(), "of": len(rows)}
    else:
        selection = _selection(settings, rankings, corpus, plan)
        samples, what = selection.samples, {"rankings": [str(path.absolute()) for path in settings.ranking]}
    order = samples
    if settings.shuffle_seed is not None:
        order = np.random.default_rng(settings.shuffle_seed).permutation(samples)
    order = np.tile(order, settings.repeat)

    before = plan.n_slots // plan.batch_size
    replaced = None
    if settings.replace is not None:
        slots = replaced_slots(plan, settings.replace, order, source)
        replaced = {"slots": slots, "replaced": plan.lookup(slots).sample}
        plan = plan.replace(slots, order, source)
    else:
        steps = extra_steps(before, plan.batch_size, len(order), settings.after, settings.spread)
        plan = plan.insert(steps, order, source)
    after = plan.n_slots // plan.batch_size

    if selection is not None:
        selection.save(out)
    for name, array in (replaced or {}).items():
        save_array(out / f"{name}.npy", array)
    placed = {
        name: getattr(settings, name) for name in ("shuffle_seed", "repeat", "after", "spread", "replace")
    }
    described = {
        "format": FORMAT,
        **what,
        "source": source,
        "samples": len(samples),
        **placed,
        "steps": {"before": before, "after": after},
        "edited_plan": None if settings.plan is None else str(settings.plan.absolute()),
        "edited_plan_fingerprint": edited.fingerprint(),
        "corpus_fingerprint": corpus.fingerprint(),
    }
    save_json(out / "injected.json", described)
    plan.save(out)

    times = f", {settings.repeat} times each" if settings.repeat > 1 else ""
    listed = "injected.json"
    listed += ", samples.npy, selection.json" if selection is not None else ""
    listed += "; replaced.npy lists the samples that stood in slots.npy" if replaced is not None else ""
    say(
        f"Injected {len(samples)} {'rows' if selection is None else 'samples'}{times}, {_where(settings)}."
        f"{said_epochs(plan)}\n"
        f"{what_to_set(before, after)}\n"
        f"Written to {out}/: plan.json and its arrays, and what was injected: {listed}.\n"
        f"{how_to_follow(out)}"
    )


def extra_steps(
    n_steps: int, batch_size: int, n_samples: int, after: int | None, spread: tuple[int, int] | None
) -> np.ndarray:
    """[k] the steps before which the extra ones stand, for `Plan.insert`: k = n_samples / batch_size.

    Args:
        n_steps: of the plan.
        after: all of them after so many steps.
        spread: or evenly over steps [first, last): in the middle of k equal parts.

    Raises:
        UsageError: samples that do not fill whole steps, or steps outside the plan.
    """
    k, left = divmod(n_samples, batch_size)
    if left:
        near = [str(steps * batch_size) for steps in (k, k + 1) if steps]
        raise UsageError(
            f"{n_samples} samples do not fill whole steps of {batch_size}: inject {' or '.join(near)} in all "
            "(--count, times --repeat), or use --replace, which needs no whole steps"
        )
    if spread is None:
        if after is None or after > n_steps:
            raise UsageError(f"--after {after}: the plan has {n_steps} steps; give 0 to {n_steps}")
        return np.full(k, after, np.int64)
    first, last = _within(spread, n_steps, "--spread")
    return first + (2 * np.arange(k) + 1) * (last - first) // (2 * k)


def replaced_slots(plan: Plan, steps: tuple[int, int], samples: np.ndarray, source: int) -> np.ndarray:
    """[n] slots of steps [first, last), evenly spread, that give way to ``samples`` [n] of ``source``.

    Left alone are masked slots, slots of injected sets, and slots that hold one of these samples already.

    Raises:
        UsageError: steps outside the plan, or fewer such slots than samples.
    """
    first, last = _within(steps, plan.n_slots // plan.batch_size, "--replace")
    slots = np.arange(first * plan.batch_size, last * plan.batch_size)
    held = plan.lookup(slots)
    free = (held.source == CORPUS) & (held.weight > 0)
    if source == CORPUS:
        free &= ~np.isin(held.sample, samples)
    free_slots = slots[free]
    n = len(samples)
    if n > len(free_slots):
        raise UsageError(
            f"--replace {first}:{last} has {len(slots)} slots, {len(free_slots)} of them free to replace "
            "(not masked, not injected before, not holding one of these samples), but "
            f"{n} samples are to be put there; inject fewer, or give more steps"
        )
    return free_slots[(2 * np.arange(n) + 1) * len(free_slots) // (2 * n)]


def what_to_set(before: int, after: int) -> str:
    """What the user of a trainer must now set, for a plan that had ``before`` steps and has ``after``."""
    k = after - before
    if not k:
        return "The number of steps stays as it is: set nothing else in the trainer."
    return (
        f"The plan has {k} extra steps: {after} instead of {before}. Raise the number of steps by {k}: train-iters "
        f"in GPT-NeoX (curator arm does it), train.steps for curator train; otherwise training ends {k} steps before "
        "the data do.\n"
        "The learning rate follows the trainer's own count of iterations: an extra step uses the rate of its "
        f"iteration, and everything behind it comes {k} iterations later. To keep the curve as it was, leave "
        "lr-decay-iters (GPT-NeoX) or train.decay_steps (curator train) at the number of the run without "
        "insertions; unset, it is the number of steps, and GPT-NeoX then refuses to go on from a checkpoint of that "
        "run. To stretch the curve, train from the start with a larger number."
    )


def _check_given(settings: Inject) -> None:
    if not settings.ranking and settings.rows is None:
        raise UsageError("say what to inject: --ranking RANKING with --count or --percent, or --rows CORPUS")
    if settings.rows is not None:
        given = {"--unit": settings.units, "--percent": settings.percent, "--from-steps": settings.from_steps}
        named = [flag for flag, value in given.items() if value]
        if named or settings.select != "top":
            flags = ", ".join([*named, *(["--select"] if settings.select != "top" else [])])
            raise UsageError(
                f"{flags} chooses from a ranking; with --rows give --count, the first so many rows"
            )
    if settings.after is None and settings.spread is None and settings.replace is None:
        raise UsageError(
            "say where: --after STEP (a burst of extra steps), --spread A:B (extra steps spread evenly), or "
            "--replace A:B (in place of samples there)"
        )


def _plan_to_edit(settings: Inject, corpus: Corpus, experiment: Experiment) -> Plan:
    batch_size = experiment.batch_size
    if settings.plan is None:
        if batch_size is None:
            raise UsageError(
                "'batch_size' is missing: give --batch-size or 'batch_size' in the experiment file, or --plan"
            )
        return identity_plan(corpus, batch_size, settings.divisor or "kept", experiment.epochs)
    plan = Plan.load(settings.plan)
    try:
        plan.check(corpus.fingerprint(), batch_size or plan.batch_size, plan.n_slots)
    except CuratorError as error:
        raise CuratorError(f"{settings.plan}: {error} (corpus {corpus.path})") from error
    return plan


def _first_rows(path: Path, count: int | None, corpus: Corpus) -> tuple[Corpus, np.ndarray]:
    """The rows to inject, and which of them: the first ``count``, or all."""
    rows = open_corpus(path)
    check_widths(corpus, rows)
    rows.check_index()
    n = len(rows) if count is None else count
    if n > len(rows):
        raise UsageError(f"--count is {n}, but {rows.path} has {len(rows)} rows")
    if corpus.vocab_size is not None:
        check_tokens(rows, corpus.vocab_size, 0, n)
    return rows, np.arange(n)


def _selection(settings: Inject, rankings: list[Ranking], corpus: Corpus, plan: Plan) -> Selection:
    from curator.ranking.candidates import sources_of
    from curator.ranking.selection import select

    return select(
        sources_of(rankings, settings.units),
        how=settings.select,
        count=settings.count,
        percent=settings.percent,
        steps=settings.from_steps,
        batch_size=plan.batch_size,
        epoch_samples=plan.epoch_samples,
        categories=corpus.categories() if settings.select == "random-in-category" else None,
        bins=settings.loss_bins,
        seed=settings.seed,
    )


def _within(steps: tuple[int, int], n_steps: int, flag: str) -> tuple[int, int]:
    if steps[1] > n_steps:
        raise UsageError(
            f"{flag} {steps[0]}:{steps[1]}: the plan has steps 0 to {n_steps - 1}; end at {n_steps}"
        )
    return steps


def _where(settings: Inject) -> str:
    if settings.after is not None:
        return f"as a burst of extra steps after {settings.after} steps"
    if settings.spread is not None:
        return f"as extra steps spread over steps {settings.spread[0]} to {settings.spread[1] - 1}"
    first, last = settings.replace or (0, 0)
    return f"in place of samples of steps {first} to {last - 1}"
