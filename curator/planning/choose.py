"""Which samples of rankings a plan takes out, or puts in."""

from collections.abc import Sequence

from curator.corpus import Corpus
from curator.plan.plan import Plan
from curator.planning.settings import InjectSettings, MaskSettings
from curator.ranking.candidates import sources_of
from curator.ranking.ranking import Ranking
from curator.ranking.selection import Selection, select


def choose(
    settings: MaskSettings | InjectSettings,
    rankings: Sequence[Ranking],
    corpus: Corpus,
    plan: Plan,
    steps: tuple[int, int] | None,
) -> Selection:
    """What ``settings`` choose from ``rankings``, among samples that ``plan`` places in ``steps`` (None: all).

    Raises:
        UsageError: it asks for more than there is.
        CuratorError: rankings of different corpora.
    """
    return select(
        sources_of(rankings, settings.units),
        how=settings.select,
        count=settings.count,
        percent=settings.percent,
        steps=steps,
        batch_size=plan.batch_size,
        epoch_samples=plan.epoch_samples,
        categories=corpus.categories() if settings.select == "random-in-category" else None,
        bins=settings.loss_bins,
        seed=settings.seed,
        significant=settings.significant,
    )
