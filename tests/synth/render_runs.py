"""Renderings in processes of their own, which can be told to die; an importable module, as a new process needs."""

import multiprocessing
import os
import signal
import sys
from pathlib import Path
from typing import Any

from synth.generators import Generators
from synth.render.run import render
from synth.render.settings import RenderSettings

_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["synth.render.run"])


def settings(generators: Generators) -> RenderSettings:
    return RenderSettings.resolve(generators, count=120, task_size=32)


def _render(folder: Path, out: Path, workers: int, die_at: tuple[str, str] | None) -> None:
    """Runs in another process."""
    if die_at is not None:
        place, moment = die_at
        replace = os.replace

        def dying(source: Any, target: Any) -> None:
            hit = Path(target) == out / place
            if hit and moment == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            replace(source, target)
            if hit:
                os.kill(os.getpid(), signal.SIGKILL)

        os.replace = dying  # type: ignore[assignment]
    with open(os.devnull, "w") as sys.stderr:
        generators = Generators.open(folder)
        render(generators, settings(generators), out, workers)


def start(folder: Path, out: Path, workers: int = 1, die_at: tuple[str, str] | None = None) -> Any:
    process = _PROCESSES.Process(target=_render, args=(folder, out, workers, die_at))
    process.start()
    return process


def finish(process: Any) -> int | None:
    process.join(60)
    if process.exitcode is None:
        process.kill()
    return process.exitcode  # type: ignore[no-any-return]
