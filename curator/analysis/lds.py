"""The linear datamodeling score: do summed scores foretell what training on a subset does? (Park et al., 2023)

Of many random subsets of the window, the score of an order of samples is Spearman's correlation, over subsets, of the
sum of the kept samples' scores with what was measured after training on that subset. Intervals are percentiles of a
bootstrap over subsets; two orders are compared on the same draws. Refused: intervals from Fisher's z, which assume
subsets that measure without a tail.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

RESAMPLES = 4000
LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A correlation, or a difference of two, with its interval."""

    value: float
    low: float
    high: float

    def text(self) -> str:
        """``0.31 [0.12, 0.48]``."""
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


@dataclass(frozen=True)
class Scored:
    """The score of every order over the same subsets.

    Attributes:
        correlations: order -> its score.
        draws: order -> [RESAMPLES] scores of resampled subsets, NaN where all measured the same.
    """

    correlations: dict[str, Estimate]
    draws: dict[str, np.ndarray]
    subsets: int

    def lead(self, ours: str, theirs: str) -> Estimate:
        """How much higher the score of ``ours`` is than that of ``theirs``."""
        difference = self.draws[ours] - self.draws[theirs]
        return _estimate(self.correlations[ours].value - self.correlations[theirs].value, difference)

    def visible(self, ours: str, theirs: str) -> float:
        """The smallest lead that would be told from none four times in five: 2.8 standard errors."""
        return 2.8 * float(np.nanstd(self.draws[ours] - self.draws[theirs], ddof=1))


def datamodeling_scores(predicted: Mapping[str, np.ndarray], measured: np.ndarray, seed: int = 0) -> Scored:
    """Score every order.

    Args:
        predicted: order -> [subsets] sums of the kept samples' scores; measured: [subsets].
        seed: of the bootstrap.

    Raises:
        ValueError: fewer than three subsets, or numbers that are not finite.
    """
    if len(measured) < 3:
        raise ValueError(f"{len(measured)} subsets say nothing; three at least")
    if not all(np.isfinite(values).all() for values in (measured, *predicted.values())):
        raise ValueError("a sum or a measured value is not finite")
    random = np.random.default_rng(seed)
    resampled = random.integers(0, len(measured), (RESAMPLES, len(measured)))
    truth = measured[resampled]
    draws = {name: spearman(values[resampled], truth) for name, values in predicted.items()}
    correlations = {
        name: _estimate(float(spearman(values[None], measured[None])[0]), draws[name])
        for name, values in predicted.items()
    }
    return Scored(correlations, draws, len(measured))


def spearman(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Spearman's correlation along the last axis, ties at their mean rank; NaN where one of the two is constant."""
    from scipy.stats import rankdata  # a second to import

    a, b = (rankdata(one, axis=-1) for one in (a, b))
    a, b = (one - one.mean(-1, keepdims=True) for one in (a, b))
    with np.errstate(invalid="ignore"):
        return np.asarray((a * b).sum(-1) / np.sqrt((a * a).sum(-1) * (b * b).sum(-1)))


def _estimate(value: float, draws: np.ndarray) -> Estimate:
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.nanpercentile(draws, [tail, 100 - tail])
    return Estimate(value, float(low), float(high))
