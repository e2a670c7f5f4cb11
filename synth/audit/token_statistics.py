"""Statistics of rows that need no model: what a row repeats, what could be copied, how new it is.

repeated: share of a row's tokens that lie in a 4-gram which stands elsewhere in the same row too (overlaps count).
copyable: share of tokens that equal what followed the last earlier occurrence of the two tokens before them, in that
row: what a perfect induction head of order two would get right.
found: share of a row's 13-grams that stand in given other rows: how much of it is a copy of them.
All are plain numpy, sorted per row; n-grams are compared by 64-bit keys (`gram_keys`). The statistic
`copyable` of a sample (`curator statistics`) is the same after one token.
"""

import numpy as np

from curator.corpus.repetition import HASH, gram_keys
from curator.corpus.repetition import copyable as copyable_after

GRAM = 4
"""Tokens of the spans whose repetition is counted."""
CONTEXT = 2
"""Tokens before the one that may be copied."""
LONG = 13
"""Tokens of a span that tells a copy from chance (the length usual in looking for contaminated test sets)."""


def repeated_share(rows: np.ndarray) -> np.ndarray:
    """[rows] share of tokens within repeated 4-grams, of ``rows`` [rows, width]."""
    n, width = rows.shape
    keys = gram_keys(rows, GRAM)
    if not keys.shape[1]:
        return np.zeros(n)
    order = np.argsort(keys, axis=1, kind="stable")
    ordered = np.take_along_axis(keys, order, 1)
    same = ordered[:, 1:] == ordered[:, :-1]
    again = np.zeros(keys.shape, bool)  # in sorted order
    again[:, 1:] |= same
    again[:, :-1] |= same
    begins = np.zeros(keys.shape, bool)
    np.put_along_axis(begins, order, again, 1)
    inside = np.zeros((n, width), bool)
    for place in range(GRAM):
        inside[:, place : place + keys.shape[1]] |= begins
    return inside.mean(1)


def copyable(rows: np.ndarray) -> np.ndarray:
    """[rows, width] whether each token is what followed the last occurrence of the `CONTEXT` tokens before it."""
    return copyable_after(rows, CONTEXT)


def copyable_share(rows: np.ndarray) -> np.ndarray:
    """[rows] share of tokens that are `copyable`."""
    return copyable(rows).mean(1)


def found_share(rows: np.ndarray, others: np.ndarray, n: int = LONG) -> np.ndarray:
    """[rows] share of each row's ``n``-grams that stand somewhere in ``others`` [rows, width]."""
    keys = gram_keys(rows, n, base=HASH)
    if not keys.shape[1]:
        return np.zeros(len(rows))
    return np.isin(keys, gram_keys(others, n, base=HASH)).mean(1)
