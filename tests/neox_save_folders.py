"""Save folders of patched runs, with the records of their checkpoints and starts."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from curator.neox.digests import describe_files
from curator.neox.records import (
    CheckpointRecord,
    RunRecord,
    Start,
    Stretch,
    checkpoint_folder,
    write_record,
    write_run,
)
from curator.plan.plan import Plan
from neox_patches.resume import describe_run

LATE, EARLY = (Plan.identity(80, 4, "corpus").mask(np.array([slot])) for slot in (50, 2))


PATCHED = describe_run(LATE, "corpus", 4, 32, serves_rows=True)


def saved(save: Path, step: int, *stretches: Stretch, recorded: bool = True) -> Path:
    """A checkpoint of two files and a copy of a config, recorded or not."""
    folder = checkpoint_folder(save, step)
    (folder / "configs").mkdir(parents=True)
    (folder / "configs" / "config.yml").write_text("{}")
    for name in ("mp_rank_00_model_states.pt", "zero_pp_rank_0_mp_rank_00_optim_states.pt"):
        torch.save({"step": step, "weights": torch.full((4,), float(step))}, folder / name)
    if recorded:
        made = CheckpointRecord(run="me", stretches=stretches, files=describe_files(folder), step=step)
        write_record(folder, made)
    return folder


def started(save: Path, *starts: Start) -> None:
    write_run(save, RunRecord(run="me", starts=starts))


def start(from_: int, *stretches: Stretch, **changes: Any) -> Start:
    return Start(date="2026-01-01", from_=from_, stretches=stretches, **changes)
