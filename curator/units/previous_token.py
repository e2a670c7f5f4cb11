"""Previous-token heads: attend to the token one position back.

Metric and probe: attention mass on the previous token over random sequences (eq. 15; the probe sums over
positions). Subspace: QK of the head alone (eq. 16), since the pattern depends on nothing else.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from curator.units.attention import HeadUnit, attention_patterns, head_blocks
from curator.units.base import Block, Unit
from curator.units.natural import draw_frequent, draw_rows
from curator.units.sequences import ProbeSettings, Sequences, draw_random

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def _previous_token_mass(patterns: Tensor, lengths: Tensor) -> Tensor:
    """Σ over positions 1 ≤ t < length of attention[t, t - 1]: [n, n_heads]."""
    mass = patterns.diagonal(offset=-1, dim1=2, dim2=3)  # [n, n_heads, T - 1]
    counted = torch.arange(1, mass.shape[-1] + 1, device=mass.device) < lengths[:, None]
    return (mass * counted[:, None]).sum(-1)


@dataclass(frozen=True)
class PreviousTokenHead(HeadUnit):
    """A previous-token head, ``previous-token:LAYER.HEAD`` (0-based)."""

    kind: ClassVar[str] = "previous-token"
    PROBES: ClassVar[Mapping[str, str]] = MappingProxyType(
        {
            "paper": "attention to the token before, tokens drawn alike",
            "frequency": "the same, tokens as frequent as in the corpus",
            "natural": "the same, in rows of the corpus",
        }
    )

    @classmethod
    def pattern_scores(cls, patterns: Tensor, sequences: Sequences) -> Tensor:
        # Of a repeated sequence only the first copy is a random sequence; causal attention in it is
        # the same as if it stood alone.
        lengths = sequences.lengths if sequences.period is None else sequences.period
        return (_previous_token_mass(patterns, lengths) / (lengths - 1)[:, None]).mean(0)

    def subspace(self, model: "PreTrainedModel") -> list[Block]:
        return [head_blocks(model, self.layer, self.head)["qk"]]

    def probe(self, model: "PreTrainedModel", sequences: Sequences) -> Tensor:
        patterns = attention_patterns(model, sequences)[self.layer]
        return _previous_token_mass(patterns, sequences.lengths)[:, self.head].mean()

    @classmethod
    def probe_values(
        cls, units: Sequence[Unit], model: "PreTrainedModel", sequences: Sequences
    ) -> Sequence[float]:
        with torch.no_grad():
            patterns = attention_patterns(model, sequences)
            means = [_previous_token_mass(one, sequences.lengths).mean(0) for one in patterns]
        return [float(means[one.layer][one.head]) for one in units if isinstance(one, PreviousTokenHead)]

    def sequences(self, settings: ProbeSettings, vocab_size: int, max_length: int) -> Sequences:
        draw = {"frequency": draw_frequent, "natural": draw_rows}.get(self.asks, draw_random)
        return draw(settings, vocab_size, max_length)
