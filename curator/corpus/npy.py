"""A two-dimensional integer ``.npy``, one training row per row: what Pythia's batch viewer writes.

Rows that were taken from elsewhere may have ``NAME-origins.json`` beside ``NAME.npy``: what each of them is, for people
(`save_origins`).
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from curator.artifacts.files import load_array, save_json
from curator.artifacts.manifests import load_manifest
from curator.corpus.base import Corpus
from curator.corpus.files import check_not_empty, check_token_dtype, missing, sidecar_tokenizer
from curator.errors import CuratorError

ORIGINS = "curator-origins-1"


class NpyCorpus(Corpus):
    """Rows of an ``(N, seq_length + 1)`` integer ``.npy`` file, memory-mapped.

    Raises:
        CuratorError: the file is missing, cut short, not two-dimensional, not integer, or empty.
    """

    format = "(N, T) .npy"

    def __init__(self, path: Path):
        if not path.is_file():
            raise missing(path, "an (N, T) array of tokens")
        _check_header(path)
        self.path = path
        self._rows = np.asarray(load_array(path))
        self.dtype, self.row_width = self._rows.dtype, self._rows.shape[1]
        self.tokenizer_file = sidecar_tokenizer(path.parent)

    def __len__(self) -> int:
        return len(self._rows)

    def read_range(self, start: int, stop: int) -> np.ndarray:
        return self._rows[start:stop]

    def read_samples(self, samples: np.ndarray) -> np.ndarray:
        return self._rows[samples]

    def provenance(self, sample: int) -> dict[str, Any] | None:
        """What the origins beside the file say of the row."""
        self._check_sample(sample)
        return {name: values[sample] for name, values in self._origins.items()} or None

    @cached_property
    def _origins(self) -> dict[str, list[Any]]:
        file = origins_file(self.path)
        if not file.is_file():
            return {}
        content = load_manifest(file, ORIGINS, "remove it, or write it again")
        columns = content.get("columns", {})
        if content.get("fingerprint") != self.fingerprint() or any(
            len(c) != len(self) for c in columns.values()
        ):
            raise CuratorError(
                f"{file}: of rows with fingerprint {content.get('fingerprint')}, but {self.path} has "
                f"{self.fingerprint()}: one of them was changed; write both again"
            )
        return dict(columns)


def origins_file(path: Path) -> Path:
    """Where the origins of the rows at ``path`` lie, if there are any."""
    return path.with_name(f"{path.stem}-origins.json")


def save_origins(path: Path, columns: Mapping[str, Sequence[Any]]) -> None:
    """Write beside ``path``, an ``.npy`` of rows, what each row is: short strings and numbers, a list per column."""
    content = {"format": ORIGINS, "fingerprint": NpyCorpus(path).fingerprint(), "columns": columns}
    save_json(origins_file(path), content)


def _check_header(path: Path) -> None:
    """Refuse what cannot be a corpus before mapping it, and say which row a cut file loses first."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        try:
            version = np.lib.format.read_magic(file)
            read = (
                np.lib.format.read_array_header_1_0
                if version == (1, 0)
                else np.lib.format.read_array_header_2_0
            )
            shape, by_column, dtype = read(file)
        except (ValueError, EOFError) as error:
            raise CuratorError(f"{path}: not a .npy array, or cut within its header ({error})") from error
        begin = file.tell()
    if len(shape) != 2:
        raise CuratorError(
            f"{path}: has shape {shape}, a corpus has two dimensions: (rows, seq_length + 1); "
            "reshape it to one training row per row"
        )
    check_token_dtype(path, dtype)
    check_not_empty(path, *shape)
    row_bytes = shape[1] * dtype.itemsize
    expected = begin + shape[0] * row_bytes
    if size < expected:
        cut = "" if by_column else f"row {(size - begin) // row_bytes} is the first that is cut. "
        raise CuratorError(
            f"{path}: cut short: its header says {expected:,} bytes, the file has "
            f"{size:,}; {cut}Copy it again"
        )
