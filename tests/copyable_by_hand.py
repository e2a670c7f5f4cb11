"""The share of copyable tokens a second time, by a table of last followers, for `curator.corpus.repetition`."""

from collections.abc import Sequence
from itertools import pairwise


def share_by_table(row: Sequence[int]) -> float:
    """With one token of context."""
    follower: dict[int, int] = {}
    hits = 0
    for before, token in pairwise(row):
        hits += follower.get(before) == token
        follower[before] = token
    return hits / (len(row) - 1)
