"""What worker processes have in common: they end with the process that started them, even when that is killed."""

import multiprocessing
import os
import threading
from multiprocessing.connection import wait

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
