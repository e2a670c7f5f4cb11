"""The bookkeeping of a training process: what it may go on from, and records that are there before ``latest`` is.

A checkpoint is saved in this order: sums of an emission; the trainer's files; the record, bound to those files;
``latest``. Whatever stops the run in between, ``latest`` names a checkpoint that is whole and known. Where the trainer
writes over one that is there (GPT-NeoX may save its last step twice), its record is removed first, and ``latest`` names
a known checkpoint before it meanwhile, or is not there.
"""

import datetime
import functools
import inspect
import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from curator.artifacts.files import save_text
from curator.errors import CuratorError
from curator.neox.digests import describe_files
from curator.neox.records import (
    CheckpointRecord,
    RunRecord,
    Start,
    Stretch,
    checkpoint_folder,
    latest_step,
    read_record,
    read_run,
    recorded_checkpoints,
    remove_record,
    step_of,
    write_record,
    write_run,
)
from curator.neox.standing import ANEW, UNPATCHED, Standing, check_goes_on, check_latest, joined, standing_of
from curator.plan.plan import Plan
from neox_patches.together import in_words, not_saved, rank

T = TypeVar("T")


def describe_run(
    plan: Plan | None,
    corpus_fingerprint: str | None,
    batch_size: int,
    seq_length: int,
    serves_rows: bool = False,
    emits: bool = False,
) -> Stretch:
    """How a patched run trains, as far as its slots go."""
    return Stretch(
        batch_size=batch_size,
        seq_length=seq_length,
        corpus_fingerprint=corpus_fingerprint,
        plan_fingerprint=None if plan is None else plan.fingerprint(),
        first_edited_step=None if plan is None else plan.first_edited_slot() // plan.batch_size,
        serves_rows=serves_rows,
        emits=emits,
    )


