"""One process at a time in a folder that holds one result; a killed process lets go, and what it left goes.

Every command that writes a folder does so within `alone`. Those whose result follows from one request also write that
request down first (`claimed`), so that the same command goes on and another one is refused with what differs.
"""

import fcntl
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from curator.artifacts.files import is_temporary, load_json, save_json
from curator.artifacts.fingerprints import differences
from curator.errors import CuratorError

LOCK = ".lock.tmp"
PATIENCE_S = 1.0
"""How long a held lock is tried: what a killed process was just starting may hold it for a moment."""


@contextmanager
def alone(out: Path) -> Iterator[None]:
    """Hold ``out``, which is made where it is missing, and goes again where it stays empty.

    Raises:
        CuratorError: it is a file, or another process holds it.
    """
    if out.exists() and not out.is_dir():
        raise CuratorError(f"{out}: is a file; --out needs a folder")
    out.mkdir(parents=True, exist_ok=True)
    with _held(out) as lock:
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)
            with suppress(OSError):
                out.rmdir()  # empty: refused before any work


@contextmanager
def _held(out: Path) -> Iterator[Path]:
    lock, end = out / LOCK, time.monotonic() + PATIENCE_S
    while True:
        with open(lock, "w") as file:
            if _take(file) and _is_there(file, lock):
                yield lock
                return
        if time.monotonic() > end:
            raise CuratorError(f"{out}: another process is at work there; wait for it")
        time.sleep(0.02)


def _take(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_there(file: IO[str], lock: Path) -> bool:
    """Whether it is still the file of that name: whoever held it may have removed it since it was opened."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), lock.stat())
    except FileNotFoundError:
        return False


def claimed(out: Path, identity: Mapping[str, Any], *, what: str, result: str, claim: str) -> bool:
    """Whether ``out``, which is held, has its finished ``result``; an empty folder is claimed for ``identity``.

    Args:
        what: it holds, for messages; result: the file written last, with the identity in it; claim: the file written
            first, which is the identity.

    Raises:
        CuratorError: it holds something else; the message says both sides.
    """
    finished = (out / result).is_file()
    if finished or (out / claim).is_file():
        there = _identity(out, result if finished else claim, finished)
    elif any(path.is_file() and not is_temporary(path) for path in out.rglob("*")):
        raise CuratorError(f"{out}: the folder is not empty and holds no {what}; choose another --out")
    else:
        clean(out)
        save_json(out / claim, identity)
        return False
    if not isinstance(there, dict):
        raise CuratorError(f"{out}: holds something else than {what}; choose another --out")
    refuse_others(out, what, identity, there)
    clean(out)
    return finished


def refuse_others(out: Path, what: str, identity: Mapping[str, Any], there: Mapping[str, Any]) -> None:
    """Raises CuratorError where ``there`` is not the ``identity`` that was asked for; says in what they differ."""
    lines = differences(identity, there)
    if lines:
        raise CuratorError(
            f"{out}: holds other {what} than asked for; choose another --out, or remove it:\n  "
            + "\n  ".join(lines[:8])
        )


def _identity(out: Path, file: str, finished: bool) -> Any:
    try:
        content = load_json(out / file)
    except CuratorError as error:
        raise CuratorError(f"{error}; remove {out} and run the same command again") from error
    if not finished:
        return content
    return content.get("identity") if isinstance(content, dict) else None


def clean(out: Path) -> None:
    """Remove what killed processes left half-written in ``out``, which is held and known to be ours."""
    for path in out.rglob(".*.tmp"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif path.name != LOCK:
            path.unlink(missing_ok=True)
