"""The stage `inject`: choose samples or rows, decide on their slots, write the plan."""

import dataclasses
from pathlib import Path

import numpy as np

from curator.artifacts.fields import require
from curator.artifacts.files import save_array, save_json
from curator.corpus import Corpus, check_tokens, open_corpus
from curator.errors import UsageError
from curator.plan.plan import CORPUS, Plan
from curator.plan.rows import check_widths
from curator.planning.choose import choose
from curator.planning.new import check_new_plan, corpus_of, plan_to_edit
from curator.planning.settings import InjectSettings
from curator.ranking.ranking import Ranking

FORMAT = "curator-injected-1"


def inject(settings: InjectSettings) -> Plan:
    """Write the plan, and what it puts in where (``injected.json``), into the folder ``settings.out``.

    Raises:
        UsageError: something is missing, or asks for more than there is.
        CuratorError: rankings, rows, plan and corpus do not fit together, or the folder is not empty.
    """
    out = require(settings, "out")
    _check_given(settings)
    check_new_plan(out)
    rankings = [Ranking.open(path) for path in settings.ranking]
    corpus = corpus_of(settings, rankings)
    plan = edited = plan_to_edit(settings, corpus)
    if settings.divisor is not None:
        plan = dataclasses.replace(plan, divisor=settings.divisor)

    selection, source = None, CORPUS
    if settings.rows is not None:
        rows, samples = _first_rows(settings.rows, settings.count, corpus)
        plan, source = plan.with_source(rows.path.stem, rows.path, rows.fingerprint())
        what = {"rows": str(settings.rows.absolute()), "fingerprint": rows.fingerprint(), "of": len(rows)}
    else:
        selection = choose(settings, rankings, corpus, plan, settings.from_steps)
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
    return plan


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


def _check_given(settings: InjectSettings) -> None:
    if not settings.ranking and settings.rows is None:
        raise UsageError("say what to inject: --ranking RANKING with --count or --percent, or --rows CORPUS")
    if settings.after is None and settings.spread is None and settings.replace is None:
        raise UsageError(
            "say where: --after STEP (a burst of extra steps), --spread A:B (extra steps spread evenly), or "
            "--replace A:B (in place of samples there)"
        )


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


def _within(steps: tuple[int, int], n_steps: int, flag: str) -> tuple[int, int]:
    if steps[1] > n_steps:
        raise UsageError(
            f"{flag} {steps[0]}:{steps[1]}: the plan has steps 0 to {n_steps - 1}; end at {n_steps}"
        )
    return steps
