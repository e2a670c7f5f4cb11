"""Runs a study's seeds side by side, one thread each.

One thread per seed makes runs bit-identical on one machine, and is the fastest layout for models this small.
"""

import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import Any

from curator.artifacts.workers import follow_parent
from curator.progress import progress, remark
from curator.study.replicate import STAGES, MakeRows, Replicate
from curator.study.result import Result
from curator.study.study import Study
from curator.study.table import save_study_curves

_queue: "SimpleQueue[str] | None" = None


def run_study(
    study: Study,
    out: Path,
    seeds: Sequence[int],
    make_rows: MakeRows | None = None,
    row_stages: Sequence[str] = (),
    name: str = "study",
) -> list[Result]:
    """The result of each seed, in order; seed N is in ``out/seedN``, and goes on where it was killed.

    All their curves are in ``out/curves.parquet`` then.

    Args:
        make_rows: see `Replicate`; a function of a module. row_stages: the stages that it names.
    """
    context = multiprocessing.get_context("spawn")
    queue: SimpleQueue[str] = context.SimpleQueue()
    workers = min(len(seeds), os.cpu_count() or 1)
    total = len(seeds) * (len(STAGES) + len(row_stages) + len(study.runs))
    remark(f"{name}: {len(seeds)} seed(s) on {workers} process(es), into {out}/")
    with (
        ProcessPoolExecutor(workers, context, initializer=_start_worker, initargs=(queue,)) as pool,
        progress(name, total, unit="stages") as advance,
    ):
        futures = [pool.submit(_work, study, seed, out / f"seed{seed}", make_rows) for seed in seeds]
        _relay(queue, futures, advance)
    results = [Result(future.result()) for future in futures]
    save_study_curves(out / "curves.parquet", study, results, name)
    return results


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
    one_thread()


def one_thread() -> None:
    """Begin a process of a study, which ends with its parent."""
    follow_parent()
    import torch

    torch.set_num_threads(1)


def _work(study: Study, seed: int, folder: Path, make_rows: MakeRows | None) -> dict[str, Any]:
    def say(stage: str) -> None:
        if _queue is not None:
            _queue.put(f"seed {seed}: {stage}")

    return Replicate(study, seed, folder, say, make_rows).run()
