"""One rendering from start to end: claim the folder, make the candidates that are missing, put the rows together.

The folder's ``parts/`` holds finished shards until the manifest is written. A killed run goes on with the same
command: what is needed is worked out anew, and shards that are there are not made again.
"""

import multiprocessing
import os
import platform
import shutil
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import Any

import numpy as np
import tokenizers

import curator
from curator.artifacts.claim import claim_folder, lock_folder
from curator.artifacts.files import save_json
from curator.artifacts.workers import worker_ended
from curator.corpus.rendered import FORMAT
from curator.errors import CuratorError
from curator.progress import progress, remark
from synth.generate.generators import Generators
from synth.render.fill import Source
from synth.render.folder import PARTS, Assembled, Rows, assemble
from synth.render.mix import Mix, Range
from synth.render.settings import Rendering, RenderSettings
from synth.render.task import Shard, Task, Work, Worker, make_shard, start_worker
from synth.sandbox import Sandbox

AHEAD = 4
"""Tasks a worker is given at once: none waits for the next one, and none is listed long before it is made."""


def render(settings: RenderSettings) -> Rows:
    """Render ``settings.count`` distinct rows into the folder ``settings.out``; resumes what is there.

    Raises:
        UsageError: something is missing, or names what is not there.
        CuratorError: the folder holds something else (says both sides), the disk has no room for the rows, or the
            generators give too few distinct rows.
    """
    generators = Generators.open(settings.generators)
    rendering = Rendering.resolve(settings, generators)
    Sandbox(unsafe=settings.unsafe_sandbox)  # both are refused before anything is written
    _check_room(rendering)
    with lock_folder(rendering.out):
        run = _Run(generators, rendering)
        if run.is_complete():
            remark(f"{run.out}: already complete")
        else:
            run.run()
        shutil.rmtree(run.parts, ignore_errors=True)
    return Rows.open(run.out)


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _check_room(settings: Rendering) -> None:
    """Refuse rows that the disk cannot hold, rather than after hours; parts of an earlier run are counted as there."""
    out = settings.out
    if (out / "manifest.json").exists():
        return
    disk = next(place for place in (out.absolute(), *out.absolute().parents) if place.exists())
    there = sum(file.stat().st_size for file in (out / PARTS).rglob("rows.npy"))
    free = shutil.disk_usage(disk).free
    needed = settings.count * settings.row_bytes
    if needed > free + there:
        raise CuratorError(
            f"{out}: {settings.count:,} rows of {settings.filling.width} tokens take {_size(needed)} while they are "
            f"put together, the disk has {_size(free)} free: there is room for "
            f"{(free + there) // settings.row_bytes:,} rows; ask for fewer (--count), or choose another --out"
        )


def _size(count: int) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e8 else f"{count / 1e6:,.1f} MB"


