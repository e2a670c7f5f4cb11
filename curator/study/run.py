"""Runs a study's seeds, and then their arms, side by side, one thread each.

One thread per run makes runs bit-identical on one machine, and is the fastest layout for models this small. What a seed
has before its arms is one piece of work, every arm another; each leaves its own file, so that what is finished is not
done again.
"""

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import Any

from curator.artifacts.workers import follow_parent
from curator.progress import progress, remark
from curator.study.replicate import STAGES, MakeRows, Replicate, Say
from curator.study.result import Result
from curator.study.study import Study
from curator.study.table import save_study_curves
from curator.study.trainers import side_by_side

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
    workers = min(len(seeds) * max(1, len(study.runs)), side_by_side(study))
    total = len(seeds) * (len(STAGES) + len(row_stages) + len(study.runs))
    remark(f"{name}: {len(seeds)} seed(s) on {workers} process(es), into {out}/")
    with (
        ProcessPoolExecutor(workers, context, initializer=_start_worker, initargs=(queue,)) as pool,
        progress(name, total, unit="stages") as advance,
    ):
        waiting: dict[Future[Any], int] = {
            pool.submit(_begin, study, seed, out / f"seed{seed}", make_rows): seed for seed in seeds
        }
        begun: set[int] = set()
        while waiting:
            done, _ = wait(waiting, timeout=0.2)
            while not queue.empty():
                advance(1, queue.get())
            for future in done:
                seed = waiting.pop(future)
                try:
                    runs = future.result()
                except Exception:
                    for child in multiprocessing.active_children():
                        child.terminate()  # the others, which the user would wait minutes for
                    raise
                if seed not in begun:
                    begun.add(seed)
                    waiting |= {
                        pool.submit(_arm, study, seed, out / f"seed{seed}", run): seed for run in runs
                    }
        while not queue.empty():
            advance(1, queue.get())
    results = [Result(Replicate(study, seed, out / f"seed{seed}").finish()) for seed in seeds]
    save_study_curves(out / "curves.parquet", study, results, name)
    return results


def _start_worker(queue: "SimpleQueue[str]") -> None:
    global _queue
    _queue = queue
    one_thread()


def one_thread() -> None:
    """Begin a process of a study, which ends with its parent."""
    follow_parent()
    import torch

    torch.set_num_threads(1)


def _begin(study: Study, seed: int, folder: Path, make_rows: MakeRows | None) -> list[str]:
    return Replicate(study, seed, folder, _say(seed), make_rows).begin()


def _arm(study: Study, seed: int, folder: Path, run: str) -> None:
    Replicate(study, seed, folder, _say(seed)).arm(run)


def _say(seed: int) -> Say:
    """Tell the study's process."""

    def say(stage: str) -> None:
        if _queue is not None:
            _queue.put(f"seed {seed}: {stage}")

    return say
