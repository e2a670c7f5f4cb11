"""The bytes of one or several files, laid end to end and memory-mapped; the files are never joined."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np


class ByteStream:
    """Copies stretches of bytes out of ``files``, in this order; a stretch may run over several of them."""

    def __init__(self, files: Sequence[Path]):
        self.files = list(files)
        sizes = [file.stat().st_size for file in files]
        self._bounds = np.cumsum([0, *sizes])
        self._maps = [
            np.asarray(np.memmap(file, np.uint8, mode="r")) if size else np.empty(0, np.uint8)
            for file, size in zip(files, sizes)
        ]

    @property
    def total(self) -> int:
        """Bytes in all files together."""
        return int(self._bounds[-1])

    def file_of(self, byte: int) -> Path:
        """The file that holds this byte of the stream."""
        return self.files[int(np.searchsorted(self._bounds, byte, side="right")) - 1]

    def gather(self, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """The stretches that begin at ``starts`` [n], one after the other, uint8 ``[sum(lengths)]``.

        They must lie within ``0 .. total``.
        """
        out = np.empty(int(lengths.sum()), np.uint8)
        if len(self.files) == 1:
            data, at = self._maps[0], 0
            for start, length in zip(starts.tolist(), lengths.tolist()):
                out[at : at + length] = data[start : start + length]
                at += length
            return out
        bounds, at = self._bounds.tolist(), 0
        first = np.searchsorted(self._bounds, starts, side="right") - 1
        for start, length, k in zip(starts.tolist(), lengths.tolist(), first.tolist()):
            stop = start + length
            while start < stop:
                end = min(stop, bounds[k + 1])
                out[at : at + end - start] = self._maps[k][start - bounds[k] : end - bounds[k]]
                at, start, k = at + end - start, end, k + 1
        return out
