"""What a sample repeats: spans of tokens that come back, next to each other or at a distance.

Comparing a row with itself shifted by d tokens gives runs of equal tokens. A run at least d long is a tiling: a
period of d tokens again and again. A shorter one is a span that stands twice; all runs together name every span
worth counting. n² comparisons for n tokens, many shifts at a time: 2,049 tokens take about 10 ms.
"""

from dataclasses import dataclass

import numpy as np

SHORTEST = 3
"""Tokens in the shortest span that counts."""
SHIFTS = 128
"""Compared at a time."""
MOST_SPANS = 96
"""Spans of a sample that are counted, the longest and the most frequent."""


@dataclass(frozen=True)
class Repeat:
    """A span and where it stands in the row, without overlap.

    Attributes:
        start, length: of the span's first occurrence, in tokens.
        starts: of every occurrence, rising.
        tail: tokens behind the last occurrence that begin it once more, where occurrences touch.
    """

    start: int
    length: int
    starts: tuple[int, ...]
    tail: int = 0

    @property
    def repeated(self) -> int:
        """Tokens that repeat earlier ones."""
        return (len(self.starts) - 1) * self.length + self.tail

    def gaps(self) -> list[tuple[int, int]]:
        """[start, stop) between consecutive occurrences, in tokens."""
        return [(a + self.length, b) for a, b in zip(self.starts, self.starts[1:])]


def repeats(tokens: np.ndarray) -> list[Repeat]:
    """The repeats of a row ``[n]``, most repeated tokens first; ties by place."""
    row = tokens.tolist()
    spans: dict[tuple[int, ...], int] = {}
    seen: dict[tuple[int, ...], int] = {}
    for start, length, shift in _runs(tokens):
        key = tuple(row[start : start + min(length, shift)])
        spans.setdefault(key, start)
        seen[key] = seen.get(key, 0) + 1
    longest = sorted(spans, key=lambda key: (-len(key), spans[key]))[: MOST_SPANS // 2]
    frequent = sorted(spans, key=lambda key: (-seen[key] * len(key), spans[key]))[: MOST_SPANS // 2]
    found = []
    for key in dict.fromkeys(longest + frequent):
        starts = _occurrences(row, key)
        if len(starts) > 1:
            found.append(Repeat(starts[0], len(key), tuple(starts), _tail(row, key, starts)))
    return sorted(found, key=lambda repeat: (-repeat.repeated, -repeat.length, repeat.start))


def _tail(row: list[int], span: tuple[int, ...], starts: list[int]) -> int:
    end = starts[-1] + len(span)
    if starts[-1] - starts[-2] != len(span):
        return 0
    return next(
        (n for n, (a, b) in enumerate(zip(row[end:], span)) if a != b), min(len(row) - end, len(span))
    )


def _runs(tokens: np.ndarray) -> list[tuple[int, int, int]]:
    """(start, length, shift) of every run of at least `SHORTEST` tokens that equal those ``shift`` further on."""
    n = len(tokens)
    row = tokens.astype(np.int64)
    shifted = np.lib.stride_tricks.sliding_window_view(np.append(row, np.full(n, -1)), n)  # [n + 1, n]
    runs: list[tuple[int, int, int]] = []
    # shorter periods (rules of dashes, padding) teach no span
    for first in range(SHORTEST, n - SHORTEST + 1, SHIFTS):
        block = shifted[first : min(first + SHIFTS, n - SHORTEST + 1)]
        equal = np.zeros((len(block), n + 1), bool)  # a last column of False ends every run
        np.equal(block, row, out=equal[:, :n])
        flat = np.concatenate([[False], equal.ravel()])
        borders = np.flatnonzero(flat[1:] != flat[:-1])
        starts, lengths = borders[::2], borders[1::2] - borders[::2]
        starts, lengths = starts[lengths >= SHORTEST], lengths[lengths >= SHORTEST]
        shifts, places = np.divmod(starts, n + 1)
        runs += zip(places.tolist(), lengths.tolist(), (first + shifts).tolist())
    return runs


def _occurrences(row: list[int], span: tuple[int, ...]) -> list[int]:
    """Where ``span`` stands in the row, from the left, without overlap."""
    starts: list[int] = []
    place, n = 0, len(span)
    head, wanted = span[0], list(span)
    while True:
        try:
            place = row.index(head, place)
        except ValueError:
            return starts
        if row[place : place + n] == wanted:
            starts.append(place)
            place += n
        else:
            place += 1
