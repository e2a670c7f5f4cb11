"""Diversity exhaustion: how little is new in the second half of the rows, and how well all of them compress.

For n = 16, 32, 64, … rows: the share of distinct 4-grams of tokens among all of them, the share of new ones in the
second half (4-grams that the first half does not hold), and the compression ratio of the token bytes. A generator
whose rows repeat themselves has a falling share of new 4-grams long before it gives a row twice. The compressor is
LZMA with a dictionary as large as the rows: one with a small window, such as zlib's of 32 KiB, cannot see that a row
comes back a thousand rows later.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

FIRST = 16
"""Fewest rows that are looked at."""
MOST_TOKENS = 1 << 24
"""Most tokens that are looked at (8192 rows of 2048)."""
GRAM = 4

ReadRows = Callable[[int], np.ndarray]
"""The first n rows [n, width], in an order that is random or by influence."""


@dataclass(frozen=True)
class Point:
    """What n rows hold.

    Attributes:
        distinct: share of distinct 4-grams; new: share of 4-grams in the second half that are its own or its first.
        compression: bytes / compressed bytes; None where this Python has no LZMA.
    """

    rows: int
    distinct: float
    new: float
    compression: float | None


def doublings(available: int, row_width: int) -> list[int]:
    """16, 32, 64, … and last ``available``, within `MOST_TOKENS`."""
    most = max(1, min(available, MOST_TOKENS // row_width))
    counts = [FIRST << k for k in range(40) if FIRST << k < most]
    return [*counts, most]


def diversity(read: ReadRows, counts: list[int]) -> list[dict[str, Any]]:
    """One `Point` per count, as JSON."""
    rows = read(counts[-1])
    wide = rows.astype("<u2" if rows.max() < 1 << 16 else "<u4")
    points = []
    for n in counts:
        half = n // 2
        all_distinct, total = _distinct(rows[:n])
        first, first_total = _distinct(rows[:half]) if half else (0, 0)
        points.append(
            asdict(
                Point(
                    rows=n,
                    distinct=all_distinct / max(1, total),
                    new=(all_distinct - first) / max(1, total - first_total),
                    compression=compression(wide[:n].tobytes()),
                )
            )
        )
    return points


def _distinct(rows: np.ndarray) -> tuple[int, int]:
    """(distinct, all) 4-grams within rows."""
    last = rows.shape[1] - GRAM + 1
    if last < 1:
        return 0, 0
    base = np.uint64(
        1 << 16 if rows.max() < 1 << 16 else 0x9E3779B97F4A7C15
    )  # exact for small ids, else a hash
    keys = np.zeros((len(rows), last), np.uint64)
    for place in range(GRAM):
        keys *= base
        keys += rows[:, place : place + last].astype(np.uint64)
    return len(np.unique(keys)), keys.size


def compression(data: bytes) -> float | None:
    """Bytes / compressed bytes."""
    try:
        import lzma
    except ImportError:  # a Python that was built without it
        return None
    size = max(1 << 16, len(data))
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 1, "dict_size": size}]
    return len(data) / len(lzma.compress(data, format=lzma.FORMAT_RAW, filters=filters))
