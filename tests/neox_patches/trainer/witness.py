"""Records what GPT-NeoX's model really saw and what gradient it got; wraps the outside of whatever runs.

Set NEOX_WITNESS to a folder. Per rank r it leaves there, at the end of the run,
``rows-r.npy`` [micro-batches, batch, seq + 1] int64: tokens and last label of every training micro-batch, in order;
``steps-r.npy`` [micro-batches]: the training step of each, counted from the run's first; for the steps listed in
NEOX_WITNESS_STEPS, ``grads-r.npz``: ``step/parameter`` -> the gradient right before the model's step, float32; and
where NEOX_WITNESS_MOMENTS is set, ``moments-r.npz``: parameter -> Adam's second moment at the last save.
"""

import atexit
import os
import sys
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch


def install(training: Any) -> None:
    """Wrap ``megatron.training``; does nothing unless NEOX_WITNESS is set."""
    if "NEOX_WITNESS" not in os.environ:
        return
    folder, rank = Path(os.environ["NEOX_WITNESS"]), os.environ.get("RANK", "0")
    grad_steps = {int(step) for step in os.environ.get("NEOX_WITNESS_STEPS", "").split(",") if step}
    rows: list[np.ndarray] = []
    steps: list[int] = []
    grads: dict[str, np.ndarray] = {}
    moments: dict[str, np.ndarray] = {}
    now = {"step": -1, "training": False}

    train_step, get_batch = training.train_step, training._get_batch
    setup = training.setup_model_and_optimizer

    def watched_step(*args: Any, **kwargs: Any) -> Any:
        now["step"] += 1
        now["training"] = True
        try:
            return train_step(*args, **kwargs)
        finally:
            now["training"] = False

    def watched_batch(*args: Any, **kwargs: Any) -> Any:
        batch = get_batch(*args, **kwargs)
        if now["training"]:
            tokens, labels = batch[0], batch[1]
            rows.append(torch.cat([tokens, labels[:, -1:]], 1).cpu().numpy())
            steps.append(now["step"])
        return batch

    def watched_setup(*args: Any, **kwargs: Any) -> Any:
        result = setup(*args, **kwargs)
        if grad_steps:
            _watch_grads(result[0], grads, grad_steps, now)
        return result

    save_checkpoint = training.save_checkpoint

    def watched_save(*args: Any, **kwargs: Any) -> Any:
        engine = kwargs["model"]
        if kwargs["iteration"] > 0:  # before, there are none
            moments.update(_moments(engine))
        return save_checkpoint(*args, **kwargs)

    if os.environ.get("NEOX_WITNESS_MOMENTS"):
        training.save_checkpoint = watched_save
    training.train_step, training._get_batch = watched_step, watched_batch
    training.setup_model_and_optimizer = watched_setup

    def save() -> None:
        np.save(folder / f"rows-{rank}.npy", np.stack(rows) if rows else np.zeros((0, 0, 0), np.int64))
        np.save(folder / f"steps-{rank}.npy", np.array(steps, np.int64))
        if grads:
            np.savez(folder / f"grads-{rank}.npz", **grads)
        if moments:
            np.savez(folder / f"moments-{rank}.npz", **moments)

    atexit.register(save)


def leave(code: int = 0) -> NoReturn:
    """End the process, its records written, without Python taking itself apart.

    While it does, a thread of PyTorch's gloo backend now and then aborts the process ("terminate called without an
    active exception"), long after training is over.
    """
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _watch_grads(engine: Any, grads: dict[str, np.ndarray], wanted: set[int], now: dict[str, Any]) -> None:
    from deepspeed.utils import safe_get_full_grad

    take_step = engine._take_model_step

    def watched(*args: Any, **kwargs: Any) -> Any:
        if now["step"] in wanted:
            for name, parameter in engine.module.named_parameters():
                grad = safe_get_full_grad(parameter)  # .grad may be the last micro-batch's alone (bf16)
                if grad is not None:
                    grads[f"{now['step']}/{name}"] = grad.detach().float().cpu().numpy().copy()
        return take_step(*args, **kwargs)

    engine._take_model_step = watched


def _moments(engine: Any) -> dict[str, np.ndarray]:
    """Parameter -> exp_avg_sq of this tensor-parallel rank, whole, as DeepSpeed's optimizers hold it in memory."""
    import deepspeed.comm

    outer = engine.optimizer
    states = getattr(outer, "optimizer", outer).state
    masters, pieces = (
        {},
        {},
    )  # of fp16: one state per parameter, or one per group in the order of its parameters
    for halves, fulls in zip(getattr(outer, "fp16_groups", []), getattr(outer, "fp32_groups", [])):
        masters |= {id(half): full for half, full in zip(halves, fulls)}
    for halves, flat in zip(getattr(outer, "fp16_groups", []), getattr(outer, "fp32_groups_flat", [])):
        sizes = [half.numel() for half in halves]
        parts = states[flat]["exp_avg_sq"][: sum(sizes)].split(sizes)
        pieces |= {id(half): part for half, part in zip(halves, parts)}
    partitions = getattr(outer, "single_partition_of_fp32_groups", None)  # of ZeRO
    if partitions is None:
        partitions = getattr(outer, "fp32_groups_flat_partition", [])  # of bfloat16
    found = {}
    for name, parameter in engine.module.named_parameters():
        if hasattr(parameter, "_hp_mapping"):
            value = torch.zeros(parameter.numel())
            mapping = parameter._hp_mapping
            if mapping is not None:  # a piece of it is this rank's
                there, here = mapping.lp_fragment_address, mapping.hp_fragment_address
                own = states[partitions[mapping.param_group_index]]["exp_avg_sq"]
                value[there.start :][: there.numel] = own[here.start :][: here.numel]
            deepspeed.comm.all_reduce(value, group=parameter._dp_group)
        elif id(parameter) in pieces:
            value = pieces[id(parameter)]
        else:
            value = states[masters.get(id(parameter), parameter)]["exp_avg_sq"]
        found[name] = value.detach().float().cpu().numpy().reshape(parameter.shape).copy()
    return found
