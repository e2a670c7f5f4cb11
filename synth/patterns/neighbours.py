"""Which of many sets are close to another: candidates first, so that few need to be compared, and each of these fast.

Sets of a Jaccard index of at least t share at least t of the larger one. With the members of both sorted by the same
order, the first that they share is then among the first ``n - ceil(t n) + 1`` of each set of n; sorted by rarity, few
other sets have one of these (prefix filtering). No pair is missed; what is found must still be compared. Where sets
have so much in common that this finds most of them, all are candidates, and it is the comparing that counts: of sets as
bits of one number, which is exact.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import NamedTuple

SLACK = 1e-9
"""Taken off t, so that no rounding loses a pair."""
BITS = 1 << 14
"""Members that have a bit, the most frequent: text has fewer triples of letters, and a set then takes 2 KiB."""
DEAR = 8
"""Comparing a set costs so many times what looking it up does."""


class Coded(NamedTuple):
    """A set of ``size`` members, as bits and the members that have none; what no other set has is in neither."""

    bits: int
    rest: frozenset[str]
    size: int


class Coding:
    """Of all sets that will be compared with each other."""

    def __init__(self, sets: Iterable[frozenset[str]]):
        counts = Counter(member for one in sets for member in one)
        common = sorted(counts, key=lambda member: (-counts[member], member))
        self.rank = {member: len(common) - n for n, member in enumerate(common)}
        """Rare ones first."""
        self._bits = {member: 1 << n for n, member in enumerate(common[:BITS]) if counts[member] > 1}
        self._rest = frozenset(member for member in common[BITS:] if counts[member] > 1)

    def of(self, members: frozenset[str]) -> Coded:
        return Coded(
            sum(map(self._bits.__getitem__, members & self._bits.keys())), members & self._rest, len(members)
        )


def jaccard(a: Coded, b: Coded) -> float:
    """Of two sets of one coding, of which one has a member."""
    shared = (a.bits & b.bits).bit_count()
    if a.rest and b.rest:
        shared += len(a.rest & b.rest)
    return shared / (a.size + b.size - shared)


class Close:
    """An index of sets by number.

    Args:
        rank: of every member of all sets that will be added or asked for, rare ones first.
        least: Jaccard index from which a set must be found; from 0 down every one is.
    """

    def __init__(self, rank: dict[str, int], least: float):
        self._rank = rank
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
        having = [self._having.get(rank, []) for rank in self._rarest(members)]
        if sum(map(len, having)) > DEAR * self._size:
            return range(self._size)
        return sorted(set().union(*having))