class Bookkeeper:
    """The records of one training process; ranks above 0 only hear what rank 0 found.

    Args:
        now: how this start trains; plan: the plan that it follows.
        insisted: what the user insists on (`curator.neox.standing.INSIST`).
        paths: patch_file, corpus and plan, for a reader of the records.
    """

    def __init__(
        self,
        now: Stretch,
        plan: Plan | None,
        insisted: frozenset[str],
        paths: dict[str, str | None],
        say: Callable[[str], None],
    ):
        self.now, self.plan, self.insisted, self.paths, self.say = now, plan, insisted, paths, say
        self.save: Path | None = None
        self.run = ""
        self.standing: Standing | None = None
        self.checkpoint: Path | None = None
        self.step = 0
        self.anew = self.written = False

    def check(self, neox_args: Any, iteration: int | None) -> None:
        """Before the trainer loads: is the checkpoint what was recorded, and does this start fit it?

        Args:
            iteration: asked for by the trainer; None: what ``latest`` names.

        Raises:
            CuratorError: on every rank, with what rank 0 found.
        """
        self.save = Path(neox_args.save) if neox_args.save else None
        load = Path(neox_args.load) if neox_args.load else None
        if load is None:
            return

        def judge() -> tuple[int, Standing | None, bool]:
            anew = iteration is None and check_latest(load, self.save, self.insisted)
            step = step_to_load(neox_args, iteration) or 0
            if not step:
                return 0, None, anew
            standing = standing_of(load, step, self.save, self.insisted)
            if self.now.trained == "patched":
                check_goes_on(load, standing.stretches, step, self.now, self.plan)
            return step, standing, anew

        self.step, self.standing, self.anew = by_rank_0(judge)
        if self.anew:
            self.say(f"{load}: there is no 'latest': begins anew, as insisted")
        if self.standing is None:
            return
        self.checkpoint = checkpoint_folder(load, self.step)
        for note in self.standing.notes:
            self.say(note)

    def attach(self, engine: Any, iteration: int) -> None:
        """The engine has loaded step ``iteration``; from now on it saves in our order."""
        decoupled = getattr(getattr(engine, "checkpoint_engine", None), "is_decoupled", None)
        if decoupled is not None and decoupled():
            raise CuratorError(
                "DeepSpeed's checkpoint settings write checkpoints in another process (decoupled), so that a record "
                "of their files cannot be there before 'latest' names them; remove 'checkpoint: {writer: ...}'"
            )
        before = () if self.standing is None else self.standing.stretches
        if iteration != self.step:  # nothing was loaded, or what counts otherwise than it is called
            before = (Stretch(trained="unknown"),) if iteration else ()
            self.step, self.standing, self.checkpoint = iteration, None, None
        self.stretches = joined(before, iteration, self.now)
        self.run = by_rank_0(self._name)
        save = engine.save_checkpoint

        @functools.wraps(save)
        def save_checkpoint(*args: Any, **kwargs: Any) -> Any:
            call = inspect.signature(save).bind(*args, **kwargs)
            call.apply_defaults()
            return self._saved(save, call)

        engine.save_checkpoint = save_checkpoint

    def _name(self) -> str:
        """The save folder's own name for its run; where that is lost, its checkpoints'; or a new one."""
        new = uuid.uuid4().hex[:16]
        if self.save is None:
            return new
        there = read_run(self.save)
        if there is not None:
            return there.run
        known = (step for step in recorded_checkpoints(self.save) if step <= self.step)
        records = (read_record(checkpoint_folder(self.save, step)) for step in known)
        return next((record.run for record in records if record is not None), new)

    def claim(self) -> None:
        """Name the run in its save folder, so that an emission of it can be told from another's."""
        if self.save is not None and rank() == 0 and read_run(self.save) is None:
            write_run(self.save, RunRecord(run=self.run))

    def begin(self) -> None:
        """Before the first step, or the first save: add this start to the run's."""
        if self.written:
            return
        self.written = True
        if self.save is not None:
            by_rank_0(self._add_start)

    def _add_start(self) -> None:
        assert self.save is not None
        standing = self.standing
        insisted = [] if standing is None else [*standing.insisted]
        if self.now.trained == "unpatched":
            insisted.append(UNPATCHED)
        if self.anew:
            insisted.append(ANEW)
        start = Start(
            date=datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
            from_=self.step,
            checkpoint=None if self.checkpoint is None else str(self.checkpoint.absolute()),
            files=None if standing is None else standing.files,
            stretches=self.stretches,
            insisted=tuple(sorted(insisted)),
            folder=os.getcwd(),
            **self.paths,
        )
        there = read_run(self.save) or RunRecord(run=self.run)
        if there.starts and there.starts[-1].changed(date=start.date) == start:
            return  # started again without a new checkpoint
        write_run(self.save, there.changed(starts=(*there.starts, start)))

    def _saved(self, save: Callable[..., Any], call: inspect.BoundArguments) -> Any:
        """The trainer's files, the record, ``latest``."""
        given = call.arguments
        step = step_of(str(given["tag"]))
        if step is None:
            return save(*call.args, **call.kwargs)
        folder, named = Path(given["save_dir"]), given["save_latest"]
        checkpoint = checkpoint_folder(folder, step)

        def begin() -> bool:
            """Nothing speaks for what is going to be written over; whether ``latest`` did."""
            named_now = latest_step(folder) == step
            if named_now:
                before = next((other for other in recorded_checkpoints(folder) if other < step), None)
                if before is None:
                    (folder / "latest").unlink()
                else:
                    save_text(folder / "latest", checkpoint_folder(folder, before).name)
            remove_record(checkpoint)
            return named_now

        def end() -> None:
            try:
                self.record(folder, step)
                if named:
                    save_text(folder / "latest", str(given["tag"]))
            except OSError as error:
                raise not_saved(str(error.filename or checkpoint), error) from error

        named = by_rank_0(begin) or named
        given["save_latest"] = False
        result = save(*call.args, **call.kwargs)
        barrier()  # every rank's files are there
        by_rank_0(end)
        return result

    def record(self, save: Path, step: int) -> None:
        """Write what the checkpoint after ``step`` steps was trained with, and which files that is said of."""
        checkpoint = checkpoint_folder(save, step)
        stretches = tuple(stretch for stretch in self.stretches if stretch.from_ < step)
        made = CheckpointRecord(
            run=self.run, stretches=stretches, files=describe_files(checkpoint), step=step
        )
        write_record(checkpoint, made)


def step_to_load(neox_args: Any, iteration: int | None) -> int | None:
    """The step that the trainer is going to count from, as far as names say; None: from 0."""
    if not neox_args.load or getattr(neox_args, "finetune", False):
        return None
    load = Path(neox_args.load)
    if iteration is not None:
        return int(iteration) if checkpoint_folder(load, int(iteration)).is_dir() else None
    return latest_step(load)


def by_rank_0(judge: Callable[[], T]) -> T:
    """What ``judge`` returns on rank 0, on every rank.

    Raises:
        CuratorError: on every rank, what it raised on rank 0.
    """
    import torch

    found: list[Any] = [None, None]
    if rank() == 0:
        try:
            found[0] = judge()
        except CuratorError as error:
            found[1] = str(error)
        except OSError as error:
            found[1] = in_words(error)
    if torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1:
        torch.distributed.broadcast_object_list(found, src=0)
    if found[1] is not None:
        raise CuratorError(found[1])
    result: T = found[0]
    return result


def barrier() -> None:
    """Wait for every rank."""
    import torch

    if torch.distributed.is_initialized():
        torch.distributed.barrier()
