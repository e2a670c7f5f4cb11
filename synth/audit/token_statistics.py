"""Statistics of rows that need no model: what a row repeats, what could be copied, how new it is.

repeated: share of a row's tokens that lie in a 4-gram which stands elsewhere in the same row too (overlaps count).
copyable: share of tokens that equal what followed the last earlier occurrence of the two tokens before them, in that
row: what a perfect induction head of order two would get right.
found: share of a row's 13-grams that stand in given other rows: how much of it is a copy of them.
All are plain numpy, sorted per row; n-grams are compared by 64-bit keys (`gram_keys`).
"""

import numpy as np

GRAM = 4
"""Tokens of the spans whose repetition is counted."""
CONTEXT = 2
"""Tokens before the one that may be copied."""
LONG = 13
"""Tokens of a span that tells a copy from chance (the length usual in looking for contaminated test sets)."""
_HASH = np.uint64(0x9E3779B97F4A7C15)


def gram_keys(rows: np.ndarray, n: int, base: int | None = None) -> np.ndarray:
    """[rows, width - n + 1] uint64 keys of the n-grams of ``rows`` [rows, width]; equal n-grams have equal keys.

    Exact where ``n`` ids fit into 64 bits, else a hash, in which two different ones are equal about never.

    Args:
        base: of the keys; give the same where keys of several arrays are compared. None: chosen by the largest id.
    """
    last = rows.shape[1] - n + 1
    if last < 1 or not len(rows):
        return np.zeros((len(rows), 0), np.uint64)
    multiplier = np.uint64(base) if base is not None else _base(int(rows.max()), n)
    keys = np.zeros((len(rows), last), np.uint64)
    for place in range(n):
        keys *= multiplier
        keys += rows[:, place : place + last].astype(np.uint64)
    return keys


def _base(largest: int, n: int) -> np.uint64:
    bits = max(1, largest.bit_length())
    return np.uint64(1 << bits) if bits * n <= 64 else _HASH


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
    n, width = rows.shape
    keys = gram_keys(rows, CONTEXT)[:, :-1]  # [n, width - CONTEXT], the context of token CONTEXT + place
    hit = np.zeros((n, width), bool)
    if not keys.shape[1]:
        return hit
    order = np.argsort(keys, axis=1, kind="stable")
    ordered = np.take_along_axis(keys, order, 1)
    same = ordered[:, 1:] == ordered[:, :-1]
    follows = np.take_along_axis(rows[:, CONTEXT:], order, 1)
    right = np.zeros(keys.shape, bool)
    right[:, 1:] = same & (follows[:, 1:] == follows[:, :-1])
    placed = np.zeros(keys.shape, bool)
    np.put_along_axis(placed, order, right, 1)
    hit[:, CONTEXT:] = placed
    return hit


def copyable_share(rows: np.ndarray) -> np.ndarray:
    """[rows] share of tokens that are `copyable`."""
    return copyable(rows).mean(1)


def found_share(rows: np.ndarray, others: np.ndarray, n: int = LONG) -> np.ndarray:
    """[rows] share of each row's ``n``-grams that stand somewhere in ``others`` [rows, width]."""
    keys = gram_keys(rows, n, base=int(_HASH))
    if not keys.shape[1]:
        return np.zeros(len(rows))
    return np.isin(keys, gram_keys(others, n, base=int(_HASH))).mean(1)
