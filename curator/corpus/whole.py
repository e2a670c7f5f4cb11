"""Index arrays read whole: does every one of millions of entries say what it must? Asked before long work.

Opening a corpus looks at some places of its index arrays, since at Pythia's size they take gigabytes, and every entry
is checked for its range when a row is read. Neither sees an entry that is possible and wrong: a published
``shuffle_idx`` of Pythia's is zeros from its middle on, which are rows like any other. So what is a permutation by its
making is checked to be one. Entries are read in order, in chunks, and ticked off in an array of at most ``WINDOW``
bytes; longer maps are gone through several times.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from curator.errors import CuratorError
from curator.progress import Advance, Progress, progress

CHUNK = 1 << 22
"""Entries read at a time."""
WINDOW = 1 << 28
"""Entries ticked off in one pass, at a byte each."""
SHOWN_ENTRIES = 1 << 24
"""A check of more entries than this (about a second) shows its progress."""


def shown(
    description: str, total: int, unit: str = "entries", worth_it: bool | None = None
) -> AbstractContextManager[Advance]:
    """Progress of a long check; a short one shows none."""
    long = total > SHOWN_ENTRIES if worth_it is None else worth_it
    return progress(description, total, unit) if long else Progress().task(description, total)


@dataclass(frozen=True)
class Numbers:
    """What an index array is, for errors.

    Attributes:
        file: where it comes from; what: one of the things that its entries number, in words.
        place: what has those things; mend: what to do where an entry is wrong.
    """

    file: Path
    what: str
    place: str
    mend: str

    def check_range(self, values: np.ndarray, n: int, entries: np.ndarray | int = 0) -> None:
        """Refuse values outside 0 to n - 1; ``entries`` are their places in the file, or that of the first."""
        wrong = (values < 0) | (values >= n)
        if wrong.any():
            at = int(np.argmax(wrong))
            entry = entries + at if isinstance(entries, int) else int(entries[at])
            raise CuratorError(
                f"{self.file}: entry {entry} is {self.what} {values[at]}, but {self.place} has {self.what}s 0 to "
                f"{n - 1:,}; {self.mend}"
            )

    def repeated(self, second: int, first: int, value: int, besides: str = "") -> CuratorError:
        """The error for a value that must be there once and is there twice."""
        return CuratorError(
            f"{self.file}: no permutation: entry {second:,} is {self.what} {value:,}, and so is entry {first:,}"
            f"{besides}; {self.mend}"
        )


def check_permutation(numbers: Numbers, values: np.ndarray) -> None:
    """Refuse ``values`` [n] that are not the numbers 0 to n - 1, each once.

    Raises:
        CuratorError: names the first entry out of range, or the first that repeats another, with both places.
    """
    n, absent = len(values), 0
    windows = _windows(0, n, WINDOW)
    with shown(f"checking {numbers.file.name}", n * len(windows)) as advance:
        for low, high in windows:
            seen = np.zeros(high - low, bool)
            for start, part in _chunks(values):
                if low == 0:
                    numbers.check_range(part, n, start)
                seen[_within(part, low, high)[1]] = True
                advance(len(part))
            absent += len(seen) - int(np.count_nonzero(seen))
    if absent:
        second, first = first_repeat(values)
        besides = f"; {absent:,} of {n:,} {numbers.what}s are missing"
        raise numbers.repeated(second, first, int(values[second]), besides)


def first_repeat(values: np.ndarray) -> tuple[int, int]:
    """(place, place of the same value before it) of the first value that comes again; there must be one.

    The values are at least 0, and as a whole fewer than they are many.
    """
    found = len(values)
    for low, high in _windows(0, len(values), WINDOW):
        seen = np.zeros(high - low, bool)
        for start, part in _chunks(values[:found]):
            place, within = _within(part, low, high)
            order = np.argsort(within, kind="stable")
            again = seen[within]
            again[order[1:]] |= within[order[1:]] == within[order[:-1]]
            if again.any():
                found = start + int(place[np.argmax(again)])
                break
            seen[within] = True
    for start, part in _chunks(values[:found]):
        same = part == values[found]
        if same.any():
            return found, start + int(np.argmax(same))
    raise AssertionError("a value that was seen is not there")


def check_equally_often(numbers: Numbers, values: np.ndarray, n: int) -> None:
    """Refuse ``values`` that are not all numbers of a range within 0 to n - 1, each equally often.

    Raises:
        CuratorError: names an entry out of range, or two of the numbers and how often each is there.
    """
    low, high = n, 0
    for start, part in _chunks(values):
        numbers.check_range(part, n, start)
        low, high = min(low, int(part.min())), max(high, int(part.max()) + 1)
    each, over = divmod(len(values), high - low)
    kind = np.dtype(
        np.uint8 if each < 256 else np.uint32
    )  # where one wraps, another is too low: the sum is known
    windows = _windows(low, high, WINDOW // kind.itemsize)
    with shown(f"checking {numbers.file.name}", len(values) * len(windows)) as advance:
        for begin, end in windows:
            counts = np.zeros(end - begin, kind)
            for _, part in _chunks(values):
                np.add.at(counts, _within(part, begin, end)[1], kind.type(1))
                advance(len(part))
            if over or (counts != each).any():
                least, most = begin + int(counts.argmin()), begin + int(counts.argmax())
                what = numbers.what
                raise CuratorError(
                    f"{numbers.file}: {what} {least:,} is there {_count(values, least):,} times, {what} {most:,} "
                    f"{_count(values, most):,} times; all {what}s from {low:,} to {high - 1:,} should be there equally "
                    f"often; {numbers.mend}"
                )


def check_apart(numbers: Numbers, begins: np.ndarray, widths: np.ndarray | int, unit: int = 1) -> None:
    """Refuse stretches that begin at ``begins`` [n], ``widths * unit`` long, and lie over each other.

    Those in rising order, as every writer leaves them, are read in chunks; others are sorted, all at once.
    """
    widths = np.broadcast_to(widths, begins.shape)
    ends = (
        part[:-1] + widths[start : start + len(part) - 1] * np.int64(unit) <= part[1:]
        for start, part in _chunks(begins, overlap=1)
    )
    if all(apart.all() for apart in ends):
        return
    order = np.argsort(begins, kind="stable")
    ordered = begins[order]
    wrong = np.flatnonzero(ordered[:-1] + widths[order[:-1]] * np.int64(unit) > ordered[1:])
    if wrong.size:
        one, other = sorted(order[wrong[0] : wrong[0] + 2].tolist())
        what = numbers.what
        raise CuratorError(
            f"{numbers.file}: {what} {one:,} begins at {int(begins[one]):,} and {what} {other:,} at "
            f"{int(begins[other]):,}, so that they lie over each other; {numbers.mend}"
        )


def _windows(low: int, high: int, size: int) -> list[tuple[int, int]]:
    return [(begin, min(begin + size, high)) for begin in range(low, high, size)]


def _chunks(values: np.ndarray, overlap: int = 0) -> Iterator[tuple[int, np.ndarray]]:
    """(number of the first, entries), each chunk with ``overlap`` entries of the next."""
    for start in range(0, len(values), CHUNK):
        yield start, values[start : start + CHUNK + overlap]


def _within(part: np.ndarray, low: int, high: int) -> tuple[np.ndarray, np.ndarray]:
    """(places, values less ``low``) of those in [low, high)."""
    place = np.flatnonzero((part >= low) & (part < high))
    return place, part[place].astype(np.int64) - low


def _count(values: np.ndarray, value: int) -> int:
    return sum(int(np.count_nonzero(part == value)) for _, part in _chunks(values))