class _Run:
    """A rendering under way; see `render`."""

    def __init__(self, generators: Generators, rendering: Rendering):
        self.generators = generators
        self.settings = rendering
        self.out = rendering.out
        self.parts = self.out / PARTS
        self.workers = rendering.asked.workers or _cores()
        self.identity = rendering.identity(generators)
        self.made = 0
        used = [g for g in generators.generators if g.pattern_id in rendering.weights]
        self.work = Work(
            parts=self.parts,
            tokenizer=rendering.tokenizer,
            filling=rendering.filling,
            unsafe=rendering.asked.unsafe_sandbox,
            sources=tuple(Source.of(g) for g in used),
        )

    def is_complete(self) -> bool:
        """Claims the folder, or compares what is there with what was asked for."""
        return claim_folder(
            self.out, self.identity, what="rows", result="manifest.json", claim=f"{PARTS}/identity.json"
        )

    def run(self) -> None:
        started = time.monotonic()
        mix = Mix(self.settings.count, self.settings.weights)
        tasks: list[Task] = []
        while ranges := mix.ranges():
            new = [task for one in ranges for task in self._tasks(one)]
            again = f"candidates for {mix.missing:,} of {mix.count:,} rows still missing"
            self._make(new, again if tasks else "rows", "candidates" if tasks else "rows")
            for name, start, stop in ranges:
                self._tell(mix, name, stop, [t for t in new if t.pattern_id == name and t.start >= start])
            tasks += new
        for name in mix.dropped:
            tasks = [task for task in tasks if task.pattern_id != name]
        settings = self.settings
        done = assemble(
            self.out, self.parts, tasks, mix, settings.filling.seed, self.generators, settings.tokenizer
        )
        save_json(self.out / "manifest.json", self._manifest(mix, done, time.monotonic() - started))

    def _tasks(self, wanted: Range) -> Iterator[Task]:
        name, start, stop = wanted
        size = self.settings.task_size
        for first in range(start, stop, size):
            yield Task(name, first, min(first + size, stop))

    def _make(self, tasks: Sequence[Task], what: str, unit: str) -> None:
        missing = [task for task in tasks if not task.folder(self.parts).is_dir()]
        total = sum(task.stop - task.start for task in tasks)
        left = sum(task.stop - task.start for task in missing)
        if not missing:
            return
        with progress(what, total, unit=unit, done=total - left) as advance:
            if min(self.workers, len(missing)) == 1:
                worker = Worker(self.work)
                for task in missing:
                    advance(worker.make(task))
            else:
                self._share(missing, advance)
        self.made += left

    def _share(self, tasks: Sequence[Task], advance: Any) -> None:
        workers, waiting = min(self.workers, len(tasks)), iter(tasks)
        pool = ProcessPoolExecutor(
            workers,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=start_worker,
            initargs=(self.work,),
        )
        try:
            begun = {pool.submit(make_shard, task) for task in islice(waiting, AHEAD * workers)}
            while begun:
                done, begun = wait(begun, return_when=FIRST_COMPLETED)
                for future in done:
                    advance(future.result())
                begun |= {pool.submit(make_shard, task) for task in islice(waiting, len(done))}
        except BrokenProcessPool as error:
            raise worker_ended() from error
        finally:
            pool.shutdown(cancel_futures=True)

    def _tell(self, mix: Mix, name: str, stop: int, tasks: Sequence[Task]) -> None:
        rows: list[tuple[int, bytes]] = []
        failures: list[str] = []
        stopped = None
        for task in tasks:
            shard = Shard.open(task.folder(self.parts))
            rows += zip(shard.candidates.tolist(), map(bytes, shard.hashes))
            failures += [reason for _, reason in shard.info["failed"]]
            stopped = stopped or shard.info["stopped"]
        mix.add(name, stop, rows, failures, stopped)

    def _manifest(self, mix: Mix, done: Assembled, seconds: float) -> dict[str, Any]:
        settings = self.settings
        patterns = []
        for name, weight in settings.weights.items():
            tried = mix.tried[name]
            patterns.append(
                {
                    "pattern_id": name,
                    "weight": weight,
                    "rows": len(tried.taken),
                    "tried": tried.stop,
                    "duplicates": tried.duplicates,
                    "failed": tried.failed,
                    "failures": dict(tried.failures.most_common(5)),
                    "exhausted": name in mix.limits,
                    "dropped": mix.dropped.get(name),
                    "texts": done.texts.get(name, 0),
                    "padding_tokens": done.padding.get(name, 0),
                }
            )
        return {
            "format": FORMAT,
            "identity": self.identity,
            "rows": settings.count,
            "row_width": settings.filling.width,
            "tokens": settings.count * settings.filling.width,
            "padding_tokens": sum(done.padding.values()),
            "duplicates": sum(pattern["duplicates"] for pattern in patterns),
            "fingerprint": done.fingerprint,
            "content": done.content,
            "fingerprints": done.sidecars,
            "patterns": patterns,
            "request": {
                "generators": str(self.generators.path.absolute()),
                "tokenizer": str(settings.tokenizer.absolute()),
                "only": None if settings.asked.only is None else str(settings.asked.only.absolute()),
                "command": settings.command(self.generators),
            },
            "last_run": {
                "workers": self.workers,
                "seconds": round(seconds, 3),
                "rows_made": self.made,
                "rows_per_second": round(self.made / seconds, 1),
            },
            "versions": {
                "curator": curator.__version__,
                "tokenizers": tokenizers.__version__,
                "numpy": np.__version__,
                "python": platform.python_version(),
            },
        }
