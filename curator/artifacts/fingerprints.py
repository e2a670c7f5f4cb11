"""Named by content: fingerprints, and the checks of what is read against them (law 8).

A fingerprint is the first 16 hexadecimal digits of a SHA-256 over anything that JSON can hold, and arrays. What is
read and was not what its manifest says, or was made for something else, is refused with both sides.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from curator.artifacts.files import load_array, load_json
from curator.errors import CuratorError


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


def load_checked(path: Path, written: Any, mend: str, *, mmap: bool = False) -> np.ndarray:
    """Open a ``.npy`` file whose content must be what was written (law 8).

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


def load_made_for(path: Path, made_for: str, mend: str) -> dict[str, Any]:
    """Read a JSON file that must have been made for ``made_for`` (law 8).

    Args:
        made_for: fingerprint of everything that what it describes depends on.
        mend: what to do where it was made for something else, in words.

    Raises:
        CuratorError: as `load_json`, or it was made with another model, corpus or settings; gives both fingerprints.
    """
    there = load_json(path)
    found = there.get("made_for") if isinstance(there, dict) else None
    if found != made_for:
        raise CuratorError(
            f"{path}: made for another run (fingerprint of model, corpus and settings there {found}, here "
            f"{made_for}); {mend}"
        )
    return dict(there)
