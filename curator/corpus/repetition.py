"""How much of a row its own earlier bigrams predict: token t is a hit where it is what followed the last earlier
occurrence of token t-1 in the same row.

    hit(t) = [ row[s + 1] == row[t] ],   s = max { s < t - 1 : row[s] == row[t - 1] },   0 where there is no such s

That is what a perfect induction head gets right, so it is the first thing a ranking for one must be better than.
`repeated` asks any earlier occurrence, not the last alone: whether the bigram (t-1, t) stood in the row before; Hapax
(arXiv 2511.05743) leaves such tokens out of the loss. Places are sorted by (token, place), so that each stands beside
the last earlier place of its token. Refused: a table of the last followers, which has a column per id of the vocabulary
and takes a step of the interpreter per token.
"""

import numpy as np

CHUNK_TOKENS = 1 << 16
"""Rows are looked at in chunks of about so many tokens, which stay in the cache."""
HASH = 0x9E3779B97F4A7C15
"""The base of keys that do not fit into 64 bits."""


def copyable_share(rows: np.ndarray) -> np.ndarray:
    """[n] float64 hits / (width - 1), of rows [n, width]: of the tokens that a model is asked for."""
    size = max(1, CHUNK_TOKENS // rows.shape[1])
    hits = [_hits(rows[start : start + size], 1)[1].sum(1) for start in range(0, len(rows), size)]
    return np.concatenate([np.zeros(0, np.int64), *hits]) / (rows.shape[1] - 1)


def copyable(rows: np.ndarray, context: int = 1) -> np.ndarray:
    """[rows, width] whether each token is what followed the last occurrence of the ``context`` tokens before it."""
    order, right = _hits(rows, context)
    hit = np.zeros(rows.shape, bool)
    placed = np.zeros(order.shape, bool)
    np.put_along_axis(placed, order, right, 1)
    hit[:, context:] = placed
    return hit


def repeated(rows: np.ndarray) -> np.ndarray:
    """[rows, width] whether each token followed the token before it somewhere earlier in its row already."""
    keys = gram_keys(rows, 2)
    order = _by_key(keys) if keys.size else np.zeros(keys.shape, np.int64)
    ordered = np.take_along_axis(keys, order, 1)
    again = np.zeros(keys.shape, bool)
    again[:, 1:] = ordered[:, 1:] == ordered[:, :-1]
    hit = np.zeros(rows.shape, bool)
    np.put_along_axis(hit[:, 1:], order, again, 1)
    return hit


def _hits(rows: np.ndarray, context: int) -> tuple[np.ndarray, np.ndarray]:
    """[rows, places] the places of all contexts by rising context and place, and whether each is a hit."""
    keys = gram_keys(rows, context)[:, :-1]  # of the context of token place + context
    right = np.zeros(keys.shape, bool)
    if not keys.size:
        return np.zeros(keys.shape, np.int64), right
    order = _by_key(keys)
    ordered = np.take_along_axis(keys, order, 1)
    follows = np.take_along_axis(rows[:, context:], order, 1)
    right[:, 1:] = (ordered[:, 1:] == ordered[:, :-1]) & (follows[:, 1:] == follows[:, :-1])
    return order, right


def _by_key(keys: np.ndarray) -> np.ndarray:
    """As `np.argsort`, stable, of the last axis; three times faster where key and place fit into one number."""
    places = keys.shape[1]
    shift = places.bit_length()
    bits = int(keys.max()).bit_length() + shift
    if bits > 64:
        return np.argsort(keys, axis=1, kind="stable")
    kind = np.uint32 if bits <= 32 else np.uint64
    packed = np.bitwise_or(np.left_shift(keys.astype(kind), shift), np.arange(places, dtype=kind))
    packed.sort(axis=1)
    return np.bitwise_and(packed, (1 << shift) - 1).astype(np.int64)


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
    return np.uint64(1 << bits) if bits * n <= 64 else np.uint64(HASH)
