"""The stage `rank`: from its settings to a ranking, whichever way the scores are made.

Refused: choosing the way in the command, where a notebook could not follow.
"""

from pathlib import Path

from curator.artifacts.fields import require
from curator.corpus import open_corpus
from curator.errors import CuratorError, UsageError
from curator.influence.emission import Emission
from curator.models.devices import check_device
from curator.ranking import run
from curator.ranking.asked import samples_of_window
from curator.ranking.from_emission import rank_emission
from curator.ranking.given_queries import GivenQueries
from curator.ranking.ranking import Ranking
from curator.ranking.settings import RankSettings


def rank(settings: RankSettings, worker: tuple[int, int] = (0, 1)) -> Ranking:
    """Score every sample that ``settings`` name into the folder ``settings.out``; resumes what is there.

    Args:
        worker: (R, W): this process does the shards k with k % W == R.

    Raises:
        UsageError: something is missing, or contradicts itself.
        CuratorError: wrong input, or the folder holds a ranking of something else.
    """
    out = require(settings, "out")
    check_device(settings.device)
    if settings.queries_of is not None:
        asked = GivenQueries.open(settings.queries_of).request(
            require(settings, "corpus"),
            model=settings.model,
            units=settings.units,
            samples=settings.samples,
            micro_batch=settings.micro_batch,
            shard_size=settings.shard_size,
            unit_modules=settings.unit_modules,
            normalise=settings.normalise,
        )
        return run.rank(asked, out, settings.device, worker)
    require(settings, "model")
    if settings.emitted is not None:
        if worker != (0, 1):
            raise UsageError("--emitted needs no pass over the corpus: leave out --worker")
        emission = Emission.open(settings.emitted)
        _check_corpus(emission, settings.corpus)
        asked = _resolved(settings, settings.corpus or emission.manifest["paths"]["corpus"])
        return rank_emission(asked, emission, out, settings.device)
    return run.rank(_resolved(settings, require(settings, "corpus")), out, settings.device, worker)


def prepare(settings: RankSettings, worker: tuple[int, int] = (0, 1)) -> None:
    """Do of `rank` what comes before the scores: factors and queries. `rank` with the same settings goes on from there.

    Raises:
        UsageError, CuratorError: as `rank`.
    """
    if settings.emitted is not None:
        raise UsageError("--emitted needs no pass over the corpus: leave out --queries-only")
    if settings.queries_of is not None:
        raise UsageError("--queries-only cannot stand beside --queries-of, whose queries are made already")
    if worker != (0, 1):
        raise UsageError("--queries-only is the work of one process: leave out --worker")
    check_device(settings.device)
    require(settings, "model")
    asked = _resolved(settings, require(settings, "corpus"))
    run.prepare_queries(asked, require(settings, "out"), settings.device)


def _check_corpus(emission: Emission, corpus: Path | None) -> None:
    if corpus is None:
        return
    fingerprint = open_corpus(corpus).fingerprint()
    if fingerprint != emission.corpus_fingerprint:
        raise CuratorError(
            f"{emission.path} was emitted from the corpus with fingerprint {emission.corpus_fingerprint}, but "
            f"{corpus} has {fingerprint}: give the same corpus, or leave it out"
        )


def _resolved(settings: RankSettings, corpus: Path | str) -> RankSettings:
    """``settings`` with the samples of their window.

    Args:
        corpus: whose length is looked at where the run passes over it more than once.
    """
    require(settings, "units")
    if settings.window is None:
        return settings
    batch_size = require(settings, "batch_size")
    return settings.resolved(samples=samples_of_window(settings.window, batch_size, settings.epochs, corpus))
