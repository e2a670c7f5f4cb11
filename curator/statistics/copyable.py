"""How much of a row its own earlier bigrams predict (`curator.corpus.repetition`)."""

import numpy as np

from curator.corpus.repetition import copyable_share
from curator.statistics.base import Asked, Statistic


class Copyable(Statistic):
    """Share of the tokens that a row's own earlier bigrams predict."""

    name = "copyable"
    says = "share of the tokens that are what followed the last earlier occurrence of the token before them"
    higher = "more of the sample can be copied from its own beginning"

    @classmethod
    def prepared(cls, asked: Asked) -> "Copyable":
        return cls()

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """[n], of rows [n, width]."""
        return copyable_share(rows)
