"""Runs the seeds side by side and reports; see ``curator.demo.run``."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from curator.demo.run import run_seeds
from curator.demo.settings import DemoSettings
from synth.demo.settings import TRAINING, InsertSettings

STAGES_BEFORE = 9
"""corpus, baseline, scan, ranking; distill, audit patterns, generate, audit data, render."""


def run_demo(out: Path, seed: int = 0, n_seeds: int = 3, quick: bool = False) -> None:
    """Run seeds ``seed … seed + n_seeds - 1`` into ``out/seed{N}`` and write the report into ``out``."""
    inserts = InsertSettings.quick() if quick else InsertSettings()
    started = time.monotonic()
    stages = STAGES_BEFORE + len(inserts.arms())
    work = partial(_seed, inserts)
    results = run_seeds(work, stages, out, TRAINING, list(range(seed, seed + n_seeds)))

    from synth.demo.report import write_report

    write_report(out, inserts, results, time.monotonic() - started)


def _seed(
    inserts: InsertSettings, settings: DemoSettings, seed: int, folder: Path, say: Callable[[str], None]
) -> dict[str, Any]:
    from synth.demo.replicate import run_seed

    return run_seed(inserts, settings, seed, folder, say)
