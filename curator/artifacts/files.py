"""Files and folders that are whole or not there: plain ``.npy``, JSON and text, and whatever a block of code writes.

Every write goes to a temporary neighbour, is flushed to the disk, and is renamed into place, so that a killed run never
leaves a half-written result behind. `new_file` and `new_folder` are the only makers of such neighbours, and
`remove_temporaries` the only remover. Nothing is pickled (law 9). Refused: writing in place and marking what is whole.
"""

import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from curator.errors import CuratorError


def _temporary(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")


def is_temporary(path: Path) -> bool:
    """Whether ``path`` is no result: what a killed process left half-written, or a lock (``claim.py``)."""
    return path.name.startswith(".") and path.name.endswith(".tmp")


def remove_temporaries(folder: Path, *names: str) -> None:
    """Remove what killed processes left half-written below ``folder``; nobody may be writing there. Locks stay.

    Args:
        names: of files and folders in ``folder`` that were to be written, as patterns; else all, in folders of it too.
    """
    found = [path for name in names for path in folder.glob(f".{name}.*.tmp")]
    for path in found if names else list(folder.rglob(".*.*.tmp")):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """An error of writing, such as a full disk, says of which file: one of an open file does not by itself."""
    try:
        yield
    except OSError as error:
        if error.filename is None or is_temporary(Path(str(error.filename))):
            error.filename = str(path)
        raise


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """A place to write a file to; it appears at ``path``, whole, only when the block ends well."""
    with naming(path):
        temporary = _temporary(path)
        try:
            yield temporary
            flush(temporary)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def new_folder(path: Path, *, replace: bool = True) -> Iterator[Path]:
    """A folder to be filled; it appears at ``path``, whole, only when the block ends well.

    Args:
        replace: whether a folder that is at ``path`` by then makes way.

    Raises:
        OSError: it does not, and is not empty; what was written goes.
    """
    temporary = _temporary(path)
    temporary.mkdir()
    try:
        yield temporary
        for file in temporary.rglob("*"):
            if file.is_file():
                flush(file)
        if replace and path.exists():
            shutil.rmtree(path)
        os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def flush(path: Path) -> None:
    """Have the content of a file on the disk."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())


@contextmanager
def new_array(path: Path, shape: tuple[int, ...], dtype: Any) -> Iterator[np.ndarray]:
    """A memory-mapped array to be filled; it appears at ``path`` only when the block ends well."""
    with new_file(path) as temporary:
        array = np.lib.format.open_memmap(temporary, mode="w+", dtype=dtype, shape=shape)
        yield array
        array.flush()


def save_array(path: Path, array: np.ndarray) -> None:
    """Write ``array`` as ``.npy``; no object arrays."""
    with new_file(path) as temporary, open(temporary, "wb") as file:
        np.save(file, array, allow_pickle=False)


def save_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON with a final newline."""
    save_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def save_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8."""
    with new_file(path) as temporary:
        temporary.write_bytes(text.encode())


def load_array(path: Path, mmap: bool = True) -> np.ndarray:
    """Open a ``.npy`` file, memory-mapped read-only by default.

    Raises:
        CuratorError: the file is missing, cut short, or not a plain array.
    """
    if not path.is_file():
        raise CuratorError(f"{path}: no such file")
    try:
        return np.load(path, mmap_mode="r" if mmap else None, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise CuratorError(f"{path}: not a whole .npy array ({error}); write it again") from error


def load_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        CuratorError: the file is missing or not JSON (the message gives line and column).
    """
    if not path.is_file():
        raise CuratorError(f"{path}: no such file")
    try:
        return json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CuratorError(f"{path}: not valid JSON ({error})") from error
