"""What every corpus can do, whatever the files it lies in.

A corpus is training tokens seen as rows of ``seq_length + 1`` tokens in training order; a sample is
one row, named by its 0-based position. Readers say where the rows lie; this class checks every
index before it reaches them, so that no reader clips a slice or wraps a negative index in silence.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from curator.artifacts.fingerprints import fingerprint
from curator.errors import CuratorError

WHOLE_FINGERPRINT_TOKENS = 1 << 24
"""Up to this many tokens, the fingerprint covers every one of them."""
SAMPLED_BLOCKS, BLOCK_ROWS = 256, 4
"""Beyond it, this many evenly spaced blocks of this many rows, the first and the last rows among them."""


class Corpus(ABC):
    """Memory-mapped training tokens, ``len(corpus)`` rows of ``row_width`` tokens.

    Attributes:
        path: what was opened.
        format: the kind of files, in words.
        row_width: tokens in a row, ``seq_length + 1``.
        dtype: token type on disk.
        vocab_size: number of token ids, where the corpus knows it.
        tokenizer_file: the ``tokenizer.json`` that lies with the corpus, if there is one.
        neox_order: whether GPT-NeoX itself delivers these rows in this order, out of its own index maps.
        written: the manifest beside the rows, where the program that wrote them left one: their ``fingerprint``, and
            ``content``, the `whole_fingerprint` (versions before 0.1 wrote none).
    """

    path: Path
    format: str
    row_width: int
    dtype: np.dtype
    vocab_size: int | None = None
    tokenizer_file: Path | None = None
    neox_order: bool = False
    written: Mapping[str, Any] | None = None
    _fingerprint: str | None = None

    @abstractmethod
    def __len__(self) -> int:
        """Number of samples."""

    @abstractmethod
    def read_range(self, start: int, stop: int) -> np.ndarray:
        """Rows ``start`` to ``stop - 1``, already checked: a view of the memory map where possible."""

    @abstractmethod
    def read_samples(self, samples: np.ndarray) -> np.ndarray:
        """Copies of the rows with these int64 sample indices, already checked, in the order given."""

    def rows(self, index: slice | np.ndarray) -> np.ndarray:
        """Tokens ``[n, row_width]`` of a slice (a read-only view where possible) or of sample indices.

        Raises:
            CuratorError: a sample index lies outside ``0 .. len(self) - 1``. Negative indices, and
                slices that reach past the end, are refused rather than wrapped or clipped.
        """
        if isinstance(index, slice):
            start, stop, step = self._slice_bounds(index)
            return self.read_range(start, stop)[::step]
        return self.read_samples(self._sample_indices(index))

    def check_index(self) -> None:
        """Read whole whatever says where the rows lie, which opening looks at in places; asked before long work.

        Raises:
            CuratorError: an entry cannot be right; names it, or the two that contradict each other.
        """
        return None  # by default it is not said, it follows from the width

    def file_of(self, sample: int) -> Path:
        """The file in which the row of ``sample`` begins."""
        return self.path

    def provenance(self, sample: int) -> dict[str, Any] | None:
        """Where the text of ``sample`` came from, where the corpus knows it."""
        return None

    def told_of(self, sample: int) -> dict[str, Any] | None:
        """The provenance, and what else there is to tell people of where ``sample`` came from."""
        return self.provenance(sample)

    def categories(self) -> np.ndarray | None:
        """The category of every sample ``[n]`` (short strings), where the corpus has categories."""
        return None

    def fingerprint(self) -> str:
        """Content fingerprint: number and width of the rows, and their tokens as integers.

        It depends on no path, format or token dtype: the same rows as ``.npy``, ``.bin`` or shards
        agree. Beyond ``WHOLE_FINGERPRINT_TOKENS`` it reads evenly spaced blocks alone, so a change
        between two blocks of a very large corpus goes unseen; of rows that this program wrote, all are compared.

        Raises:
            CuratorError: a manifest beside the rows says otherwise: they were changed.
        """
        if self._fingerprint is None:
            whole = self._fingerprint_is_whole
            found = self._fingerprint_of(whole)
            if self.written is not None:
                self._check_written(found, str(self.written.get("fingerprint")))
                if content := self.written.get("content"):
                    self._check_written(found if whole else self._fingerprint_of(whole=True), str(content))
            self._fingerprint = found
        return self._fingerprint

    def whole_fingerprint(self) -> str:
        """As `fingerprint`, of every row at any size."""
        return self.fingerprint() if self._fingerprint_is_whole else self._fingerprint_of(whole=True)

    @property
    def _fingerprint_is_whole(self) -> bool:
        return len(self) * self.row_width <= WHOLE_FINGERPRINT_TOKENS

    def _fingerprint_of(self, whole: bool) -> str:
        """Of all rows, or of evenly spaced blocks alone."""
        starts: Iterable[int]
        if whole:
            block_rows = max(1, (1 << 20) // self.row_width)
            starts = range(0, len(self), block_rows)
        else:
            block_rows = min(BLOCK_ROWS, len(self))
            starts = np.linspace(0, len(self) - block_rows, SAMPLED_BLOCKS).astype(int).tolist()
        blocks = []
        for start in starts:
            block = self.rows(slice(start, min(start + block_rows, len(self))))
            blocks.append([start, fingerprint(block.astype("<i8"))])
        return fingerprint({"samples": len(self), "row_width": self.row_width, "blocks": blocks})

    def _check_written(self, found: str, written: str) -> None:
        if found != written:
            raise CuratorError(
                f"{self.file_of(0)}: the rows have fingerprint {found}, manifest.json says "
                f"{written}: they were changed; put them back, or make the folder again"
            )

    def describe(self) -> dict[str, Any]:
        """What there is to know about the corpus, for people, as plain JSON values."""
        return {
            "path": str(self.path),
            "format": self.format,
            "samples": len(self),
            "seq_length": self.row_width - 1,
            "row_width": self.row_width,
            "tokens": len(self) * self.row_width,
            "dtype": self.dtype.name,
            "vocab_size": self.vocab_size,
            "tokenizer": str(self.tokenizer_file) if self.tokenizer_file else None,
            "fingerprint": self.fingerprint(),
        }

    def _slice_bounds(self, index: slice) -> tuple[int, int, int]:
        n = len(self)
        start = 0 if index.start is None else int(index.start)
        stop = n if index.stop is None else int(index.stop)
        step = 1 if index.step is None else int(index.step)
        if step < 1:
            raise CuratorError(f"{self.path}: rows({index}) steps by {step}; the step must be 1 or more")
        if not (0 <= start <= n and 0 <= stop <= n):
            raise CuratorError(f"{self.path}: samples {start} to {stop} asked for, {self._extent()}")
        return start, max(start, stop), step

    def _sample_indices(self, index: np.ndarray) -> np.ndarray:
        samples = np.asarray(index)
        if samples.ndim != 1 or not (samples.size == 0 or np.issubdtype(samples.dtype, np.integer)):
            raise CuratorError(
                f"{self.path}: rows() takes a slice or a one-dimensional integer array of sample indices, "
                f"not shape {samples.shape} of {samples.dtype}"
            )
        outside = np.flatnonzero((samples < 0) | (samples >= len(self)))
        if outside.size:
            first = int(outside[0])
            raise CuratorError(
                f"{self.path}: sample {samples[first]} asked for (entry {first} of the indices), "
                f"{self._extent()}"
            )
        return samples.astype(np.int64, copy=False)

    def _check_sample(self, sample: int) -> None:
        if not 0 <= sample < len(self):
            raise CuratorError(f"{self.path}: sample {sample} asked for, {self._extent()}")

    def _extent(self) -> str:
        return f"but the corpus holds samples 0 to {len(self) - 1:,}"
