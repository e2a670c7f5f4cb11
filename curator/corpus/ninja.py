"""Folders written by the package mmap-ninja: one fixed-width array, or a ragged one of equally wide rows.

An array is a folder of ``type.ninja`` ("numpy" or "ragged"; none before version 0.4), ``dtype.ninja`` (a numpy name),
``shape.ninja`` (uint64 each; 4 bytes each up to 0.2.2), ``order.ninja`` ("C" or "F") and ``data.ninja`` (the values).
A ragged one is the flat values with two such arrays beside them, ``starts`` and ``ends``, in values. Read here rather
than through the package, which creates folders that it is asked to open and takes old lengths for others.

Rows that `synth render` wrote have beside them ``patterns.json`` (names) and per row ``row_patterns.npy`` (which of
them) and ``row_candidates.npy`` (its number among those that were tried); a pattern is then the row's category.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from curator.artifacts.files import load_json
from curator.artifacts.fingerprints import check_content, load_checked
from curator.corpus.base import Corpus
from curator.corpus.files import (
    check_equal_widths,
    check_not_empty,
    check_token_dtype,
    missing,
    sidecar_tokenizer,
)
from curator.corpus.pointed import PointedRows
from curator.errors import CuratorError

MEND = "copy the folder again, or render again"


class NinjaCorpus(Corpus):
    """The rows of an mmap-ninja folder.

    Args:
        written: name -> fingerprint of what lies beside the rows, where a manifest says so: they must have it still.

    Attributes:
        patterns: [names] of rendered rows; row_patterns: [rows] which of them each is of; row_candidates: [rows] its
            number among those that were tried. None where the rows were not rendered.

    Raises:
        CuratorError: a part is missing or cut short, the values are not tokens, or ragged rows differ in
            width.
    """

    def __init__(self, path: Path, written: Mapping[str, str] | None = None):
        self.path = path
        kind = _kind(path)
        if kind not in ("numpy", "ragged"):
            raise CuratorError(
                f"{path / 'type.ninja'}: an array of kind {kind!r}; tokens are 'numpy' or 'ragged'"
            )
        self.format = "mmap-ninja, " + ("fixed width" if kind == "numpy" else "ragged")
        data = _open_array(path)
        check_token_dtype(path, data.dtype)
        self.dtype = data.dtype
        self.tokenizer_file = sidecar_tokenizer(path)
        self._rows: np.ndarray | PointedRows
        if kind == "numpy":
            if data.ndim != 2:
                raise CuratorError(
                    f"{path}: has shape {data.shape}, a corpus has two dimensions: (rows, seq_length + 1)"
                )
            check_not_empty(path, *data.shape)
            self._length, self.row_width = data.shape
            self._rows = data
        else:
            self._rows = self._open_ragged()
        written = written or {}
        self.patterns: np.ndarray | None = None
        self.row_patterns: np.ndarray | None = None
        self.row_candidates: np.ndarray | None = None
        if (path / "row_patterns.npy").is_file():
            self.row_patterns = self._per_row("row_patterns", written)
            self.patterns = self._pattern_names(self.row_patterns, written)
            self.row_candidates = self._per_row("row_candidates", written)

    def _open_ragged(self) -> PointedRows:
        starts, ends = _open_array(self.path / "starts"), _open_array(self.path / "ends")
        if starts.shape != ends.shape or starts.ndim != 1 or {starts.dtype.kind, ends.dtype.kind} - {*"iu"}:
            raise CuratorError(
                f"{self.path}: {starts.dtype} {starts.shape} starts and {ends.dtype} {ends.shape} ends do not belong "
                "together; write it again"
            )
        widths = ends - starts
        check_not_empty(self.path, len(widths), int(widths[0]) if len(widths) else 0)
        check_equal_widths(self.path, widths)
        self._length, self.row_width = len(widths), int(widths[0])
        return PointedRows(
            [self.path / "data.ninja"],
            starts,
            self.row_width,
            self.dtype,
            unit=self.dtype.itemsize,
            index_file=self.path / "starts" / "data.ninja",
            mend="Copy the folder again",
        )

    def _per_row(self, name: str, written: Mapping[str, str]) -> np.ndarray:
        values = load_checked(self.path / f"{name}.npy", written.get(name), MEND, mmap=True)
        if values.shape != (self._length,):
            raise CuratorError(
                f"{self.path / name}.npy: has shape {values.shape}, for {self._length} rows; render them again"
            )
        if values.dtype.kind not in "iu":
            raise CuratorError(
                f"{self.path / name}.npy: holds {values.dtype}, not whole numbers; render them again"
            )
        return values

    def _pattern_names(self, row_patterns: np.ndarray, written: Mapping[str, str]) -> np.ndarray:
        file = self.path / "patterns.json"
        names = load_json(file)
        check_content(file, names, written.get("patterns"), MEND)
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise CuratorError(f"{file}: expected a list of names; {MEND}")
        least, most = int(row_patterns.min()), int(row_patterns.max())
        if least < 0 or most >= len(names):
            raise CuratorError(
                f"{file}: holds {len(names)} names, row_patterns.npy numbers from {least} to {most}: they do not "
                f"belong together; {MEND}"
            )
        return np.array(names)

    def __len__(self) -> int:
        return self._length

    def read_range(self, start: int, stop: int) -> np.ndarray:
        if isinstance(self._rows, PointedRows):
            return self._rows.read_range(start, stop)
        return self._rows[start:stop]

    def read_samples(self, samples: np.ndarray) -> np.ndarray:
        if isinstance(self._rows, PointedRows):
            return self._rows.read_samples(samples)
        return self._rows[samples]

    def check_index(self) -> None:
        if isinstance(self._rows, PointedRows):
            self._rows.check_index()

    def file_of(self, sample: int) -> Path:
        return self.path / "data.ninja"

    def provenance(self, sample: int) -> dict[str, Any] | None:
        """Pattern and candidate of a rendered row."""
        self._check_sample(sample)
        if self.patterns is None or self.row_patterns is None or self.row_candidates is None:
            return None
        pattern = str(self.patterns[self.row_patterns[sample]])
        return {"pattern": pattern, "candidate": int(self.row_candidates[sample])}

    def categories(self) -> np.ndarray | None:
        """The pattern of every rendered row."""
        if self.patterns is None or self.row_patterns is None:
            return None
        return self.patterns[self.row_patterns]


def is_ninja(folder: Path) -> bool:
    """Whether ``folder`` is an mmap-ninja array; it may be incomplete.

    Without ``type.ninja`` it is an old one, unless something else is being written there (`synth render` puts
    ``type.ninja`` in place last).
    """
    if (folder / "type.ninja").is_file():
        return True
    return (folder / "dtype.ninja").is_file() and not (folder / "manifest.json").exists()


def _kind(folder: Path) -> str:
    """What ``type.ninja`` says; without it, as before version 0.4, what there is."""
    if (folder / "type.ninja").is_file():
        return _text(folder / "type.ninja")
    return "ragged" if (folder / "starts").is_dir() else "numpy"


def _text(file: Path) -> str:
    if not file.is_file():
        raise missing(file, "a part of an mmap-ninja array")
    return file.read_text()


def _open_array(folder: Path) -> np.ndarray:
    """Map the values of one mmap-ninja array."""
    try:
        dtype = np.dtype(_text(folder / "dtype.ninja"))
    except TypeError as error:
        raise CuratorError(f"{folder / 'dtype.ninja'}: not a numpy type ({error}); write it again") from error
    order = _text(folder / "order.ninja")
    if order not in ("C", "F"):
        raise CuratorError(f"{folder / 'order.ninja'}: order {order!r}, expected 'C' or 'F'; write it again")
    shape_file, data_file = folder / "shape.ninja", folder / "data.ninja"
    for file in (shape_file, data_file):
        if not file.is_file():
            raise missing(file, "a part of an mmap-ninja array")
    size = data_file.stat().st_size
    shape = _shape(shape_file, dtype, size)
    needed = _bytes(shape, dtype)
    if needed > size:
        raise CuratorError(
            f"{data_file}: cut short: shape {shape} of {dtype} takes {needed:,} bytes, the file has "
            f"{size:,}; {_first_cut(shape, order, dtype, size)}Copy the folder again"
        )
    if needed == 0:
        return np.empty(shape, dtype)
    return np.asarray(np.memmap(data_file, dtype, mode="r", shape=shape, order="F" if order == "F" else "C"))


def _shape(file: Path, dtype: np.dtype, size: int) -> tuple[int, ...]:
    """The lengths in ``shape.ninja``, of an array whose data file has ``size`` bytes.

    A length has 8 bytes, or 4 in old folders. The data decide which: two lengths of 4 bytes, read as one of 8, ask for
    2^32 values and more, and one of 8 bytes, read as two of 4, has none where it is below 2^32.
    """
    content = file.read_bytes()
    if not content or len(content) % 4:
        raise CuratorError(f"{file}: {len(content)} bytes, expected 8 per dimension; copy it again")
    short = tuple(np.frombuffer(content, "<u4").tolist())
    if len(content) % 8:
        return short
    long = tuple(np.frombuffer(content, "<u8").tolist())
    if _bytes(long, dtype) <= size:
        return long
    return short if _bytes(short, dtype) == size or max(long) >= 1 << 32 else long


def _bytes(shape: tuple[int, ...], dtype: np.dtype) -> int:
    return int(np.prod(shape, dtype=object)) * dtype.itemsize


def _first_cut(shape: tuple[int, ...], order: str, dtype: np.dtype, size: int) -> str:
    if len(shape) != 2 or order != "C":
        return ""
    return f"row {size // (shape[1] * dtype.itemsize)} is the first that is cut. "
