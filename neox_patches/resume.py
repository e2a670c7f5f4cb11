"""Records in the save folder: which run it is, and with which plan, corpus and batch size each checkpoint was trained.

``SAVE/neox_patches.json`` names the run; it is written at its first step. ``SAVE/global_step{N}/neox_patches.json`` is
written with each checkpoint. A run that goes on from a checkpoint is refused where its batch size is another, or where
its plan changes slots that were trained on already with another plan.
"""

import uuid
from pathlib import Path
from typing import Any

from curator.emission import RECORD
from curator.errors import CuratorError
from curator.plan import Plan
from curator.storage import load_json, save_json

FORMAT = {"format": "neox-patches-run", "version": 1}


def describe_run(
    plan: Plan | None, corpus_fingerprint: str | None, batch_size: int, seq_length: int
) -> dict[str, Any]:
    """What a run is, as far as its slots go."""
    return {
        **FORMAT,
        "batch_size": batch_size,
        "seq_length": seq_length,
        "corpus_fingerprint": corpus_fingerprint,
        "plan_fingerprint": None if plan is None else plan.fingerprint(),
        "first_edited_step": None if plan is None else plan.first_edited_slot() // plan.batch_size,
    }


def run_of(save: Path | None) -> str:
    """The run that the save folder belongs to: its own name for it, or a new one."""
    record = None if save is None else save / RECORD
    if record is not None and record.is_file():
        return str(_read(record, ("run",))["run"])
    return uuid.uuid4().hex[:16]


def checkpoint_folder(save: Path, iteration: int) -> Path:
    """Where GPT-NeoX keeps the checkpoint after ``iteration`` steps."""
    return save / f"global_step{iteration}"


def _read(record: Path, keys: tuple[str, ...]) -> dict[str, Any]:
    there = load_json(record)
    wrong = not isinstance(there, dict) or {key: there.get(key) for key in FORMAT} != FORMAT
    if wrong or any(key not in there for key in keys):
        raise CuratorError(
            f"{record}: expected a JSON object with {FORMAT} and {', '.join(keys)}; was it edited, or written by "
            "another version? Remove it to go on unchecked"
        )
    return dict(there)


def check_resume(load: Path, iteration: int, run: dict[str, Any], plan: Plan | None) -> bool:
    """Refuse to go on from ``load`` at ``iteration`` with a run that does not fit what was done so far.

    Returns:
        Whether the checkpoint has a record; without one, the batch size cannot be compared.

    Raises:
        CuratorError: names both sides.
    """
    record = checkpoint_folder(load, iteration) / RECORD
    there = _read(record, tuple(run)) if record.is_file() else None
    if there is not None:
        for key, name in (("batch_size", "global batch size"), ("seq_length", "seq-length")):
            if there[key] != run[key]:
                raise CuratorError(
                    f"{load}: {iteration} steps were trained with a {name} of {there[key]}, but this run is "
                    f"configured with {run[key]}: its steps would hold other samples; configure {there[key]}, or "
                    "start anew"
                )
        if None not in (there["corpus_fingerprint"], run["corpus_fingerprint"]) and (
            there["corpus_fingerprint"] != run["corpus_fingerprint"]
        ):
            raise CuratorError(
                f"{load}: {iteration} steps were trained on the corpus {there['corpus_fingerprint']}, but this run's "
                f"corpus is {run['corpus_fingerprint']}; give the same corpus"
            )
    before = None if there is None else there["plan_fingerprint"]
    if before == run["plan_fingerprint"]:
        return there is not None
    edited = None if plan is None else plan.first_edited_slot() // plan.batch_size
    if plan is not None and edited is not None and edited < iteration:
        with_what = f"the plan {before}" if before else "no plan"
        raise CuratorError(
            f"{load}: {iteration} steps were trained with {with_what}, but the plan {run['plan_fingerprint']} edits "
            f"step {edited}, which is over: that edit would never be trained on; go on from a checkpoint of at most "
            f"step {edited}, or plan edits of later steps alone"
        )
    first_before = None if there is None else there["first_edited_step"]
    if before is not None and first_before is not None and first_before < iteration:
        raise CuratorError(
            f"{load}: {iteration} steps were trained with the plan {before}, which edits step {first_before} already, "
            f"but this run's plan is {run['plan_fingerprint'] or 'none'}; give the same plan, or go on from a "
            f"checkpoint of at most step {first_before}"
        )
    return there is not None


def write_run(save: Path, run: str) -> None:
    """Name the run in its save folder."""
    save_json(save / RECORD, {**FORMAT, "run": run})


def write_record(save: Path, iteration: int, described: dict[str, Any], run: str) -> None:
    """Write what a checkpoint was trained with."""
    save_json(checkpoint_folder(save, iteration) / RECORD, {**described, "run": run})
