"""Rows of equal width at given byte offsets of one byte stream, which may lie split over several files.

Where the rows follow each other (every released corpus), the whole rows of each file are one reshaped
view of its memory map: a *span*. A row cut by the end of a file is copied once, at opening, into a
span of its own, so that a slice is a view wherever it lies in one file. The files are never joined.
A span that a split at an odd byte leaves unaligned is copied as it is read.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from curator.corpus.files import first_difference
from curator.corpus.whole import Numbers, check_apart
from curator.errors import CuratorError


class PointedRows:
    """Reads rows ``[n, width]`` of ``dtype``; row ``i`` begins at byte ``offsets[i] * unit``.

    Args:
        files: the pieces of the byte stream, in order.
        offsets: int64 ``[n]``, usually a memory map itself.
        index_file: the file the offsets came from, for errors.
        mend: what to do when the files end too early, for errors.
    """

    def __init__(
        self,
        files: Sequence[Path],
        offsets: np.ndarray,
        width: int,
        dtype: np.dtype,
        *,
        unit: int = 1,
        index_file: Path,
        mend: str,
    ):
        self.files, self.width, self.dtype = list(files), width, dtype
        self._offsets, self._unit = offsets, unit
        self._index_file, self._mend = index_file, mend
        self._row_bytes = width * dtype.itemsize
        self._bounds = np.cumsum([0, *(file.stat().st_size for file in files)])  # of the files, in the stream
        step = self._row_bytes // unit
        self.contiguous = first_difference(offsets, int(offsets[0]), step) is None
        self.needed_bytes = self._check_extent(index_file, mend)
        self._maps = [
            np.asarray(np.memmap(file, np.uint8, mode="r")) if file.stat().st_size else np.empty(0, np.uint8)
            for file in files
        ]
        self._spans = self._find_spans() if self.contiguous else []
        self._span_starts = np.array([start for start, _ in self._spans], dtype=np.int64)

    @property
    def total_bytes(self) -> int:
        """Bytes in all files together."""
        return int(self._bounds[-1])

    def check_index(self) -> None:
        """Refuse rows that lie over each other; those that follow each other were seen not to at opening."""
        if not self.contiguous:
            rows = Numbers(self._index_file, "row", self.files[0].name, self._mend)
            check_apart(rows, self._offsets, self._row_bytes // self._unit)

    def read_range(self, start: int, stop: int) -> np.ndarray:
        """Rows ``start`` to ``stop - 1``: a view where they lie whole in one file, else a copy."""
        if start == stop or not self.contiguous:
            return self.read_samples(np.arange(start, stop))
        first, last = (int(k) for k in self._span_of(np.array([start, stop - 1])))
        parts = []
        for begin, rows in self._spans[first : last + 1]:
            parts.append(rows[max(start - begin, 0) : stop - begin])
        return np.require(parts[0], requirements="A") if len(parts) == 1 else np.concatenate(parts)

    def read_samples(self, samples: np.ndarray) -> np.ndarray:
        """Copies of these rows, in the order given."""
        out = np.empty((len(samples), self.width), self.dtype)
        if not self.contiguous:
            for row, sample in enumerate(samples.tolist()):
                out[row] = self._read_row(self._offset(sample))
            return out
        span_of = self._span_of(samples)
        for k in np.unique(span_of).tolist():
            here = span_of == k
            begin, rows = self._spans[k]
            out[here] = rows[samples[here] - begin]
        return out

    def file_of(self, sample: int) -> Path:
        """The file that holds the first byte of this row."""
        return self.files[int(np.searchsorted(self._bounds, self._offset(sample), side="right")) - 1]

    def _offset(self, sample: int) -> int:
        return int(self._offsets[sample]) * self._unit

    def _span_of(self, samples: np.ndarray) -> np.ndarray:
        return np.searchsorted(self._span_starts, samples, side="right") - 1

    def _check_extent(self, index_file: Path, mend: str) -> int:
        """Bytes the rows need; an error when they reach outside the files."""
        if self.contiguous:
            lowest, highest = int(self._offsets[0]), int(self._offsets[-1])
        else:
            lowest, highest = int(self._offsets.min()), int(self._offsets.max())
        if lowest < 0:
            row = int(np.argmax(self._offsets < 0))
            raise CuratorError(
                f"{index_file}: row {row} begins at {self._offset(row)}, before the data begin"
            )
        needed = highest * self._unit + self._row_bytes
        if needed > self.total_bytes:
            last_whole = (self.total_bytes - self._row_bytes) // self._unit
            row = int(np.argmax(self._offsets > last_whole))
            names = str(self.files[0])
            if len(self.files) > 1:
                names += f" to {self.files[-1].name} ({len(self.files)} files)"
            raise CuratorError(
                f"{names}: cut short: {index_file.name} says {needed:,} bytes, there are "
                f"{self.total_bytes:,}; row {row} is the first that is cut. {mend}"
            )
        return needed

    def _find_spans(self) -> list[tuple[int, np.ndarray]]:
        """(first row, rows ``[k, width]``), in order: the whole rows of each file, and each cut row."""
        n, origin = len(self._offsets), self._offset(0)
        spans: list[tuple[int, np.ndarray]] = []
        done = 0  # rows that lie in spans already
        for k, data in enumerate(self._maps):
            begin, end = int(self._bounds[k]), int(self._bounds[k + 1])
            first = max(-((origin - begin) // self._row_bytes), 0)  # rounded up
            last = min((end - origin) // self._row_bytes, n)
            if last <= first:
                continue
            spans += [(row, self._straddling(row)) for row in range(done, first)]
            local = origin + first * self._row_bytes - begin
            whole = data[local : local + (last - first) * self._row_bytes]
            spans.append((first, whole.view(self.dtype).reshape(last - first, self.width)))
            done = last
        return spans + [(row, self._straddling(row)) for row in range(done, n)]

    def _straddling(self, row: int) -> np.ndarray:
        return self._read_row(self._offset(row))[None]

    def _read_row(self, start: int) -> np.ndarray:
        """A copy of the row that begins at byte ``start`` of the stream, across any number of files."""
        stop, parts = start + self._row_bytes, []
        k = int(np.searchsorted(self._bounds, start, side="right")) - 1
        while start < stop:
            end = min(stop, int(self._bounds[k + 1]))
            base = int(self._bounds[k])
            parts.append(self._maps[k][start - base : end - base])
            start, k = end, k + 1
        return np.concatenate(parts).view(self.dtype)
