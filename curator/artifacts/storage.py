"""What lies on disk: plain ``.npy`` and JSON, written atomically, named by content.

Every write goes to a temporary neighbour, is flushed to the disk, and is renamed into place: a
file that exists is whole, so a killed run never leaves a half-written result behind.
Nothing is pickled (DESIGN law 9).
"""

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from curator.errors import CuratorError


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")


def is_temporary(path: Path) -> bool:
    """Whether ``path`` is a half-written neighbour that a killed process left."""
    return path.name.startswith(".") and path.name.endswith(".tmp")


def remove_temporaries(folder: Path) -> None:
    """Remove what killed processes left below ``folder``; nobody may be writing there."""
    for path in folder.rglob(".*.tmp"):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(path)
    try:
        with naming(path):
            with open(temporary, "wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """An error of writing, such as a full disk, says of which file: one of an open file does not by itself."""
    try:
        yield
    except OSError as error:
        error.filename = str(path)
        raise


def save_array(path: Path, array: np.ndarray) -> None:
    """Write ``array`` as ``.npy``; no object arrays."""
    _write_atomically(path, lambda file: np.save(file, array, allow_pickle=False))


def save_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON with a final newline."""
    save_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def save_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8."""
    _write_atomically(path, lambda file: file.write(text.encode()))


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


def load_checked(path: Path, written: Any, mend: str, *, mmap: bool = False) -> np.ndarray:
    """Open a ``.npy`` file whose content must be what was written (DESIGN law 8).

    Args:
        written: its `fingerprint`, as it stands in the JSON file beside it; None where an older version wrote none.
        mend: what to do about a file that was changed, in words.

    Raises:
        CuratorError: as `load_array`, or the content is another one; names both fingerprints.
    """
    array = load_array(path, mmap)
    check_content(path, array, written, mend)
    return array


def check_content(path: Path, content: Any, written: Any, mend: str) -> None:
    """Refuse what was read from ``path`` where it is not what was written: `load_checked` of anything else."""
    if written is not None and (found := fingerprint(content)) != written:
        raise CuratorError(
            f"{path}: has fingerprint {found}, but {written} was written: it was changed, or is of another folder; "
            f"{mend}"
        )


def is_made_for(path: Path, made_for: str, mend: str) -> bool:
    """Whether the JSON file ``path`` is there and was made for ``made_for`` (DESIGN law 8).

    Args:
        made_for: fingerprint of everything that what it describes depends on.
        mend: what to do where it was made for something else, in words.

    Raises:
        CuratorError: it was made with another model, corpus or settings; gives both fingerprints.
    """
    if not path.is_file():
        return False
    there = load_json(path)
    found = there.get("made_for") if isinstance(there, dict) else None
    if found != made_for:
        raise CuratorError(
            f"{path}: made for another run (fingerprint of model, corpus and settings there {found}, here "
            f"{made_for}); {mend}"
        )
    return True


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


def fingerprint(value: Any) -> str:
    """Content fingerprint of anything JSON can hold (arrays: their dtype, shape and bytes).

    Returns 16 hexadecimal digits; equal for equal content, whatever the order of keys.
    """
    digest = hashlib.sha256()
    _feed(digest, value)
    return digest.hexdigest()[:16]


def _feed(digest: "hashlib._Hash", value: Any) -> None:
    if isinstance(value, np.ndarray):
        digest.update(f"array{value.dtype.str}{value.shape}".encode())
        digest.update(np.ascontiguousarray(value).data)
    elif isinstance(value, Mapping):
        digest.update(b"{")
        for key in sorted(value):
            _feed(digest, str(key))
            _feed(digest, value[key])
        digest.update(b"}")
    elif isinstance(value, list | tuple):
        digest.update(b"[")
        for item in value:
            _feed(digest, item)
        digest.update(b"]")
    elif isinstance(value, bytes):
        digest.update(b"bytes" + value)
    else:
        digest.update(json.dumps(value).encode() + b";")


def differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """The fields in which two manifests differ, as ``field: there A, asked for B`` lines."""
    lines = []
    for key in sorted({*ours, *theirs}):
        a, b = theirs.get(key), ours.get(key)
        if a != b:
            if isinstance(a, Mapping) and isinstance(b, Mapping):
                lines += [f"{key}.{line}" for line in differences(b, a)]
            else:
                lines.append(f"{key}: there {a!r}, asked for {b!r}")
    return lines


@contextmanager
def new_array(path: Path, shape: tuple[int, ...], dtype: Any) -> Iterator[np.ndarray]:
    """A memory-mapped array to be filled; it appears at ``path`` only when the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(path)
    try:
        array = np.lib.format.open_memmap(temporary, mode="w+", dtype=dtype, shape=shape)
        yield array
        array.flush()
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder to be filled; it appears at ``path``, whole, only when the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(path)
    temporary.mkdir()
    try:
        yield temporary
        if path.exists():
            shutil.rmtree(path)
        os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
