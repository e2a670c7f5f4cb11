"""The samples there are to choose from, with one score each, whether from one ranking or from several.

Several rankings (or units) are combined by the mean of their fractional ranks over the candidates: scores of
different checkpoints and units have no common scale, ranks do. Refused: averaging standard scores, which the
few extreme samples of a power-law distribution dominate.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from curator.errors import CuratorError, UsageError
from curator.plan.rules import samples_of_steps
from curator.ranking.ranking import Ranking

Source = tuple[Ranking, str]
"""A ranking and the name of one of its units."""


@dataclass(frozen=True, eq=False)
class Candidates:
    """The samples to choose from, by rising sample index: all arrays are [n].

    Attributes:
        samples: sample indices, int64; scores: higher is more positive influence, or more of a statistic.
        losses: in nats per sample; None where no model was asked for them.
        categories: short strings, where the corpus knows them.
        errors: standard errors of the scores, of one source whose scores are means.
    """

    samples: np.ndarray
    scores: np.ndarray
    losses: np.ndarray | None = None
    categories: np.ndarray | None = None
    errors: np.ndarray | None = None

    @staticmethod
    def of(
        samples: np.ndarray,
        scores: np.ndarray,
        losses: np.ndarray | None = None,
        categories: np.ndarray | None = None,
        errors: np.ndarray | None = None,
    ) -> "Candidates":
        """Candidates given in any order."""
        order = np.argsort(samples, kind="stable")
        return Candidates(
            samples[order].astype(np.int64),
            scores[order].astype(np.float64),
            None if losses is None else losses[order].astype(np.float64),
            None if categories is None else categories[order],
            None if errors is None else errors[order].astype(np.float64),
        )

    def __len__(self) -> int:
        return len(self.samples)


def sources_of(rankings: Sequence[Ranking], units: Sequence[str] = ()) -> list[Source]:
    """Every (ranking, unit) whose scores count: all units of all rankings, or only those named.

    Raises:
        UsageError: a unit that no ranking has, a ranking that has none of the units, or several statistics of which
            none was named.
    """
    if not rankings:
        raise UsageError("no ranking given to choose samples from")
    for unit in units:
        if not any(ranking.units_called(unit) for ranking in rankings):
            there = "; ".join(f"{ranking.path}: {', '.join(ranking.units)}" for ranking in rankings)
            raise UsageError(f"no ranking has the unit '{unit}'; there are {there}")
    sources = []
    for ranking in rankings:
        if ranking.statistics and not units and len(ranking.units) > 1:
            raise UsageError(
                f"{ranking.path} has statistics of different things, whose ranks make no mean by themselves: name one "
                f"or more of {', '.join(ranking.units)} (--unit)"
            )
        called = {one for unit in units for one in ranking.units_called(unit)}
        named = [unit for unit in ranking.units if not units or unit in called]
        if not named:
            raise UsageError(
                f"{ranking.path} has none of {', '.join(units)}: it has {', '.join(ranking.units)}"
            )
        sources += [(ranking, unit) for unit in named]
    return sources


def gather_candidates(
    sources: Sequence[Source],
    steps: tuple[int, int] | None = None,
    batch_size: int | None = None,
    categories: np.ndarray | None = None,
    epoch_samples: int | None = None,
) -> Candidates:
    """The samples that all rankings hold, within training steps [first, last) when those are given.

    One source gives its scores as they are, several the mean of their fractional ranks. Losses are those of the
    first ranking that has any (`losses_of`). ``categories`` are those of the whole corpus, ``epoch_samples`` its length
    where the run passes over it more than once.

    Raises:
        CuratorError: different corpora, no sample in common, or a score or loss that is not a number.
        UsageError: steps without batch size, or outside what was ranked.
    """
    rankings = [ranking for ranking, _ in sources]
    for ranking in rankings[1:]:
        rankings[0].check_corpus(ranking.corpus_fingerprint, ranking.path)
    first = max(ranking.first_sample for ranking in rankings)
    last = min(ranking.end for ranking in rankings)
    if first >= last:
        spans = ", ".join(f"{r.path} has {r.first_sample} to {r.end - 1}" for r in rankings)
        raise CuratorError(f"the rankings have no sample in common: {spans}")
    if steps is not None:
        first, last = _within(steps, batch_size, epoch_samples, first, last)
    samples = np.arange(first, last)
    columns = [
        _finite(ranking, f"score of {unit}", ranking.unit_scores(unit), samples) for ranking, unit in sources
    ]
    if len(columns) == 1:
        scores = columns[0]
    else:
        scores = np.sum([average_ranks(column) for column in columns], axis=0) / (len(columns) * len(samples))
    known = losses_of(rankings)
    losses = None if known is None else _finite(known, "loss", known.losses, samples)
    if categories is not None and len(categories) < last:
        raise CuratorError(
            f"there are categories for {len(categories)} samples, but candidates up to {last - 1}"
        )
    errors = None
    if len(sources) == 1 and rankings[0].errors is not None:
        errors = rankings[0].unit_errors(sources[0][1])[rankings[0].columns_of(samples)]
    of = None if categories is None else categories[first:last]
    return Candidates.of(samples, scores, losses, of, errors)


def losses_of(rankings: Sequence[Ranking]) -> Ranking | None:
    """The first of ``rankings`` whose losses are known; None where no ranking's are."""
    return next((ranking for ranking in rankings if ranking.has_losses), None)


def average_ranks(values: np.ndarray) -> np.ndarray:
    """[n] ranks from 1 (lowest) to n; equal values share the mean of their ranks."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]


def _within(
    steps: tuple[int, int], batch_size: int | None, epoch_samples: int | None, first: int, last: int
) -> tuple[int, int]:
    if batch_size is None or batch_size < 1:
        raise UsageError("steps need the batch size: step s holds samples s*B to s*B + B - 1")
    start, stop = samples_of_steps(steps, batch_size, epoch_samples)
    if not first <= start < stop <= last:
        raise UsageError(
            f"steps {steps[0]} to {steps[1]} (not included) of {batch_size} samples are samples {start} to "
            f"{stop - 1}, but the rankings hold samples {first} to {last - 1}"
        )
    return start, stop


def _finite(ranking: Ranking, what: str, column: np.ndarray, samples: np.ndarray) -> np.ndarray:
    values = np.asarray(column[ranking.columns_of(samples)], np.float64)
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        raise CuratorError(
            f"{ranking.path}: the {what} is {values[bad[0]]} for sample {samples[bad[0]]} "
            f"({len(bad)} such samples): make the ranking again"
        )
    return values
