"""What a patched GPT-NeoX trainer leaves in its save folder, and whether a checkpoint is still what was recorded.

``SAVE/neox_patches.json`` names the run and lists its starts. ``SAVE/global_step{N}/neox_patches.json`` says with what
the N steps of that checkpoint were trained, stretch by stretch, and describes its files by size and digest, so that it
speaks for these files alone. Both are whole or not there. What is not recorded is unknown, never "no plan".
Imports neither torch nor the trainer: `curator arm` reads these records too.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from curator.artifacts.files import save_json
from curator.artifacts.manifests import load_manifest
from curator.artifacts.schema import Many, Settings, Source, convert
from curator.errors import CuratorError, UsageError
from curator.influence.emission import RECORD
from curator.neox.digests import FileEntry, describe_files, fingerprint_of, problem_of_files

FORMAT = {"format": "neox-patches-run", "version": 2}
MEND = "remove it, and what it says is unknown"
_STEP = re.compile(r"global_step(\d+)")
T = TypeVar("T", bound=Settings)


class Stretch(Settings):
    """Steps that were trained in one way, from ``from_`` to the next stretch's or the checkpoint's.

    Attributes:
        trained: by us, by a trainer without patches, or in a way that nobody recorded.
        first_edited_step: of the plan; serves_rows: whether the rows came in the corpus's order, from us.
    """

    from_: int = 0
    trained: Literal["patched", "unpatched", "unknown"] = "patched"
    batch_size: int | None = None
    seq_length: int | None = None
    corpus_fingerprint: str | None = None
    plan_fingerprint: str | None = None
    first_edited_step: int | None = None
    serves_rows: bool = False
    emits: bool = False

    def same_as(self, other: "Stretch") -> bool:
        """Whether ``other`` merely goes on."""
        return self.changed(from_=0) == other.changed(from_=0)

    @property
    def needs_patches(self) -> bool:
        """Whether a trainer without patches would train on other data, or leave out what was emitted."""
        return self.plan_fingerprint is not None or self.serves_rows or self.emits

    @property
    def words(self) -> str:
        """How these steps were trained, as in "were trained ..."."""
        if self.trained != "patched":
            return "without patches" if self.trained == "unpatched" else "in a way that is not known"
        parts = [f"with the plan {self.plan_fingerprint}" if self.plan_fingerprint else "with no plan"]
        if self.serves_rows:
            parts.append(f"on the rows of the corpus {self.corpus_fingerprint}")
        if self.emits:
            parts.append("with an emission")
        return ", ".join(parts)


class CheckpointRecord(Settings):
    """What a checkpoint was trained with; ``files`` is None where an earlier version described none."""

    run: str
    stretches: Many[Stretch]
    files: Many[FileEntry] | None = None
    step: int | None = None


class Start(Settings):
    """One start of the trainer that saves into the folder.

    Attributes:
        checkpoint, files: what it went on from, and the fingerprint of that checkpoint's files.
        stretches: what it took the steps until then, and its own, to be; insisted: against which refusals.
        patch_file, corpus, plan, folder: paths on that machine, and where it was started; for information.
    """

    date: str
    from_: int
    checkpoint: str | None = None
    files: str | None = None
    stretches: Many[Stretch]
    insisted: Many[str] = ()
    patch_file: str | None = None
    corpus: str | None = None
    plan: str | None = None
    folder: str | None = None


class RunRecord(Settings):
    """The run that a save folder belongs to; ``starts`` is empty where an earlier version wrote it."""

    run: str
    starts: Many[Start] = ()


# -- reading and writing ------------------------------------------------------------------------------------


def read_run(save: Path) -> RunRecord | None:
    """The run record of a save folder, if there is one.

    Raises:
        CuratorError: it is damaged, or of an unknown version.
    """
    there = _read(save / RECORD)
    if there is None:
        return None
    version, data = there
    if version == 1:
        data = {"run": data.get("run")}
    return _as(RunRecord, data, save / RECORD)


def write_run(save: Path, record: RunRecord) -> None:
    """Write a save folder's run record."""
    save_json(save / RECORD, {**FORMAT, **record.to_json()})


