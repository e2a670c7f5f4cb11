"""May training go on from this checkpoint, with this plan? Decided from the records that patched runs leave.

A checkpoint is what its record says where the record is of its files. One that has no record was trained without
patches where nothing in its folder speaks of them, and in an unknown way where something does. Unknown is refused,
with the newest checkpoint that is known, unless the user insists.
"""

from dataclasses import dataclass
from pathlib import Path

from curator.errors import CuratorError
from curator.influence.emission import RECORD
from curator.neox.digests import describe_files, fingerprint_of
from curator.neox.records import (
    RunRecord,
    Stretch,
    checkpoint_folder,
    checkpoints_in,
    problem_of_record,
    read_record,
    read_run,
    recorded_checkpoints,
    start_from,
    told,
)
from curator.plan.plan import Plan

UNPATCHED, UNRECORDED, ANEW = "unpatched", "unrecorded", "anew"
INSIST = {
    UNPATCHED: "train without a patch file where the folder was trained with one",
    UNRECORDED: "go on from a checkpoint whose record is missing, or is of other files",
    ANEW: "begin with new weights at step 0 although checkpoints are there, of which 'latest' names none",
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
    record, problem = told(read_record, checkpoint)
    if record is not None and record.files is None:
        note = f"{checkpoint}: its record is of an earlier version, which did not describe files: taken unchecked"
        return Standing(record.stretches, files, (note,))
    if record is not None:
        problem = problem_of_record(record, described, step)
        if problem is None:
            return Standing(record.stretches, files, _spoken(record.stretches, step))
    folders = tuple(dict.fromkeys((load, checkpoint.resolve().parent)))
    runs = [told(read_run, folder)[0] for folder in folders]
    of_save = None if save is None else told(read_run, save)[0]
    if start := next(filter(None, (start_from(run, step, files) for run in (of_save, *runs))), None):
        before = tuple(stretch for stretch in start.stretches if stretch.from_ < step)
        return Standing(before, files, _spoken(before, step))
    if problem is None and not any(_speaks_of_patches(folder, step) for folder in folders):
        note = (
            f"{checkpoint}: step {step} was saved without patches, so that its batch size and data cannot be compared "
            "with this run's"
        )
        return Standing((Stretch(trained="unpatched"),), files, (note,))
    why = problem or "it has no record of that, though its folder was trained with patches"
    text = f"{checkpoint}: with what its {step} steps were trained is not known: {why}"
    if UNRECORDED in insisted:
        return Standing((Stretch(trained="unknown"),), files, (f"{text}; insisted on",), (UNRECORDED,))
    run = next((found for found in runs if found is not None), None)
    raise CuratorError(f"{text}. {_ways_on(load, step, run, command)}")


def _speaks_of_patches(folder: Path, step: int) -> bool:
    """Whether something recorded in a save folder says, or may say, that patches were there by ``step``."""
    run, damage = told(read_run, folder)
    if damage or (run is not None and (not run.starts or any(start.from_ <= step for start in run.starts))):
        return True
    for other in checkpoints_in(folder):  # the run's record may be lost, or begun again later
        record, damage = told(read_record, checkpoint_folder(folder, other))
        stretches = () if record is None else record.stretches
        if damage or any(there.from_ <= step and there.trained != "unpatched" for there in stretches):
            return True
    return False


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
        listed = "; ".join(
            f"{start.date}, from step {start.from_}, {start.stretches[-1].words}" for start in starts
        )
        says = f"The folder's last starts that may have made it: {listed}. " if listed else ""
    return (
        f"{says}{_newest(load, step)}; or, if you know that it was trained as this start is configured: "
        f"{command} {UNRECORDED} ..."
    )


def check_latest(load: Path, save: Path | None, insisted: frozenset[str] = frozenset()) -> bool:
    """Before the trainer reads ``latest`` in ``load``: is the checkpoint there, or is there a reason for having none?

    Without ``latest`` the trainer begins with new weights. That is right before the first checkpoint, and where a run
    was stopped while it saved that one.

    Returns:
        Whether training begins anew because that is insisted on.

    Raises:
        CuratorError: ``latest`` was mistyped or lost; says what to write into it.
    """
    latest = load / "latest"
    if latest.is_file():
        tag = latest.read_text().strip()
        if tag and (load / tag).is_dir():
            return False
        raise CuratorError(f"{latest}: names {tag!r}, which is not there. {_newest(load)}")
    because = _begun(load, save)
    if because is None:
        return False
    if ANEW in insisted:
        return True
    raise CuratorError(
        f"{load}: there is no 'latest', so that training would begin with new weights at step 0, although {because}. "
        f"{_newest(load)}; or, to begin anew: {COMMAND} {ANEW} ..."
    )


def _begun(load: Path, save: Path | None) -> str | None:
    """Why a start from ``load``, which has no ``latest``, is not the beginning of its run, in words."""
    for folder in dict.fromkeys((save, load)):
        run = None if folder is None else read_run(folder)
        if folder is not None and run is not None and run.starts and run.starts[-1].from_:
            last = run.starts[-1]
            return f"{folder / RECORD} says that its run went on from step {last.from_} ({last.date})"
    elsewhere = save is None or save.resolve() != load.resolve()
    if elsewhere and checkpoints_in(load):
        return "checkpoints are there"
    # one alone may be of a run that was stopped before it was named
    if len(list(recorded_checkpoints(load))) > 1:
        return "its run has saved checkpoints there"
    return None


def _newest(load: Path, but: int | None = None) -> str:
    """Which checkpoint in ``load`` to go on from, and how; ``but``: not this one."""
    newest = next((step for step in recorded_checkpoints(load) if step != but), None)
    if newest is None:
        others = [f"global_step{step}" for step in checkpoints_in(load) if step != but]
        there = f" ({', '.join(others)} have none)" if others else ""
        return f"No {'' if but is None else 'other '}checkpoint in {load} has a record{there}"
    return (
        f"Go on from global_step{newest}, the newest checkpoint with a record: printf global_step{newest} > "
        f"{load / 'latest'}"
    )


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
        if folder is None:
            continue
        run = read_run(folder)
        if run is not None and run.starts:
            last = run.starts[-1]
            if last.stretches[-1].needs_patches:
                by = f" (patch file {last.patch_file})" if last.patch_file else ""
                return f"{folder} is trained {last.stretches[-1].words}{by}"
            continue
        # an earlier version listed no starts, or their list is lost
        records = {other: read_record(checkpoint_folder(folder, other)) for other in checkpoints_in(folder)}
        newest = max((other for other, record in records.items() if record is not None), default=0)
        record = records.get(newest)
        if record is not None and record.stretches and record.stretches[-1].needs_patches:
            return f"{checkpoint_folder(folder, newest)} was trained {record.stretches[-1].words}"
    if loaded is not None and step is not None:
        record = read_record(checkpoint_folder(loaded, step))
        if record is not None and record.stretches and record.stretches[-1].needs_patches:
            return f"{checkpoint_folder(loaded, step)} was trained {record.stretches[-1].words}"
    return None
