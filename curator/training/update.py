"""One update of the embedded trainer. Update t trains on slots t*B .. t*B + B - 1 of the plan:

    gradient = sum over kept slots of  weight * (sum of the losses of the sample's tokens that count)  /  D,

with D = B * T, all tokens of the step, or the number of those left where the plan renormalises. Masked samples
are left out of the forward pass, so that their contribution is zero exactly and costs nothing; refused:
multiplying a masked loss by 0, which turns a non-finite one into NaN. Where every slot of an update is masked
its gradient is zero, and Adam still decays the weights and moves by its momentum, as it does in GPT-NeoX.
"""

import math

import numpy as np
import torch
from transformers import GPTNeoXForCausalLM

from curator.errors import CuratorError
from curator.plan.rows import PlannedRows
from curator.training.config import TrainingConfig


def update(
    model: GPTNeoXForCausalLM,
    optimizer: torch.optim.Optimizer,
    config: TrainingConfig,
    rows: PlannedRows,
    step: int,
) -> float:
    """Do update ``step``, counted from 0; returns the mean loss before it."""
    learning_rate = config.learning_rate_at(step)
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
    loss = accumulate_gradient(model, config, rows, step)
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), config.gradient_clip or math.inf).item()
    if not math.isfinite(norm):
        slots = f"{step * config.batch_size} .. {(step + 1) * config.batch_size - 1}"
        raise CuratorError(
            f"update {step}: the loss is {loss} and the gradient's norm {norm}, at learning rate "
            f"{learning_rate:.3g}; lower learning_rate, warm up for longer, or look at slots {slots}. "
            "The checkpoints before it are whole"
        )
    optimizer.step()
    return loss


def accumulate_gradient(
    model: GPTNeoXForCausalLM, config: TrainingConfig, rows: PlannedRows, step: int
) -> float:
    """Leave the gradient of update ``step`` in the parameters' ``.grad``.

    Returns the weighted mean loss per token over the tokens that count, in nats; NaN where all are masked.
    """
    first = step * config.batch_size
    slots = np.arange(first, first + config.batch_size)
    weights = rows.plan.lookup(slots).weight
    kept = weights > 0
    tokens, weights = _read(rows, slots[kept], config.vocab_size), weights[kept]
    counted = rows.plan.counted(slots[kept])  # [samples, T], or None where every token counts
    divisor = config.batch_size * config.seq_length
    if rows.plan.divisor == "renormalised":
        divisor = rows.plan.tokens_per_step(step, config.seq_length)
    device, dtype = model.device, model.dtype

    for parameter in model.parameters():
        parameter.grad = None if len(tokens) else torch.zeros_like(parameter)
    total = 0.0
    micro = config.micro_batch_size or config.batch_size
    for start in range(0, len(tokens), micro):
        batch = torch.from_numpy(tokens[start : start + micro]).to(device)  # [samples, T + 1]
        logits = model(input_ids=batch[:, :-1], use_cache=False).logits  # [samples, T, vocab]
        targets = batch[:, 1:].flatten()
        token_losses = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets, reduction="none")
        token_losses = token_losses.view(len(batch), -1)
        if counted is not None:
            counts = torch.from_numpy(counted[start : start + micro]).to(device)
            token_losses = torch.where(counts, token_losses, torch.zeros_like(token_losses))
        weight = torch.from_numpy(weights[start : start + micro]).to(device, dtype)
        loss = (token_losses.sum(1) * weight).sum()
        (loss / divisor).backward()
        total += loss.item()
    if not len(tokens):
        return math.nan
    if counted is None:
        return total / (float(weights.sum()) * config.seq_length)
    return total / float((weights.astype(np.float64) * counted.sum(1)).sum())


def _read(rows: PlannedRows, slots: np.ndarray, vocab_size: int) -> np.ndarray:
    """[slots, T + 1] int64 tokens, checked against the vocabulary."""
    tokens = rows.rows(slots)
    if tokens.size and (tokens.max() >= vocab_size or tokens.min() < 0):
        row, column = np.argwhere((tokens >= vocab_size) | (tokens < 0))[0]
        held = rows.plan.lookup(slots[[row]])
        raise CuratorError(
            f"{rows.corpora[held.source[0]].path}: sample {held.sample[0]} holds token {tokens[row, column]} at "
            f"position {column}, but the model knows ids below vocab_size = {vocab_size}; raise vocab_size, or "
            "look at how the corpus was made"
        )
    return tokens
