"""Means over seeds with Student's t interval, and differences paired by seed.

A seed changes the corpus' order and the weights, and with them when a head forms, by more than most arms do: so arms
are compared within a seed, and the differences are averaged. Refused: taking all runs of a seed as independent.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Mean:
    """A mean over seeds; ``half`` is half its interval (None for one seed), ``n`` how many seeds it is over."""

    mean: float | None
    half: float | None
    n: int

    @staticmethod
    def of(values: Iterable[float | None], level: float = 0.95) -> "Mean":
        """Over the values that are known: mean ± t(n - 1) · s / √n."""
        known = [value for value in values if value is not None]
        n = len(known)
        if n < 2:
            return Mean(known[0] if known else None, None, n)
        from scipy.special import stdtrit  # what scipy.stats.t asks; that module takes a second to import

        half = float(stdtrit(n - 1, (1 + level) / 2)) * float(np.std(known, ddof=1)) / math.sqrt(n)
        return Mean(float(np.mean(known)), half, n)

    def text(self, digits: int = 0) -> str:
        """``+12 ± 3``; of one seed ``+12``."""
        if self.mean is None:
            return "never"
        half = "" if self.half is None else f" ± {self.half:.{digits}f}"
        return f"{self.mean:+.{digits}f}{half}"


def paired(ours: Sequence[float | None], theirs: Sequence[float | None]) -> list[float | None]:
    """Ours minus theirs, seed by seed; None where one of the two is not known."""
    return [None if a is None or b is None else a - b for a, b in zip(ours, theirs, strict=True)]
