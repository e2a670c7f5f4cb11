"""Which of many sets may be close to another: candidates, so that few need to be compared.

Sets of a Jaccard index of at least t share at least t of the larger one. With the members of both sorted by the same
order, the first that they share is then among the first ``n - ceil(t n) + 1`` of each set of n; sorted by rarity, few
other sets have one of these (prefix filtering). No pair is missed; what is found must still be compared.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable

SLACK = 1e-9
"""Taken off t, so that no rounding loses a pair."""


class Close:
    """An index of sets by number.

    Args:
        sets: all that will be added or asked for, to know what is rare.
        least: Jaccard index from which a set must be found; from 0 down every one is.
    """

    def __init__(self, sets: Iterable[frozenset[str]], least: float):
        counts = Counter(member for one in sets for member in one)
        self._rank = {
            member: n for n, (member, _) in enumerate(sorted(counts.items(), key=lambda p: (p[1], p[0])))
        }
        self._least = least - SLACK
        self._having: defaultdict[int, list[int]] = defaultdict(list)
        self._size = 0

    def _rarest(self, members: frozenset[str]) -> list[int]:
        shared = max(1, math.ceil(self._least * len(members)))
        return sorted(map(self._rank.__getitem__, members))[: len(members) - shared + 1]

    def add(self, members: frozenset[str]) -> None:
        """The next number is this set's."""
        for rank in self._rarest(members):
            self._having[rank].append(self._size)
        self._size += 1

    def candidates(self, members: frozenset[str]) -> Iterable[int]:
        """Rising numbers, among them those of all sets that are close to this one."""
        if self._least <= 0:
            return range(self._size)
        return sorted({number for rank in self._rarest(members) for number in self._having.get(rank, ())})
