"""The folder of an arm: one more GPT-NeoX run, with everything that it needs, in its save and load folder.

``load`` and ``save`` are one, so that the same command, requeued, goes on where the arm stopped. The start checkpoint
is copied, never linked: the trainer may write there again, keep_last_n_checkpoints deletes it and fails on a linked
folder, and the baseline's may be removed. Its record comes with it, and the folder's own says from the beginning that
the arm is trained with patches.
"""

import datetime
import os
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from curator.artifacts.files import new_folder, save_json, save_text
from curator.artifacts.manifests import load_manifest
from curator.errors import CuratorError
from curator.neox.digests import describe_files, fingerprint_of
from curator.neox.records import (
    RunRecord,
    Start,
    Stretch,
    step_of,
    write_run,
)
from curator.neox.standing import Standing, joined

FORMAT = {"format": "curator-arm", "version": 1}


@dataclass(frozen=True, kw_only=True)
class Arm:
    """What an arm is made of.

    Attributes:
        out: its folder, absolute.
        checkpoint, standing: what it starts from and what is known of that; None: anew, from step 0.
        now: how it trains; patch: what its patch file says.
        settings: every setting of GPT-NeoX; changed: those that are not the baseline's; configs: where they come from.
        baseline_steps: for how many steps the baseline trains; command: how to start it.
    """

    out: Path
    checkpoint: Path | None
    standing: Standing | None
    now: Stretch
    patch: Mapping[str, Any]
    settings: Mapping[str, Any]
    changed: Mapping[str, Any]
    configs: tuple[Path, ...]
    baseline_steps: int
    command: str

    @property
    def step(self) -> int:
        """Where it starts."""
        return 0 if self.checkpoint is None else step_of(self.checkpoint.name) or 0


def write_arm(arm: Arm) -> None:
    """Write the folder; it appears at once, when everything is in it.

    Raises:
        CuratorError: the checkpoint does not fit on the disk, or changed while it was copied.
    """
    date = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    title = f"# Written by curator arm on {date}"
    with new_folder(arm.out) as folder:
        if arm.checkpoint is not None and arm.standing is not None:
            _copy(arm.checkpoint, folder / arm.checkpoint.name, arm.out.parent, arm.standing.files)
            save_text(folder / "latest", arm.checkpoint.name)
        write_run(folder, RunRecord(run=uuid.uuid4().hex[:16], starts=(_start(arm, date),)))
        patch = yaml.safe_dump(dict(arm.patch), sort_keys=False) if arm.patch else ""
        save_text(folder / "patch.yml", f"{title}; docs/neox.md has every key.\n{patch}")
        made_of = "\n".join(f"#   {file.absolute()}" for file in arm.configs)
        settings = yaml.safe_dump(
            dict(arm.settings), sort_keys=False, allow_unicode=True, default_flow_style=None, width=110
        )
        save_text(
            folder / "train.yml",
            f"{title}: every setting of GPT-NeoX, merged from\n{made_of}\n"
            f"# and changed in {', '.join(arm.changed)}.\n{settings}",
        )
        described = {
            "from": None if arm.checkpoint is None else str(arm.checkpoint),
            "step": arm.step,
            "baseline_steps": arm.baseline_steps,
            "patch": dict(arm.patch),
            "configs": [str(file.absolute()) for file in arm.configs],
            "changed": dict(arm.changed),
            "command": arm.command,
            "date": date,
        }
        save_json(folder / "arm.json", {**FORMAT, **described})


def read_arm(folder: Path) -> dict[str, Any] | None:
    """What ``arm.json`` of a save folder says; None where it is no arm's.

    Raises:
        CuratorError: it is damaged, or of another version.
    """
    file = folder / "arm.json"
    return (
        load_manifest(file, FORMAT, "remove it, and the steps of its train.yml count")
        if file.is_file()
        else None
    )


def _start(arm: Arm, date: str) -> Start:
    """As if the trainer had been started: without the patch file it is refused from the first time on."""
    standing = arm.standing
    return Start(
        date=date,
        from_=arm.step,
        checkpoint=None if arm.checkpoint is None else str(arm.out / arm.checkpoint.name),
        files=None if standing is None else standing.files,
        stretches=joined(() if standing is None else standing.stretches, arm.step, arm.now),
        insisted=() if standing is None else standing.insisted,
        patch_file=str(arm.out / "patch.yml"),
        corpus=arm.patch.get("corpus"),
        plan=arm.patch.get("plan"),
    )


def _copy(checkpoint: Path, target: Path, disk: Path, files: str) -> None:
    """Copy a checkpoint with its record; by the file system itself where it can (no space is taken then)."""
    there = [path for path in sorted(checkpoint.rglob("*")) if path.is_file()]
    size, free = sum(path.stat().st_size for path in there), shutil.disk_usage(target.parent).free
    if size > free:
        raise CuratorError(
            f"{checkpoint}: {size / 1e9:.3g} GB are to be copied to {disk}, where {free / 1e9:.3g} GB are free"
        )
    for path in there:
        copy = target / path.relative_to(checkpoint)
        copy.parent.mkdir(parents=True, exist_ok=True)
        _copy_file(path, copy)
    if fingerprint_of(describe_files(target)) != files:
        raise CuratorError(
            f"{checkpoint}: changed while it was copied; is a run still saving there? Start again"
        )


def _copy_file(source: Path, target: Path) -> None:
    with open(source, "rb") as read, open(target, "wb") as write:
        try:
            while os.copy_file_range(read.fileno(), write.fileno(), 2**30):
                pass
        except (OSError, AttributeError):  # another disk, or a system that has no such call
            read.seek(0)
            write.seek(0)
            write.truncate()
            shutil.copyfileobj(read, write, 2**24)