def read_record(checkpoint: Path) -> CheckpointRecord | None:
    """The record of a checkpoint, if there is one; whether it is of these files is for `problem_of_files`.

    Raises:
        CuratorError: it is damaged, or of an unknown version.
    """
    there = _read(checkpoint / RECORD)
    if there is None:
        return None
    version, data = there
    if version == 1:  # one stretch, no files
        run = data.pop("run", None)
        rows = data.get("corpus_fingerprint") is not None
        data = {"run": run, "stretches": [{"batch_size": None, **data, "serves_rows": rows}]}
        missing = {"batch_size", "seq_length", "corpus_fingerprint", "plan_fingerprint"} - there[1].keys()
        if missing:
            raise _damaged(checkpoint / RECORD, f"{', '.join(sorted(missing))} missing")
    return _as(CheckpointRecord, data, checkpoint / RECORD)


def write_record(checkpoint: Path, record: CheckpointRecord) -> None:
    """Write a checkpoint's record."""
    save_json(checkpoint / RECORD, {**FORMAT, **record.to_json()})


def remove_record(checkpoint: Path) -> None:
    """Before anything is written into a checkpoint's folder: what was recorded of it holds no longer."""
    (checkpoint / RECORD).unlink(missing_ok=True)


def _read(path: Path) -> tuple[int, dict[str, Any]] | None:
    if not path.is_file():
        return None
    try:
        there = load_manifest(path, FORMAT, MEND, older=(1,))
    except CuratorError as error:
        raise CuratorError(f"{path}: cannot be read: {str(error).removeprefix(f'{path}: ')}") from error
    return int(there["version"]), {key: value for key, value in there.items() if key not in FORMAT}


def _as(kind: type[T], data: Mapping[str, Any], path: Path) -> T:
    try:
        return convert(data, kind, Source(path))
    except UsageError as error:
        raise _damaged(path, str(error).removeprefix(f"{path}: ")) from error


def _damaged(path: Path, says: str) -> CuratorError:
    return CuratorError(
        f"{path}: cannot be read: {says}; was it edited, or written by another version? If so, {MEND}"
    )


def told(read: Callable[[Path], T | None], place: Path) -> tuple[T | None, str | None]:
    """(what `read_run` or `read_record` finds in ``place``, why that cannot be read)."""
    try:
        return read(place), None
    except CuratorError as error:
        return None, str(error)


# -- checkpoints --------------------------------------------------------------------------------------------


def checkpoint_folder(save: Path, step: int) -> Path:
    """Where GPT-NeoX keeps the checkpoint after ``step`` steps."""
    return save / f"global_step{step}"


def step_of(tag: str) -> int | None:
    """The step of a checkpoint called ``tag``; None for other names."""
    match = _STEP.fullmatch(tag)
    return int(match[1]) if match else None


def checkpoints_in(save: Path) -> list[int]:
    """Steps of the checkpoints in a save folder, rising; names alone are looked at."""
    steps = (step_of(path.name) for path in save.glob("global_step*"))
    return sorted(step for step in steps if step is not None)


def latest_step(load: Path) -> int | None:
    """The step of the checkpoint that ``latest`` names, where it is there."""
    latest = load / "latest"
    step = step_of(latest.read_text().strip()) if latest.is_file() else None
    return step if step is not None and checkpoint_folder(load, step).is_dir() else None


def problem_of_record(record: CheckpointRecord, there: tuple[FileEntry, ...], step: int) -> str | None:
    """Why the record does not speak for the checkpoint after ``step`` steps, whose files are ``there``; or None."""
    if record.files is None:  # of an earlier version
        return None
    if record.step != step or not record.stretches:
        return (
            f"its record is of step {record.step}, and tells of {len(record.stretches)} stretches of training"
        )
    problem = problem_of_files(record.files, there)
    return problem and f"{problem}: something else has written there since, or part of it is lost"


def start_from(run: RunRecord | None, step: int, files: str) -> Start | None:
    """The first start of the run that went on from a checkpoint of ``step`` steps with these files, by fingerprint."""
    starts = () if run is None else run.starts
    same = (start for start in starts if start.from_ == step and start.checkpoint is not None)
    return next((start for start in same if start.files == files), None)


def recorded_checkpoints(save: Path) -> Iterator[int]:
    """Steps of checkpoints that are whole and known, by their own record or a start's; the newest first."""
    run, _ = told(read_run, save)
    for step in reversed(checkpoints_in(save)):
        checkpoint = checkpoint_folder(save, step)
        record, _ = told(read_record, checkpoint)
        if record is None and not any(start.from_ == step for start in (run.starts if run else ())):
            continue
        described = describe_files(checkpoint)
        if (record is not None and problem_of_record(record, described, step) is None) or start_from(
            run, step, fingerprint_of(described)
        ):
            yield step
