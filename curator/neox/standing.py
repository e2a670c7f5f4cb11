"""May training go on from this checkpoint, with this plan? Decided from the records that patched runs leave.

A checkpoint is what its record says where the record is of its files. One that has no record was trained without
patches where nothing in its folder speaks of them, and in an unknown way where something does. Unknown is refused,
with the newest checkpoint that is known, unless the user insists.
"""

from dataclasses import dataclass
from pathlib import Path

from curator.errors import CuratorError
from curator.neox.digests import FileEntry, describe_files, fingerprint_of, problem_of_files
from curator.neox.records import (
    CheckpointRecord,
    RunRecord,
    Stretch,
    checkpoint_folder,
    read_record,
    read_run,
    recorded_checkpoints,
)
from curator.plan.plan import Plan

UNPATCHED, UNRECORDED = "unpatched", "unrecorded"
INSIST = {
    UNPATCHED: "train without a patch file where the folder was trained with one",
    UNRECORDED: "go on from a checkpoint whose record is missing, or is of other files",
}
"""What can be insisted on, in words."""

COMMAND = "python -m neox_patches --insist"


@dataclass(frozen=True)
class Standing:
    """What is known of a checkpoint that training goes on from.

    Attributes:
        stretches: how its steps were trained; files: fingerprint of its files.
        notes: what a user should read; insisted: what had to be insisted on.
    """

    stretches: tuple[Stretch, ...]
    files: str
    notes: tuple[str, ...] = ()
    insisted: tuple[str, ...] = ()


def standing_of(
    load: Path,
    step: int,
    save: Path | None = None,
    insisted: frozenset[str] = frozenset(),
    command: str = COMMAND,
) -> Standing:
    """How the ``step`` steps of the checkpoint in ``load`` were trained.

    Args:
        save: where training goes on; a start that is recorded there knew the same files.
        command: how to insist, for the message.

    Raises:
        CuratorError: nobody knows, and that is not insisted on; says why, and the ways on.
    """
    checkpoint = checkpoint_folder(load, step)
    described = describe_files(checkpoint)
    files = fingerprint_of(described)
    record = read_record(checkpoint)
    if record is not None and record.files is None:
        note = f"{checkpoint}: its record is of an earlier version, which did not describe files: taken unchecked"
        return Standing(record.stretches, files, (note,))
    problem = _problem(record, described, step)
    if record is not None and problem is None:
        return Standing(record.stretches, files, _spoken(record.stretches, step))
    runs = [read_run(folder) for folder in dict.fromkeys((load, checkpoint.resolve().parent))]
    run = next((found for found in runs if found is not None), None)
    of_save = None if save is None else read_run(save)
    for start in [start for found in (of_save, *runs) if found is not None for start in found.starts]:
        if start.from_ == step and start.files == files and start.checkpoint is not None:
            before = tuple(stretch for stretch in start.stretches if stretch.from_ < step)
            return Standing(before, files, _spoken(before, step))
    if run is not None and run.starts and all(start.from_ > step for start in run.starts):
        run = None  # patches came later
    if record is None and run is None:
        note = (
            f"{checkpoint}: step {step} was saved without patches, so that its batch size and data cannot be compared "
            "with this run's"
        )
        return Standing((Stretch(trained="unpatched"),), files, (note,))
    why = problem or "it has no record of that, though its folder was trained with patches"
    text = f"{checkpoint}: with what its {step} steps were trained is not known: {why}"
    if UNRECORDED in insisted:
        return Standing((Stretch(trained="unknown"),), files, (f"{text}; insisted on",), (UNRECORDED,))
    raise CuratorError(f"{text}. {_ways_on(load, step, run, command)}")


def _problem(record: CheckpointRecord | None, there: tuple[FileEntry, ...], step: int) -> str | None:
    if record is None:
        return None
    if record.step != step or not record.stretches:
        return (
            f"its record is of step {record.step}, and tells of {len(record.stretches)} stretches of training"
        )
    problem = problem_of_files(record.files or (), there)
    return (
        None
        if problem is None
        else f"{problem}: something else has written there since, or part of it is lost"
    )


def _spoken(stretches: tuple[Stretch, ...], step: int) -> tuple[str, ...]:
    """A note for every stretch that these patches did not see."""
    notes = []
    for stretch, end in with_ends(stretches, step):
        if stretch.trained != "patched":
            notes.append(f"steps {stretch.from_} to {end - 1} were trained {stretch.words}, as recorded")
    return tuple(notes)


