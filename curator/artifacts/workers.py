"""What worker processes have in common: they end with the process that started them, even when that is killed."""

import multiprocessing
import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from multiprocessing.connection import wait
from pathlib import Path

from curator.errors import CuratorError


def follow_parent() -> None:
    """End this process when its parent ends; returns at once."""
    threading.Thread(target=_follow, daemon=True).start()


def worker_ended() -> CuratorError:
    """For a pool whose worker ended."""
    return CuratorError(
        "a worker process ended: out of memory, or killed; the same command goes on (--workers takes fewer)"
    )


def _follow() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


_TIED = """
import os, signal, subprocess, sys, threading
def follow():
    sys.stdin.buffer.read()  # ends with who started us
    os.killpg(0, signal.SIGKILL)
threading.Thread(target=follow, daemon=True).start()
code = subprocess.call(sys.argv[1:], stdin=subprocess.DEVNULL)
sys.stdout.flush()
os._exit(code if code >= 0 else 1)
"""


def run_tied(command: Sequence[str], folder: Path, environment: Mapping[str, str], log: Path) -> int:
    """The exit code of a command run in ``folder``; it and all that it starts end with this process, even when killed.

    Args:
        log: file to which what is printed is added.
    """
    with (
        open(log, "ab") as said,
        subprocess.Popen(
            [sys.executable, "-c", _TIED, *command],
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as process,
    ):
        return process.wait()
