"""What all attention-head units share: where a head's weights lie, and attention patterns.

GPT-NeoX keeps the query, key and value rows of a head together: head h owns rows
``h*3*d_head … (h+1)*3*d_head`` of ``query_key_value`` in the order q, k, v, and columns
``h*d_head … (h+1)*d_head`` of ``dense``. So [W_Q; W_K], the joint block of paper appendix A.2, is one
contiguous range of rows.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from curator.artifacts.fields import PAPER, ProbeName
from curator.errors import UsageError
from curator.units.base import Block, Unit
from curator.units.sequences import Sequences

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def head_blocks(model: "PreTrainedModel", layer: int, head: int) -> dict[str, Block]:
    """The blocks ``qk``, ``v`` and ``o`` of one head (paper, appendix A.3)."""
    d_model = model.config.hidden_size
    d_head = d_model // model.config.num_attention_heads
    attention = f"{model.base_model_prefix}.layers.{layer}.attention"
    first = head * 3 * d_head
    everything = range(d_model)
    return {
        "qk": Block("qk", f"{attention}.query_key_value", everything, range(first, first + 2 * d_head)),
        "v": Block(
            "v", f"{attention}.query_key_value", everything, range(first + 2 * d_head, first + 3 * d_head)
        ),
        "o": Block("o", f"{attention}.dense", range(head * d_head, (head + 1) * d_head), everything),
    }


@contextmanager
def _eager_attention(model: "PreTrainedModel") -> Iterator[None]:
    """Attention patterns exist only in the eager implementation; scoring keeps SDPA."""
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def attention_patterns(model: "PreTrainedModel", sequences: Sequences) -> tuple[Tensor, ...]:
    """Post-softmax attention of every layer: a tuple of [n, n_heads, longest, longest]."""
    with _eager_attention(model):
        output = model.base_model(
            input_ids=sequences.tokens.to(model.device), use_cache=False, output_attentions=True
        )
    return tuple(output.attentions)


@dataclass(frozen=True)
class HeadUnit(Unit):
    """A unit that is one attention head; 0-based ``layer`` and ``head``, and the name of its probe."""

    layer: int
    head: int
    asks: ProbeName = PAPER
    kind: ClassVar[str] = ""

    @property
    def name(self) -> str:
        return f"{self.kind}:{self.layer}.{self.head}" + (f":{self.asks}" if self.asks != PAPER else "")

    def with_probe(self, name: ProbeName) -> Unit:
        super().with_probe(name)
        return replace(self, asks=name)

    @classmethod
    def parse(cls, address: str, model: "PreTrainedModel") -> list[Unit]:
        n_layers, n_heads = model.config.num_hidden_layers, model.config.num_attention_heads
        exists = f"this model has layers 0 to {n_layers - 1} with heads 0 to {n_heads - 1} each"
        if address == "*":
            return [cls(layer, head) for layer in range(n_layers) for head in range(n_heads)]
        match = re.fullmatch(r"(\d+)\.(\d+|\*)", address)
        if not match:
            raise UsageError(
                f"unit '{cls.kind}:{address}' is not of the form {cls.kind}:LAYER.HEAD, {cls.kind}:LAYER.* "
                f"or {cls.kind}:*; {exists}"
            )
        layer = int(match[1])
        heads = range(n_heads) if match[2] == "*" else [int(match[2])]
        if layer >= n_layers or any(head >= n_heads for head in heads):
            raise UsageError(f"no head '{address}' for unit '{cls.kind}:{address}': {exists}")
        return [cls(layer, head) for head in heads]

    @classmethod
    def pattern_scores(cls, patterns: Tensor, sequences: Sequences) -> Tensor:
        """The metric of every head of one layer from its patterns [n, n_heads, T, T] -> [n_heads]."""
        raise TypeError(f"{cls.__name__} defines no metric on attention patterns")

    @staticmethod
    def observe(model: "PreTrainedModel", sequences: Sequences) -> tuple[Tensor, ...]:
        return attention_patterns(model, sequences)

    @classmethod
    def metrics(cls, units: Sequence[Unit], observed: Any, sequences: Sequences) -> list[float]:
        scores = torch.stack([cls.pattern_scores(layer, sequences).double().cpu() for layer in observed])
        return [float(scores[unit.layer, unit.head]) for unit in units if isinstance(unit, HeadUnit)]

    def metric(self, model: "PreTrainedModel", sequences: Sequences) -> float:
        return float(self.all_heads(model, sequences)[self.layer, self.head])

    @classmethod
    def all_heads(cls, model: "PreTrainedModel", sequences: Sequences) -> Tensor:
        """The metric of every head from one forward pass: [n_layers, n_heads] float64."""
        sequences, heads = sequences.to(model.device), cls.parse("*", model)
        with torch.no_grad():
            metrics = cls.metrics(heads, cls.observe(model, sequences), sequences)
        return torch.tensor(metrics, dtype=torch.float64).view(model.config.num_hidden_layers, -1)

    @classmethod
    def chance(cls, sequences: Sequences) -> float:
        """The metric of a head that attends alike to every token up to its own."""
        n, longest = sequences.tokens.shape
        pattern = torch.ones(longest, longest, dtype=torch.float64).tril()
        pattern /= pattern.sum(-1, keepdim=True)
        return float(cls.pattern_scores(pattern.expand(n, 1, longest, longest), sequences)[0])
