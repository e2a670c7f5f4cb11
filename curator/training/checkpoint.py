"""Checkpoints of the embedded trainer: a Hugging Face folder plus what is needed to go on bit-identically.

``step{N}/`` holds config.json and model.safetensors (the weights after N updates), optimizer.safetensors
(Adam's moments, named ``parameter.moment``) and trainer.json (which run this is). It is written under
another name and renamed into place, so a folder called ``step{N}`` is whole.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import GPTNeoXForCausalLM

from curator.artifacts.files import new_folder, remove_temporaries, save_json
from curator.artifacts.fingerprints import differences
from curator.artifacts.manifests import load_manifest
from curator.errors import CuratorError
from curator.models.hf import load_model, quiet_transformers
from curator.models.listing import list_checkpoints
from curator.models.moments import OPTIMIZER, RUN

_FORMAT = {"format": "curator-training", "version": 1}


def write_checkpoint(
    out: Path, step: int, model: GPTNeoXForCausalLM, optimizer: torch.optim.Optimizer, run: Mapping[str, Any]
) -> Path:
    """Write ``out/step{step}``; ``run`` says which run it is of (JSON values). Returns the folder."""
    folder = out / f"step{step}"
    state = {
        f"{name}.{key}": value.contiguous()
        for name, parameter in model.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
    }
    with new_folder(folder, replace=False) as temporary:
        with quiet_transformers():
            model.save_pretrained(temporary)
        save_file(state, temporary / OPTIMIZER)
        save_json(temporary / RUN, {**_FORMAT, "step": step, **run})
    return folder


def read_checkpoint(folder: Path, model: GPTNeoXForCausalLM, optimizer: torch.optim.Optimizer) -> None:
    """Put the weights and Adam's moments of ``folder`` into a model and a new optimizer.

    Everything is copied into torch's own memory: kernels may round differently on a memory map's
    alignment, and a resumed run must not differ from an uninterrupted one by a bit.

    Raises:
        CuratorError: a file is missing or damaged, or does not fit the model.
    """
    model.load_state_dict(load_model(folder, torch.float32).state_dict())
    path = folder / OPTIMIZER
    try:
        state = load_file(path)
    except (SafetensorError, OSError) as error:
        raise CuratorError(f"{path}: cannot be read ({error}); continue from another checkpoint") from error
    moments = ("step", "exp_avg", "exp_avg_sq") if state else ()  # before the first update there are none
    names = dict(model.named_parameters())
    if set(state) != {f"{name}.{key}" for name in names for key in moments}:
        raise CuratorError(
            f"{path}: its entries are not those of this model; continue from another checkpoint"
        )
    for name, parameter in names.items():
        for key in moments:
            optimizer.state[parameter][key] = state[f"{name}.{key}"].clone().to(parameter.device)


def read_run(folder: Path) -> dict[str, Any]:
    """trainer.json of a checkpoint.

    Raises:
        CuratorError: the folder is no checkpoint of the embedded trainer.
    """
    path = folder / RUN
    if not path.is_file():
        raise CuratorError(
            f"{folder}: not a checkpoint of the embedded trainer (no trainer.json); expected a step folder "
            "that 'curator train' wrote"
        )
    return load_manifest(path, _FORMAT, "take another checkpoint, or train again")


def check_same_run(folder: Path, there: Mapping[str, Any], ours: Mapping[str, Any], mend: str) -> None:
    """Refuse the checkpoint in ``folder`` unless it agrees with every field of ``ours``; names both sides."""
    lines = differences(ours, {key: there.get(key) for key in ours})
    if lines:
        raise CuratorError(
            f"{folder}: this is a checkpoint of another run:\n  " + "\n  ".join(lines) + f"\n{mend}"
        )


def trained_checkpoints(out: Path) -> dict[int, Path]:
    """The embedded trainer's checkpoints in ``out``, by step; removes what a killed run left."""
    if not out.is_dir():
        return {}
    remove_temporaries(out, "step*", "losses.npy")
    return dict(list_checkpoints(out))
