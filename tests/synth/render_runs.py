"""Renderings in processes of their own, which can be told to die; an importable module, as a new process needs."""

import os
import sys
from pathlib import Path
from typing import Any

from forked import PROCESSES, die

from synth.render.run import render
from synth.render.settings import RenderSettings


def settings(generators: Path, out: Path, workers: int = 1) -> RenderSettings:
    return RenderSettings(generators=generators, out=out, count=120, task_size=32, workers=workers)


def _render(folder: Path, out: Path, workers: int, die_at: tuple[str, str] | None) -> None:
    """Runs in another process."""
    if die_at is not None:
        place, moment = die_at
        die(lambda target: target == out / place, moment)
    with open(os.devnull, "w") as sys.stderr:
        render(settings(folder, out, workers))


def start(folder: Path, out: Path, workers: int = 1, die_at: tuple[str, str] | None = None) -> Any:
    process = PROCESSES.Process(target=_render, args=(folder, out, workers, die_at))
    process.start()
    return process
