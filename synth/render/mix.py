"""Which candidates are needed, and which of their rows are taken.

Every pattern has a quota, by weight (largest remainder). Rows are taken by (pattern order, candidate); a row equal to
one taken before is a duplicate. While a pattern is short of its quota, further candidates of it are asked for. A
pattern that gives fewer than 5 % new rows in a whole further range is exhausted, one whose generator fails too often
is dropped: their missing share goes to the others, by weight. What is asked next depends on the rows alone, never on
which process made them when.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from curator.errors import CuratorError
from synth.render.fill import fails_too_often

NEW = 0.05
"""Least share of new rows in a further range."""
LEAST_FURTHER = 64
"""Candidates in a further range, at least: fewer say little about exhaustion."""

Range = tuple[str, int, int]
"""Candidates ``start`` to ``stop - 1`` of a pattern."""


def apportion(count: int, weights: Mapping[str, float]) -> dict[str, int]:
    """``count`` split by weight; parts differ from exact shares by less than 1, the largest remainders round up."""
    total = math.fsum(weights.values())
    shares = {name: count * weight / total for name, weight in weights.items()}
    parts = {name: math.floor(share) for name, share in shares.items()}
    by_remainder = sorted(shares, key=lambda name: parts[name] - shares[name])
    for name in by_remainder[: count - sum(parts.values())]:
        parts[name] += 1
    return parts


@dataclass
class Tried:
    """What is known of one pattern.

    Attributes:
        stop: candidates 0 to ``stop - 1`` were tried; further: start of the newest further range, if there is one.
        rows: (candidate, hash) of those that gave a row, by candidate.
        failures: first reason of each kind that candidates gave no row for, with its number.
        taken: candidates taken; duplicates: rows left out as equal to one taken before.
    """

    stop: int = 0
    further: int | None = None
    rows: list[tuple[int, bytes]] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)
    taken: list[int] = field(default_factory=list)
    duplicates: int = 0

    @property
    def failed(self) -> int:
        return sum(self.failures.values())


def _rows(count: int) -> str:
    return f"{count} distinct {'row' if count == 1 else 'rows'}"


class Mix:
    """Decides; `ranges` and `add` in turn until `ranges` is empty."""

    def __init__(self, count: int, weights: Mapping[str, float]):
        self.count = count
        self.weights = dict(weights)
        self.tried = {name: Tried() for name in weights}
        self.limits: dict[str, int] = {}
        """Exhausted patterns, and how many rows they give."""
        self.dropped: dict[str, str] = {}
        """Patterns whose generator fails too often, and why."""

    @property
    def missing(self) -> int:
        """Rows that no candidate gave yet."""
        return self.count - sum(len(tried.taken) for tried in self.tried.values())

    def ranges(self) -> list[Range]:
        """The candidates to try next; none when the mix is complete.

        Raises:
            CuratorError: all patterns are exhausted or dropped.
        """
        while True:
            quotas = self._quotas()
            self._take(quotas)
            needed: list[Range] = []
            settled = True
            for name, quota in quotas.items():
                tried = self.tried[name]
                missing = quota - len(tried.taken)
                if missing <= 0:
                    continue
                if name in self.limits or self._is_exhausted(tried):
                    self.limits[name] = len(tried.taken)
                    settled = False
                needed.append((name, tried.stop, tried.stop + self._further(tried, missing)))
            if settled:
                for name, start, _ in needed:
                    self.tried[name].further = start or None
                return needed

    def add(
        self,
        name: str,
        stop: int,
        rows: Sequence[tuple[int, bytes]],
        failures: Sequence[str],
        stopped: str | None,
    ) -> None:
        """Tell what the candidates up to ``stop - 1`` gave; ``stopped``: the generator was given up, and why."""
        tried = self.tried[name]
        tried.stop = stop
        tried.rows += rows
        tried.failures.update(failures)
        if stopped is None and fails_too_often(tried.failed, tried.stop):
            stopped = tried.failures.most_common(1)[0][0]
        if stopped is not None and name not in self.dropped:
            self.dropped[name] = stopped
            self.limits.pop(name, None)
            tried.taken, tried.rows = [], []

    def _quotas(self) -> dict[str, int]:
        left = {n: w for n, w in self.weights.items() if n not in self.limits and n not in self.dropped}
        rest = self.count - sum(self.limits.values())
        if rest and not left:
            raise CuratorError(self._nothing_left())
        shared = apportion(rest, left) if left else {}
        both = {**self.limits, **shared}
        return {name: both[name] for name in self.weights if name in both}

    def _take(self, quotas: Mapping[str, int]) -> None:
        seen: set[bytes] = set()
        for name, quota in quotas.items():
            tried = self.tried[name]
            tried.taken, tried.duplicates = [], 0
            for candidate, digest in tried.rows:
                if digest in seen:
                    tried.duplicates += 1
                elif len(tried.taken) < quota:
                    seen.add(digest)
                    tried.taken.append(candidate)
                if len(tried.taken) == quota and name not in self.limits:
                    break  # of an exhausted pattern, all duplicates are counted

    def _is_exhausted(self, tried: Tried) -> bool:
        """Only asked of a pattern that is short, so that all its candidates were looked at."""
        if tried.further is None:
            return False
        new = sum(candidate >= tried.further for candidate in tried.taken)
        return new < NEW * (tried.stop - tried.further)

    def _further(self, tried: Tried, missing: int) -> int:
        """How many candidates should give the missing rows."""
        if not tried.stop:
            return missing
        share = max(0.25, len(tried.taken) / tried.stop)
        return max(LEAST_FURTHER, math.ceil(1.1 * missing / share))

    def _nothing_left(self) -> str:
        there = sum(self.limits.values())
        lines = [f"{_rows(n)} of {name}" for name, n in self.limits.items()]
        lines += [
            f"{name} was dropped, its generator fails: {why.splitlines()[0]}"
            for name, why in self.dropped.items()
        ]
        more = f"\n  and {len(lines) - 12} more patterns" if len(lines) > 12 else ""
        fewer = f"ask for at most {there} (--count), or " if there else ""
        return (
            f"the generators give {_rows(there)} in all, {self.count} were asked for; {fewer}"
            "generate more patterns, or patterns with more to draw from:\n  " + "\n  ".join(lines[:12]) + more
        )
