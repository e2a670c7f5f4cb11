"""One process at a time in a folder; a killed one lets go, and what it left half-written is removed."""

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from curator.errors import CuratorError


@contextmanager
def alone(out: Path) -> Iterator[None]:
    """Hold ``out``, which is made where it is missing.

    Raises:
        CuratorError: it is a file, or another process holds it.
    """
    if out.exists() and not out.is_dir():
        raise CuratorError(f"{out}: is a file; --out needs a folder")
    out.mkdir(parents=True, exist_ok=True)
    lock = out / ".lock.tmp"
    with open(lock, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise CuratorError(f"{out}: another process is at work there; wait for it") from error
        try:
            for path in set(out.rglob(".*.tmp")) - {lock}:
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)
            yield
        finally:
            lock.unlink(missing_ok=True)
