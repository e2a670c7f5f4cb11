"""How redundant a row is to a codec that knows nothing else: bytes / compressed bytes.

The bytes are the token ids, two each (four where the highest id of the asked samples needs more), little-endian; the
codec is deflate (zlib, level 9, without header), row by row. It replaces what a row repeats within 32 KiB, which is
more than a row of 16,000 tokens, and every Python has it. Refused: LZMA, which orders rows alike in twice the time
(``benchmarks/sample_statistics.py``); bzip2, whose fixed cost is much of a row of 100 tokens; all rows together, where
a row's score would hang on its neighbours.
"""

import zlib
from typing import Any

import numpy as np

from curator.statistics.base import Asked, Statistic

LEVEL = 9
RAW = -15
"""Deflate alone, with its largest window: header and checksum are six bytes that say nothing."""


class Compression(Statistic):
    """Bytes of the token ids per compressed byte."""

    name = "compression"
    says = "bytes of the token ids per compressed byte (deflate)"
    higher = "more redundant"

    def __init__(self, highest: int):
        """``highest``: id among all samples that are compared."""
        self.token_bytes = 2 if highest < 1 << 16 else 4

    @classmethod
    def prepared(cls, asked: Asked) -> "Compression":
        return cls(asked.highest)

    def recorded(self) -> dict[str, Any]:
        return {"codec": "deflate", "level": LEVEL, "token_bytes": self.token_bytes}

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """[n] ratios."""
        as_bytes = rows.astype(f"<u{self.token_bytes}")
        return np.array([self._ratio(row.tobytes()) for row in as_bytes], np.float64)

    @staticmethod
    def _ratio(row: bytes) -> float:
        codec = zlib.compressobj(LEVEL, zlib.DEFLATED, RAW)
        return len(row) / (len(codec.compress(row)) + len(codec.flush()))
