"""Weights of tokens put into GPT-NeoX's loss by hand, known by what the rows hold: a reference that knows of no plan.

Set NEOX_BY_HAND to an ``.npz`` of ``targets`` [n, seq] and ``weights`` [n, seq]. A token's gradient is times its
weight, the losses' values stay; a row that is not among them counts as it is. No slot, step or micro-batch is counted
here.
"""

import os
from typing import Any

import numpy as np
import torch


def install(mpu: Any) -> None:
    """Wrap ``megatron.mpu``; does nothing unless NEOX_BY_HAND is set."""
    if "NEOX_BY_HAND" not in os.environ:
        return
    with np.load(os.environ["NEOX_BY_HAND"]) as file:
        targets, weights = file["targets"].astype(np.int64), file["weights"].astype(np.float32)
    known = {row.tobytes(): weight for row, weight in zip(targets, weights)}
    assert len(known) == len(targets), "two rows are alike"
    token_losses = mpu.vocab_parallel_cross_entropy

    def weighted(logits: Any, target: Any, *args: Any, **kwargs: Any) -> Any:
        losses = token_losses(logits, target, *args, **kwargs)
        rows = target.cpu().numpy().astype(np.int64)
        ones = np.ones(rows.shape[1], np.float32)
        weight = torch.from_numpy(np.stack([known.get(row.tobytes(), ones) for row in rows])).to(losses)
        gradient = losses * weight
        return gradient + (losses - gradient).detach()

    mpu.vocab_parallel_cross_entropy = weighted
