"""Places of a template that repeat each other: equal, in other case, or with a part in common.

Values that stood together are compared row by row. Where two places are equal in nearly all rows, one becomes a copy
of the other; where they share a varying part, both are cut around it and the part is shared. What they would share by
chance or by habit, and so with any other row too, is no reason.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from synth.distill.miner.infer import OUTLIERS
from synth.patterns.field import CASES

ROWS = 60
"""Rows looked at before all of them are."""
SHORTEST = 3
"""Characters of a shared part on average."""
MOST_CUTS = 8
"""Shared parts of a template."""
_UNITS = re.compile(r"[^\W\d_]+|\d+|\s+|.", re.DOTALL)


@dataclass(frozen=True)
class Place:
    """Where a value stands: its own (``values``, one per row), or a copy.

    Attributes:
        of: the place that it copies; case: in which case.
    """

    values: tuple[str, ...]
    of: int | None = None
    case: str | None = None


Template = list[int]
"""Numbers of places, in order."""


@dataclass
class Related:
    """``order`` [places of each slot] and what stands there; ``rows`` are those that fit, by number, rising."""

    places: list[Place]
    order: list[Template]
    rows: list[int]


def relate(slots: Sequence[Sequence[str]]) -> Related:
    """Cut ``slots`` [slots][rows] into places, some of which copy others."""
    n = len(slots[0]) if slots else 0
    made = _Relating([list(slot) for slot in slots], list(range(n)))
    while made.cuts < MOST_CUTS and made.step():
        pass
    return made.result()


class _Relating:
    def __init__(self, slots: list[list[str]], rows: list[int]):
        self.values = slots
        """[places][rows]"""
        self.copies: dict[int, tuple[int, str | None]] = {}
        self.order: list[Template] = [[number] for number in range(len(slots))]
        self.rows = rows
        self.cuts = 0
        self.refused: set[tuple[int, int]] = set()

    def own(self) -> list[int]:
        """Places with values of their own, in the order of the template."""
        return [
            p for template in self.order for p in template if p not in self.copies and any(self.values[p])
        ]

    def step(self) -> bool:
        """One more relation; False where there is none."""
        own = self.own()
        for k, first in enumerate(own):
            for second in own[k + 1 :]:
                if (first, second) in self.refused:
                    continue
                if self._equal(first, second) or self._shared(first, second):
                    self.cuts += 1
                    return True
                self.refused.add((first, second))
        return False

    def _equal(self, first: int, second: int) -> bool:
        a, b = self.values[first], self.values[second]
        if len(set(a)) < 2:
            return False
        for case in (None, *CASES):
            change = _changer(case)
            fits = [change(x) == y for x, y in zip(a, b)]
            if _nearly_all(fits) and sum(bool(x) for x in a) > 0.5 * len(a):
                self._keep(fits)
                self.copies[second] = first, case
                return True
        return False

    def _shared(self, first: int, second: int) -> bool:
        some = range(0, len(self.rows), max(1, len(self.rows) // ROWS))
        copied_elsewhere = {source for source, _ in self.copies.values()} & {first, second}
        if len(self.rows) < 3 or copied_elsewhere:
            return False
        for case in (None, *CASES):
            pairs = [(self.values[first][r], self.values[second][r]) for r in some]
            if not _tells(pairs, case):
                continue
            cuts = [_cut(a, b, case) for a, b in zip(self.values[first], self.values[second])]
            fits = [cut is not None for cut in cuts]
            parts = [cut for cut in cuts if cut is not None]
            if not _nearly_all(fits) or len({cut[0][1] for cut in parts}) < 2:
                continue
            self._keep(fits)
            source = self._split(first, [cut[0] for cut in parts])
            copied = self._split(second, [cut[1] for cut in parts])
            self.copies[copied] = source, case
            return True
        return False

    def _keep(self, fits: Sequence[bool]) -> None:
        self.rows = [row for row, fit in zip(self.rows, fits) if fit]
        self.values = [[value for value, fit in zip(values, fits) if fit] for values in self.values]

    def _split(self, place: int, cuts: Sequence[tuple[str, str, str]]) -> int:
        """Put three places in the place of one; the number of the middle one."""
        middle = len(self.values)
        self.values += [[cut[1] for cut in cuts], [cut[0] for cut in cuts], [cut[2] for cut in cuts]]
        for template in self.order:
            if place in template:
                at = template.index(place)
                template[at : at + 1] = [middle + 1, middle, middle + 2]
        return middle

    def result(self) -> Related:
        places = [
            Place(tuple(values), *self.copies.get(number, (None, None)))
            for number, values in enumerate(self.values)
        ]
        return Related(places, self.order, self.rows)


def _changer(case: str | None) -> Callable[[str], str]:
    return (lambda value: value) if case is None else lambda value: str(getattr(value, case)())


def _nearly_all(fits: Sequence[bool]) -> bool:
    return sum(fits) >= (1 - OUTLIERS) * len(fits)


def _tells(pairs: Sequence[tuple[str, str]], case: str | None) -> bool:
    """Whether the two sides of a row share more than those of different rows do."""
    shared = [_length(_cut(a, b, case)) for a, b in pairs]
    if sum(n > 0 for n in shared) < (1 - OUTLIERS) * len(shared) or sum(shared) < SHORTEST * len(shared):
        return False
    if case is not None and sum(shared) <= sum(_length(_cut(a, b, None)) for a, b in pairs):
        return False  # the same case does as well
    strange = []
    for k, (a, _) in enumerate(pairs):
        half = len(pairs) // 2  # rows far away are of other texts
        others = (pairs[(k + half + step) % len(pairs)] for step in range(len(pairs)))
        other = next((pair for pair in others if pair[0] != a), None)
        if other is not None:
            strange.append(_length(_cut(a, other[1], case)))
    return bool(strange) and sum(shared) / len(shared) >= 1.5 * sum(strange) / len(strange) + 1


Cut = tuple[tuple[str, str, str], tuple[str, str, str]]


def _cut(a: str, b: str, case: str | None) -> Cut | None:
    """Both strings around the longest part that they share, in whole words and marks."""
    units, others = _UNITS.findall(a), _UNITS.findall(b)
    change = _changer(case)
    matcher = SequenceMatcher(None, [change(unit) for unit in units], others, autojunk=False)
    found = matcher.find_longest_match(0, len(units), 0, len(others))
    part = units[found.a : found.a + found.size]
    copied = others[found.b : found.b + found.size]
    if not any(c.isalnum() for unit in part for c in unit) or change("".join(part)) != "".join(copied):
        return None
    return (
        ("".join(units[: found.a]), "".join(part), "".join(units[found.a + found.size :])),
        ("".join(others[: found.b]), "".join(copied), "".join(others[found.b + found.size :])),
    )


def _length(cut: Cut | None) -> int:
    return 0 if cut is None else len(cut[0][1])
