"""Renderings in processes of their own, which can be told to die; an importable module, as a new process needs."""

import os
import sys
from pathlib import Path
from typing import Any

from killed_runs import PROCESSES, die

from synth.generate.generators import Generators
from synth.render.run import render
from synth.render.settings import RenderSettings


def settings(generators: Generators) -> RenderSettings:
    return RenderSettings.resolve(generators, count=120, task_size=32)


def _render(folder: Path, out: Path, workers: int, die_at: tuple[str, str] | None) -> None:
    """Runs in another process."""
    if die_at is not None:
        place, moment = die_at
        die(lambda target: target == out / place, moment)
    with open(os.devnull, "w") as sys.stderr:
        generators = Generators.open(folder)
        render(generators, settings(generators), out, workers)


def start(folder: Path, out: Path, workers: int = 1, die_at: tuple[str, str] | None = None) -> Any:
    process = PROCESSES.Process(target=_render, args=(folder, out, workers, die_at))
    process.start()
    return process
