"""What all readers need to know of the files around a corpus: near names for a file that is missing,
a tokenizer that lies beside, and whether what was found can be tokens."""

import difflib
from pathlib import Path

import numpy as np

from curator.errors import CuratorError

CHUNK = 1 << 22
"""Values compared at a time."""


def missing(path: Path, expected: str) -> CuratorError:
    """The error for a file that is not there: what it should be, and the near names where it should lie."""
    folder = path.parent
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    wanted = path.name if folder == path.parent else path.relative_to(folder).parts[0]
    where = f"no such file: expected {expected}" if wanted == path.name else f"no folder {folder / wanted}"
    return CuratorError(f"{path}: {where}; {contents(folder, wanted)}")


def contents(folder: Path, like: str = "") -> str:
    """A line that names what ``folder`` holds, the names nearest to ``like`` first, at most eight."""
    names = sorted(entry.name for entry in folder.iterdir())
    near = difflib.get_close_matches(like, names, n=8, cutoff=0.5) if like else []
    shown = (near + [name for name in names if name not in near])[:8]
    more = f" and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
    return f"{folder} holds {', '.join(shown) or 'nothing'}{more}"


def sidecar_tokenizer(folder: Path) -> Path | None:
    """``tokenizer.json`` in ``folder``, if it is there."""
    file = folder / "tokenizer.json"
    return file if file.is_file() else None


def check_token_dtype(path: Path, dtype: np.dtype) -> None:
    """Refuse values that are not integers."""
    if not np.issubdtype(dtype, np.integer):
        raise CuratorError(f"{path}: holds {dtype}, but tokens are integers; write the token ids as uint16")


def check_not_empty(path: Path, n_rows: int, row_width: int) -> None:
    """Refuse a corpus without a single token."""
    if n_rows == 0 or row_width == 0:
        raise CuratorError(
            f"{path}: the corpus is empty ({n_rows} rows of {row_width} tokens); "
            "was the writer stopped before its first row?"
        )


def first_difference(values: np.ndarray, start: int, step: int) -> int | None:
    """The first ``i`` with ``values[i] != start + i * step``, read in chunks of a memory map; else None."""
    for first in range(0, len(values), CHUNK):
        part = values[first : first + CHUNK]
        expected: int | np.ndarray = start
        if step:
            expected = np.arange(first, first + len(part), dtype=np.int64) * step + start
        unequal = part != expected
        if unequal.any():
            return first + int(unequal.argmax())
    return None


def check_equal_widths(path: Path, sizes: np.ndarray, mend: str = "") -> None:
    """Refuse rows of different widths, naming the first that differs from row 0, and ``mend`` as another way."""
    row = first_difference(sizes, int(sizes[0]), 0)
    if row is not None:
        raise CuratorError(
            f"{path}: rows differ in width: row 0 has {int(sizes[0])} tokens, row {row} has "
            f"{int(sizes[row])}; training rows are all seq_length + 1 tokens wide. "
            f"Pack the documents into rows first (Pythia's preshuffled data is packed){mend}"
        )
