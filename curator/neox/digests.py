"""What tells a checkpoint's files from others: names, sizes, and digests that cost little at any size.

Refused: digests of whole files, since a checkpoint of a large model takes longer to read than a training step; and
times of modification, which a copy does not keep.
"""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from curator.artifacts.files import is_temporary
from curator.artifacts.fingerprints import fingerprint
from curator.artifacts.schema import Settings
from curator.influence.emission import RECORD

PIECE, PIECES = 2**20, 32
"""Files of up to 32 MiB are digested whole, larger ones in 32 pieces of 1 MiB, evenly spread, first and last among
them. torch.save ends a file with a table of its tensors' CRC-32, so that the last piece speaks for all of them."""


class FileEntry(Settings):
    """A file of a checkpoint: its name within the folder, bytes, and digest (`size_and_digest`)."""

    name: str
    size: int
    digest: str


def describe_files(checkpoint: Path) -> tuple[FileEntry, ...]:
    """Every file that the trainer's engine wrote, by name; not the copies of config files, nor our record."""
    found = []
    for path in sorted(checkpoint.rglob("*")):
        name = path.relative_to(checkpoint)
        if path.is_file() and name.parts[0] not in ("configs", RECORD) and not is_temporary(path):
            size, digest = size_and_digest(path)
            found.append(FileEntry(name=name.as_posix(), size=size, digest=digest))
    return tuple(found)


def size_and_digest(path: Path) -> tuple[int, str]:
    """Bytes, and 32 hexadecimal digits of SHA-256 over the file, or over `PIECES` pieces of a large one."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size  # of the opened file: NFS is consistent from there on
        if size <= PIECES * PIECE:
            for piece in iter(lambda: file.read(PIECE), b""):
                digest.update(piece)
        else:
            for number in range(PIECES):
                file.seek(number * (size - PIECE) // (PIECES - 1))
                digest.update(file.read(PIECE))
    return size, digest.hexdigest()[:32]


def fingerprint_of(files: Sequence[FileEntry]) -> str:
    """Of a checkpoint's files."""
    return fingerprint([[entry.name, entry.size, entry.digest] for entry in files])


def problem_of_files(recorded: Sequence[FileEntry], there: Sequence[FileEntry]) -> str | None:
    """How a checkpoint's files differ from what was recorded, in words with both sides; further files may be there."""
    found = {entry.name: entry for entry in there}
    for entry in recorded:
        other = found.get(entry.name)
        if other is None:
            return f"{entry.name} is in its record, but not there"
        if other.size != entry.size:
            return f"{entry.name} has {other.size} bytes, its record says {entry.size}"
        if other.digest != entry.digest:
            return f"{entry.name} has the digest {other.digest}, its record says {entry.digest}"
    return None
