"""What each head adds to the copying of one token: its output is set to 0 (zero-ablation; paper, appendix H).

Sequences are ``[prefix][A B C][gap][A B]``, of tokens that all differ, and C is to come next. Of every head: the
log-probability of C with the head less that without it, and the same of the logit (eq. 39); positive = the head helps.
Variants of a model stand side by side in one batch, so that a few passes do for all heads. The logit also moves when a
head raises all logits alike, which changes no prediction; so the log-probability is the first.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from curator.errors import UsageError
from curator.units import ProbeSettings
from curator.units.attention import head_blocks

TOKENS_PER_PASS = 1 << 15
"""In all variants of a pass together."""
COPIED = 5
"""Tokens of [A B C] and [A B]."""


@dataclass(frozen=True)
class CopyTask:
    """``tokens`` [n, longest], padded on the right; ``last`` [n]: the position of the second B; ``target`` [n]: C."""

    tokens: Tensor
    last: Tensor
    target: Tensor


def draw_copy_task(settings: ProbeSettings, vocab_size: int, max_length: int) -> CopyTask:
    """Seeded; lengths of prefix and gap are uniform in [min_length, max_length], cut to the model's positions.

    Raises:
        UsageError: the model's positions, or the known ids, are too few.
    """
    ids = np.arange(vocab_size) if settings.ids is None else np.asarray(settings.ids)
    longest = min(settings.max_length, (max_length - COPIED) // 2, (len(ids) - 3) // 2)
    if longest < 1:
        raise UsageError(
            f"the copy task of ablations needs 7 positions and 5 token ids, not {max_length} and {len(ids)}"
        )
    random = np.random.default_rng([settings.seed, 6])
    lengths = random.integers(min(settings.min_length, longest), longest + 1, (settings.sequences, 2))
    tokens = np.zeros((settings.sequences, 2 * longest + COPIED), np.int64)
    last, target = lengths.sum(1) + COPIED - 1, np.zeros(len(lengths), np.int64)
    for number, (prefix, gap) in enumerate(lengths.tolist()):
        row = random.choice(ids, prefix + gap + 3, replace=False)
        tokens[number, : prefix + gap + 3] = row
        tokens[number, prefix + gap + 3 : prefix + gap + COPIED] = row[prefix : prefix + 2]
        target[number] = row[prefix + 2]
    return CopyTask(*map(torch.from_numpy, (tokens, last, target)))


@torch.no_grad()
def contributions(model: PreTrainedModel, task: CopyTask) -> tuple[Tensor, Tensor]:
    """(by log-probability in nats, by logit), each [layers, heads] float64: with the head less without it.

    Means over sequences; the model computes in its own precision.
    """
    layers, heads = model.config.num_hidden_layers, model.config.num_attention_heads
    variants: list[tuple[int, int] | None] = [None, *np.ndindex(layers, heads)]
    together = max(1, TOKENS_PER_PASS // task.tokens.numel())
    found = [
        part
        for start in range(0, len(variants), together)
        for part in _copied(model, task, variants[start : start + together])
    ]
    means = torch.stack(found).cpu()  # [variants, 2]
    by = (means[0] - means[1:]).view(layers, heads, 2)
    return by[..., 0], by[..., 1]


def _copied(
    model: PreTrainedModel, task: CopyTask, variants: list[tuple[int, int] | None]
) -> Iterator[Tensor]:
    """[2] float64 for each variant of the model: mean log-probability and logit of C."""
    n = len(task.tokens)
    tokens = task.tokens.to(model.device).repeat(len(variants), 1)
    with ExitStack() as hooks:
        for number, head in enumerate(variants):
            if head is not None:
                hooks.enter_context(_without(model, *head, slice(number * n, (number + 1) * n)))
        hidden = model.base_model(input_ids=tokens, use_cache=False).last_hidden_state
    last = task.last.to(model.device).repeat(len(variants))
    logits = model.get_output_embeddings()(hidden[torch.arange(len(hidden), device=hidden.device), last])
    logits = logits.double()
    target = task.target.to(model.device).repeat(len(variants))[:, None]
    both = [values.gather(1, target) for values in (logits.log_softmax(-1), logits)]
    yield from torch.cat(both, 1).view(len(variants), n, 2).mean(1)


@contextmanager
def _without(model: PreTrainedModel, layer: int, head: int, rows: slice) -> Iterator[None]:
    """The model, with the head's output 0 in some rows of a batch."""
    block = head_blocks(model, layer, head)["o"]
    assert isinstance(block.inputs, range)
    own = slice(block.inputs.start, block.inputs.stop)

    def leave_out(_: Any, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        context = inputs[0].clone()
        context[rows, :, own] = 0
        return (context, *inputs[1:])

    hook = model.get_submodule(block.module).register_forward_pre_hook(leave_out)
    try:
        yield
    finally:
        hook.remove()
