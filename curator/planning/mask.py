"""The stage `mask`: from rankings, or a list, to the plan that takes samples, or tokens of them, out of training."""

import dataclasses

import numpy as np

from curator.artifacts.fields import require
from curator.artifacts.files import load_array
from curator.corpus import Corpus
from curator.errors import UsageError
from curator.plan.edits import slots_of
from curator.plan.plan import Plan
from curator.planning.choose import choose
from curator.planning.new import check_new_plan, corpus_of, plan_to_edit
from curator.planning.settings import MaskSettings
from curator.planning.tokens import mask_tokens
from curator.ranking.ranking import Ranking
from curator.ranking.selection import Selection


def mask(settings: MaskSettings) -> Plan:
    """Write the plan, and what it masks (``samples.npy``, ``selection.json``), into the folder ``settings.out``.

    Raises:
        UsageError: something is missing, or asks for more than there is.
        CuratorError: rankings of different corpora, or the folder is not empty.
    """
    out = require(settings, "out")
    _check_given(settings)
    rankings = [Ranking.open(path) for path in settings.ranking]
    corpus = corpus_of(settings, rankings)
    check_new_plan(out)
    plan = edited = plan_to_edit(settings, corpus)
    if settings.divisor is not None:
        plan = dataclasses.replace(plan, divisor=settings.divisor)
    selection = _selection(settings, rankings, corpus, plan)
    if settings.tokens is None:
        plan = plan.mask(selection.samples)
    else:
        plan = mask_tokens(plan, corpus, selection.samples, settings.tokens, settings.seed)
        selection.description.update(tokens=settings.tokens, token_seed=settings.seed)
    if settings.plan is not None:
        selection.description["edited_plan_fingerprint"] = edited.fingerprint()
    selection.save(out)
    plan.save(out)
    return plan


def _selection(settings: MaskSettings, rankings: list[Ranking], corpus: Corpus, plan: Plan) -> Selection:
    if rankings:
        steps = settings.steps
        if steps is None and any(ranking.end > plan.n_slots for ranking in rankings):
            steps = (0, plan.n_slots // plan.batch_size)  # the corpus ends within a step, never trained on
        return choose(settings, rankings, corpus, plan, steps)
    held = _held(plan, settings.steps)
    described = {"corpus_fingerprint": corpus.fingerprint(), "steps": settings.steps and list(settings.steps)}
    if settings.samples is None:
        return Selection(held, {"select": "all", **described})
    samples = np.unique(load_array(settings.samples, mmap=False))
    if settings.steps is not None:
        samples = np.intersect1d(samples, held)
    if not len(samples):
        raise UsageError(f"{settings.samples}: none of its samples is trained on in these steps")
    return Selection(samples, {"select": "given", "list": str(settings.samples.absolute()), **described})


def _held(plan: Plan, steps: tuple[int, int] | None) -> np.ndarray:
    """The corpus samples that the plan trains on, rising; of these steps of the unedited run alone, where given."""
    if steps is None:
        wanted = np.arange(plan.highest_sample() + 1)
    else:
        n_steps = plan.n_slots // plan.batch_size
        if steps[1] > n_steps:
            raise UsageError(
                f"--steps {steps[0]}:{steps[1]}: the plan has steps 0 to {n_steps - 1}; end at {n_steps}"
            )
        slots = np.arange(steps[0] * plan.batch_size, steps[1] * plan.batch_size)
        wanted = slots if plan.epoch_samples is None else np.unique(slots % plan.epoch_samples)
    slots, place = slots_of(plan, wanted)
    return wanted[np.unique(place[plan.lookup(slots).weight > 0])]


def _check_given(settings: MaskSettings) -> None:
    if settings.ranking:
        return
    if settings.tokens is None and settings.samples is None:
        raise UsageError(
            "say what to mask: --ranking RANKING with --count or --percent, --samples LIST.npy, or --tokens of all "
            "samples"
        )
    given = {"--count": settings.count, "--percent": settings.percent}
    named = [flag for flag, value in given.items() if value]
    named += ["--select"] if settings.select != "top" else []
    if named:
        raise UsageError(
            f"{', '.join(named)} chooses from a ranking: give --ranking, or leave it out to mask "
            + ("the samples of the list" if settings.samples is not None else "tokens of all samples")
        )
