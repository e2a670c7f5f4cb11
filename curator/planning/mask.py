"""The stage `mask`: from rankings to the plan that takes the chosen samples out of training."""

from curator.artifacts.fields import require
from curator.plan.plan import Plan
from curator.planning.choose import choose
from curator.planning.new import check_new_plan, identity_plan
from curator.planning.settings import MaskSettings
from curator.ranking.ranking import Ranking


def mask(settings: MaskSettings) -> Plan:
    """Write the plan, and what it masks (``samples.npy``, ``selection.json``), into the folder ``settings.out``.

    Raises:
        UsageError: something is missing, or asks for more than there is.
        CuratorError: rankings of different corpora, or the folder is not empty.
    """
    out = require(settings, "out")
    rankings = [Ranking.open(path) for path in require(settings, "ranking")]
    batch_size = require(settings, "batch_size")
    corpus = rankings[0].open_corpus(settings.corpus)
    check_new_plan(out)
    plan = identity_plan(corpus, batch_size, settings.divisor, settings.epochs)
    steps = settings.steps
    if steps is None and any(ranking.end > plan.n_slots for ranking in rankings):
        steps = (0, plan.n_slots // batch_size)  # the corpus ends within a step, which is never trained on
    selection = choose(settings, rankings, corpus, plan, steps)
    plan = plan.mask(selection.samples)
    selection.save(out)
    plan.save(out)
    return plan
