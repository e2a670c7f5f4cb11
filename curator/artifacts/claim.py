"""One process at a time in a folder that holds one result; a killed process lets go, and what it left goes.

Every command that writes a folder does so within `lock_folder`. Those whose result follows from one request also write
that request down first (`claim_folder`), so that the same command goes on and another one is refused with what differs.
Locks are the system's (flock, by the library filelock), which a killed process cannot keep. Refused: filelock's soft
locks, which stand in where a file system has none, and which it can.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from curator.artifacts.files import is_temporary, load_json, remove_temporaries, save_json
from curator.artifacts.fingerprints import differences
from curator.errors import CuratorError

LOCK = ".lock.tmp"
PATIENCE_S = 1.0
"""How long a held lock is tried: what a killed process was just starting may hold it for a moment."""


@contextmanager
def lock_folder(
    out: Path, name: str = LOCK, busy: str = "another process is at work there; wait for it"
) -> Iterator[None]:
    """Hold ``out``, which is made where it is missing, and goes again where it stays empty.

    Args:
        name: of the lock's file in it, which counts as temporary; busy: what is said where another process holds it.

    Raises:
        CuratorError: it is a file, or another process holds it.
    """
    if out.exists() and not out.is_dir():
        raise CuratorError(f"{out}: is a file; --out needs a folder")
    out.mkdir(parents=True, exist_ok=True)
    with lock_file(out / name, f"{out}: {busy}", PATIENCE_S):
        try:
            yield
        finally:
            (out / name).unlink(missing_ok=True)  # while it is held: who opened it since sees that it is gone
            with suppress(OSError):
                out.rmdir()  # empty: refused before any work


@contextmanager
def lock_file(path: Path, busy: str = "", patience: float = -1) -> Iterator[None]:
    """Hold the lock that ``path`` stands for, an empty file, which is made where it is missing and stays.

    Args:
        patience: seconds for which a lock that another process holds is tried; negative: until it is free.

    Raises:
        CuratorError: it is not free by then; the message is ``busy``.
    """
    lock = FileLock(path, timeout=patience, poll_interval=0.01, fallback_to_soft=False)
    try:
        lock.acquire()
    except Timeout as error:
        raise CuratorError(busy) from error
    try:
        yield
    finally:
        lock.release()


def remove_free_locks(folder: Path, names: str) -> None:
    """Remove the lock files of these names (a pattern) that nobody holds: of killed processes."""
    for path in folder.glob(names):
        with suppress(CuratorError), lock_file(path, patience=0):
            path.unlink()


def claim_folder(out: Path, identity: Mapping[str, Any], *, what: str, result: str, claim: str) -> bool:
    """Write into ``out``, which is held and empty, what it is to hold; or compare, where that is there already.

    Args:
        what: it holds, for messages; result: the file written last, with the identity in it; claim: the file written
            first, which is the identity.

    Returns:
        Whether the finished ``result`` is there.

    Raises:
        CuratorError: it holds something else; the message says both sides.
    """
    finished = (out / result).is_file()
    if finished or (out / claim).is_file():
        there = _identity(out, result if finished else claim, finished)
    elif any(path.is_file() and not is_temporary(path) for path in out.rglob("*")):
        raise CuratorError(f"{out}: the folder is not empty and holds no {what}; choose another --out")
    else:
        remove_temporaries(out)
        save_json(out / claim, identity)
        return False
    if not isinstance(there, dict):
        raise CuratorError(f"{out}: holds something else than {what}; choose another --out")
    refuse_others(out, what, identity, there)
    remove_temporaries(out)
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
