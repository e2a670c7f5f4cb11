"""Runs the demo's seeds side by side, one thread each, and reports.

One thread per seed makes runs bit-identical on one machine, and is the fastest layout for models this small.
"""

import dataclasses
import multiprocessing
import os
import time
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor, wait
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import Any

from curator.artifacts.workers import follow_parent
from curator.demo.settings import ARMS, DemoSettings
from curator.progress import progress, remark

_queue: "SimpleQueue[str] | None" = None


def run_demo(
    out: Path, seed: int = 0, n_seeds: int = 2, drill_fraction: float | None = None, quick: bool = False
) -> None:
    """Run seeds ``seed … seed + n_seeds - 1`` into ``out/seed{N}`` and write the report into ``out``.

    Args:
        drill_fraction: of the embedded corpus; None takes the size's own.
        quick: the smoke size.
    """
    settings = DemoSettings.quick() if quick else DemoSettings()
    if drill_fraction is not None:
        settings = dataclasses.replace(settings, drill_fraction=drill_fraction)
    started = time.monotonic()
    stages = 4 + len(ARMS)
    results = run_seeds(_replicate, stages, out, settings, list(range(seed, seed + n_seeds)))

    from curator.demo.report import write_report

    write_report(out, settings, results, time.monotonic() - started)


Work = Callable[[DemoSettings, int, Path, Callable[[str], None]], dict[str, Any]]
"""One seed's run: settings, seed, folder, and what to call with the name of each finished stage."""


def run_seeds(
    work: Work, stages: int, out: Path, settings: DemoSettings, seeds: list[int]
) -> list[dict[str, Any]]:
    """The result of each seed, in order; ``work`` is a module's function that calls back ``stages`` times."""
    context = multiprocessing.get_context("spawn")
    queue: SimpleQueue[str] = context.SimpleQueue()
    workers = min(len(seeds), os.cpu_count() or 1)
    total = len(seeds) * stages
    remark(f"demo: {len(seeds)} seed(s) on {workers} process(es), into {out}/")
    with (
        ProcessPoolExecutor(workers, context, initializer=_start_worker, initargs=(queue,)) as pool,
        progress("demo", total, unit="stages") as advance,
    ):
        futures = [pool.submit(_work, work, settings, seed, out / f"seed{seed}") for seed in seeds]
        _relay(queue, futures, advance)
    return [future.result() for future in futures]


def _relay(
    queue: "SimpleQueue[str]", futures: "list[Future[dict[str, Any]]]", advance: Callable[..., None]
) -> None:
    """Show finished stages until every seed is done; a failure ends the wait."""
    pending = set(futures)
    while pending:
        done, pending = wait(pending, timeout=0.2)
        while not queue.empty():
            advance(1, queue.get())
        for future in done:
            error = future.exception()
            if error is not None:
                for child in multiprocessing.active_children():
                    child.terminate()  # the other seeds, which the user would wait minutes for
                raise error


def _start_worker(queue: "SimpleQueue[str]") -> None:
    global _queue
    _queue = queue
    follow_parent()
    import torch

    torch.set_num_threads(1)


def _work(work: Work, settings: DemoSettings, seed: int, folder: Path) -> dict[str, Any]:
    def say(stage: str) -> None:
        if _queue is not None:
            _queue.put(f"seed {seed}: {stage}")

    return work(settings, seed, folder, say)


def _replicate(settings: DemoSettings, seed: int, folder: Path, say: Callable[[str], None]) -> dict[str, Any]:
    from curator.demo.replicate import Replicate

    return Replicate(settings, seed, folder, say).run()
