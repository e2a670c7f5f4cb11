"""Which checkpoints a folder holds, told from names alone; no weights are read."""

import re
from pathlib import Path

from curator.errors import CuratorError
from curator.models.neox_files import find_files

WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
_HF_STEP = re.compile(r"(?:step[-_]?|checkpoint-)(\d+)")
_NEOX_STEP = re.compile(r"global_step(\d+)")


def list_checkpoints(folder: str | Path) -> list[tuple[int, Path]]:
    """(step, path) of every complete checkpoint in ``folder``, by step.

    Hugging Face folders are named ``step{N}``, ``step-{N}``, ``step_{N}`` or, by their Trainer, ``checkpoint-{N}``, and
    are complete with config and weights; GPT-NeoX checkpoints are named ``global_step{N}`` and complete when no file of
    their layout is missing.

    Raises:
        CuratorError: the folder does not exist, or two folders are the same step.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise CuratorError(
            f"{folder}: no such folder; expected one that holds checkpoints step0, step100 ..."
        )
    found: dict[int, Path] = {}
    for path in sorted(folder.iterdir()):
        hf, neox = _HF_STEP.fullmatch(path.name), _NEOX_STEP.fullmatch(path.name)
        match = hf or neox
        if match is None or not (is_hf_folder(path) if hf else _is_whole_neox(path)):
            continue
        step = int(match[1])
        if step in found:
            raise CuratorError(f"{folder}: {found[step].name} and {path.name} are both step {step}; keep one")
        found[step] = path
    return sorted(found.items())


def step_of(model: str) -> int | None:
    """The step that the name of a checkpoint's folder, or of a hub revision, tells; None where it tells none."""
    name = re.split("[/@]", model.rstrip("/"))[-1]
    match = _HF_STEP.fullmatch(name) or _NEOX_STEP.fullmatch(name)
    return int(match[1]) if match else None


def is_hf_folder(path: Path) -> bool:
    """Whether config and weights are there."""
    return (path / "config.json").is_file() and any((path / name).is_file() for name in WEIGHTS)


def _is_whole_neox(path: Path) -> bool:
    try:
        find_files(path)
    except CuratorError:
        return False
    return True


def checkpoints_in(folder: Path) -> str:
    """`` (FOLDER holds the checkpoints ...)``, or nothing."""
    steps = [path.name for _, path in list_checkpoints(folder)]
    shown = ", ".join(steps if len(steps) <= 12 else [*steps[:6], "...", *steps[-6:]])
    return f" ({folder} holds the checkpoints {shown})" if steps else ""