def _ways_on(load: Path, step: int, run: RunRecord | None, command: str) -> str:
    says = ""
    if run is not None and run.starts:
        starts = [start for start in run.starts if start.from_ <= step][-3:]
        told = "; ".join(
            f"{start.date}, from step {start.from_}, {start.stretches[-1].words}" for start in starts
        )
        says = f"The folder's last starts that may have made it: {told}. " if told else ""
    newest = next((other for other in recorded_checkpoints(load) if other != step), None)
    if newest is None:
        back = f"No other checkpoint in {load} has a record"
    else:
        back = (
            f"Go on from global_step{newest}, the newest checkpoint with a record: printf global_step{newest} > "
            f"{load / 'latest'}"
        )
    return f"{says}{back}; or, if you know that it was trained as this start is configured: {command} {UNRECORDED} ..."


def with_ends(stretches: tuple[Stretch, ...], step: int) -> list[tuple[Stretch, int]]:
    """(stretch, one past its last step) of each that has steps before ``step``."""
    ends = [stretch.from_ for stretch in stretches[1:]] + [step]
    return [
        (stretch, min(end, step)) for stretch, end in zip(stretches, ends) if stretch.from_ < min(end, step)
    ]


def joined(before: tuple[Stretch, ...], step: int, now: Stretch) -> tuple[Stretch, ...]:
    """The stretches of a run that goes on at ``step`` in the way of ``now``."""
    kept = tuple(stretch for stretch in before if stretch.from_ < step)
    if kept and kept[-1].same_as(now):
        return kept
    return (*kept, now.changed(from_=step))


def check_goes_on(
    place: Path, stretches: tuple[Stretch, ...], step: int, now: Stretch, plan: Plan | None
) -> None:
    """Refuse to go on at ``step`` in a way that does not fit what was done so far.

    Args:
        place: for the message; now: how training is to go on, with ``plan``.

    Raises:
        CuratorError: another batch size, row width, corpus or plan; names both sides.
    """
    for stretch, end in with_ends(stretches, step):
        over = f"{end} steps" if stretch.from_ == 0 else f"steps {stretch.from_} to {end - 1}"
        for key, name in (("batch_size", "global batch size"), ("seq_length", "seq-length")):
            there, here = getattr(stretch, key), getattr(now, key)
            if None not in (there, here) and there != here:
                raise CuratorError(
                    f"{place}: {over} were trained with a {name} of {there}, but this run is configured with {here}: "
                    f"its steps would hold other samples; configure {there}, or start anew"
                )
        there, here = stretch.corpus_fingerprint, now.corpus_fingerprint
        if None not in (there, here) and there != here:
            raise CuratorError(
                f"{place}: {over} were trained on the corpus {there}, but this run's corpus is {here}; give the same "
                "corpus"
            )
        if stretch.trained != "unknown" and stretch.plan_fingerprint != now.plan_fingerprint:
            _check_plans(place, over, stretch, end, now, plan)


def _check_plans(place: Path, over: str, stretch: Stretch, end: int, now: Stretch, plan: Plan | None) -> None:
    """The steps that are over were trained with another plan than this run's: neither may edit them."""
    before = stretch.plan_fingerprint
    with_what = f"the plan {before}" if before else "no plan"
    if plan is not None:
        edited = (
            plan.first_edited_slot(stretch.from_ * plan.batch_size, end * plan.batch_size) // plan.batch_size
        )
        if edited < end:
            raise CuratorError(
                f"{place}: {over} were trained with {with_what}, but the plan {now.plan_fingerprint} edits step "
                f"{edited}, which is over: that edit would never be trained on; go on from a checkpoint of at most "
                f"step {edited}, or plan edits of later steps alone"
            )
    first = stretch.first_edited_step
    if before is not None and first is not None and first < end:
        raise CuratorError(
            f"{place}: {over} were trained with the plan {before}, which edits step {first} already, but this run's "
            f"plan is {now.plan_fingerprint or 'none'}; give the same plan, or go on from a checkpoint of at most "
            f"step {first}"
        )


def needs_patches(load: Path | None, save: Path | None, step: int | None) -> str | None:
    """Why a start without patches would not go on as the folders were trained, in words; None where it would.

    Args:
        step: of the checkpoint in ``load`` that it goes on from, if any.
    """
    loaded = load if step is not None else None
    for folder in dict.fromkeys((save, loaded)):
        run = None if folder is None else read_run(folder)
        if folder is None or run is None:
            continue
        if run.starts:
            last = run.starts[-1]
            if last.stretches[-1].needs_patches:
                by = f" (patch file {last.patch_file})" if last.patch_file else ""
                return f"{folder} is trained {last.stretches[-1].words}{by}"
            continue
        newest = next(recorded_checkpoints(folder), None)  # an earlier version listed no starts
        record = None if newest is None else read_record(checkpoint_folder(folder, newest))
        if record is not None and record.stretches[-1].needs_patches:
            return f"{checkpoint_folder(folder, newest or 0)} was trained {record.stretches[-1].words}"
    if loaded is not None and step is not None:
        record = read_record(checkpoint_folder(loaded, step))
        if record is not None and record.stretches and record.stretches[-1].needs_patches:
            return f"{checkpoint_folder(loaded, step)} was trained {record.stretches[-1].words}"
    return None
