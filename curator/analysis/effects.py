"""What an arm does against a control, over seeds: paired differences, two intervals, a corrected p value, and σ.

* **t**: mean ± t(n - 1) · s / √n, exact where differences are normal. It is the one to read with few seeds.
* **bootstrap** over seeds: BCa (bias-corrected and accelerated, 9,999 draws), which follows a skewed distribution;
  percentiles where BCa does not exist, as with two seeds. With five seeds both are too narrow (docs/guide.md).
* **p** of the paired t-test, two-sided; **Holm**'s correction keeps the chance of any false find among all comparisons
  of one family below the level, whatever they depend on. Refused: false-discovery rates, which want many comparisons.
* **σ**: the standard deviation of single runs of a random arm: what one retraining scatters by chance.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from curator.analysis.intervals import Mean

RESAMPLES = 9999
LEVEL = 0.95
Known = Sequence[float | None]


def mean_over(steps: np.ndarray, values: np.ndarray, first: float, last: float) -> float:
    """The mean of a curve from step ``first`` to ``last``: the area under straight lines between its points, per step.

    Beyond its ends the curve is taken to go on level.
    """
    inside = np.unique(np.clip(np.concatenate([[first, last], steps]), first, last))
    return float(np.trapezoid(np.interp(inside, steps, values), inside) / (last - first))


@dataclass(frozen=True)
class Bootstrap:
    """An interval, and how it was made: ``bca`` or ``percentile``."""

    low: float
    high: float
    method: str


def bootstrap(
    values: Known, level: float = LEVEL, seed: int = 0, resamples: int = RESAMPLES
) -> Bootstrap | None:
    """Of the mean of the known values, resampled; None of fewer than two."""
    known = _known(values)
    if len(known) < 2:
        return None
    if np.ptp(known) == 0:  # every draw is the same
        return Bootstrap(float(known[0]), float(known[0]), "percentile")
    from scipy import stats  # a second to import

    for method in ("BCa", "percentile"):
        with np.errstate(all="ignore"):
            found = stats.bootstrap(
                (known,),
                np.mean,
                confidence_level=level,
                n_resamples=resamples,
                method=method,
                vectorized=True,
                rng=np.random.default_rng(seed),
            ).confidence_interval
        if len(known) > 2 and np.isfinite([found.low, found.high]).all():
            break
    return Bootstrap(float(found.low), float(found.high), method.lower())


def p_value(differences: Known) -> float | None:
    """Two-sided, of Student's paired t-test that the mean difference is 0; None of fewer than two.

    Differences that are all alike: 1 where they are 0, else 0.
    """
    known = _known(differences)
    if len(known) < 2:
        return None
    error = float(np.std(known, ddof=1)) / math.sqrt(len(known))
    mean = float(np.mean(known))
    if error == 0:
        return float(mean == 0)
    from scipy.special import stdtr

    return 2 * float(stdtr(len(known) - 1, -abs(mean) / error))


def holm(p_values: Known) -> list[float | None]:
    """Adjusted p values of one family (Holm, 1979): the r-th smallest of m times m - r + 1, never falling, at most 1.

    What is None was not tested and does not count.
    """
    tested = sorted((p, number) for number, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, number) in enumerate(tested):
        highest = max(highest, min(1.0, (len(tested) - rank) * p))
        adjusted[number] = highest
    return adjusted


def sigma(runs: Known) -> float | None:
    """The standard deviation (n - 1) of the known values; None of fewer than two."""
    known = _known(runs)
    return float(np.std(known, ddof=1)) if len(known) > 1 else None


@dataclass(frozen=True)
class Effect:
    """A mean paired difference and what stands beside it.

    Attributes:
        mean: with half its t interval, and the number of seeds.
        sigma: of single runs of the control, where that is random; sigmas: the mean in it.
    """

    mean: Mean
    bootstrap: Bootstrap | None
    p: float | None
    sigma: float | None

    @staticmethod
    def of(differences: Known, control_runs: Known = ()) -> "Effect":
        """Of differences, one of a seed; ``control_runs``: the same quantity of every run of a random control."""
        return Effect(Mean.of(differences), bootstrap(differences), p_value(differences), sigma(control_runs))

    @property
    def sigmas(self) -> float | None:
        if self.mean.mean is None or not self.sigma:
            return None
        return self.mean.mean / self.sigma


def _known(values: Known) -> np.ndarray:
    return np.array([value for value in values if value is not None], np.float64)
