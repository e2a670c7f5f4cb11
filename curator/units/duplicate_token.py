"""Duplicate-token heads: attend from a token to its earlier copies, and carry something from there.

Metric: mean attention mass on a token's earlier copies, over the tokens that have one; of a sequence that is repeated
once, these are the second copy's (appendix C's stripe, with offset 0). Subspace: QK, V and O of the head. Probe: how
much the head carries over, Σ of α ‖W_O v‖ over the same entries: attention times the norm of what it moves (Kobayashi
et al., 2020). Refused: attention alone, which does not depend on V and O.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from curator.errors import CuratorError
from curator.units.attention import HeadUnit, attention_patterns, head_blocks
from curator.units.base import Block, take
from curator.units.sequences import Sequences, earlier_copies

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def _copies(sequences: Sequences) -> Tensor:
    """`earlier_copies` of sequences that have some."""
    copies = earlier_copies(sequences.tokens, sequences.valid())
    if not copies.any():
        raise CuratorError(
            "no token of the sequences occurs twice, so there is no earlier copy to attend to: duplicate-token heads "
            "need repeated tokens"
        )
    return copies


@dataclass(frozen=True)
class DuplicateTokenHead(HeadUnit):
    """A duplicate-token head, ``duplicate-token:LAYER.HEAD`` (0-based)."""

    kind: ClassVar[str] = "duplicate-token"

    @classmethod
    def pattern_scores(cls, patterns: Tensor, sequences: Sequences) -> Tensor:
        copies = _copies(sequences)
        counted = copies.any(2).sum(1).clamp(min=1)  # [n]
        per_sequence = (patterns * copies[:, None]).sum((2, 3)) / counted[:, None]
        return per_sequence.mean(0)

    def subspace(self, model: "PreTrainedModel") -> list[Block]:
        return list(head_blocks(model, self.layer, self.head).values())

    def probe(self, model: "PreTrainedModel", sequences: Sequences) -> Tensor:
        copies = _copies(sequences)
        blocks = head_blocks(model, self.layer, self.head)
        seen: list[Tensor] = []

        def note(_: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            seen.append(take(output, blocks["v"].outputs))

        hook = model.get_submodule(blocks["v"].module).register_forward_hook(note)
        try:
            pattern = attention_patterns(model, sequences)[self.layer][:, self.head]  # [n, t, s]
        finally:
            hook.remove()
        (values,) = seen  # [n, s, d_head]
        writes = take(model.get_parameter(f"{blocks['o'].module}.weight"), blocks["o"].inputs)
        moved = torch.linalg.vector_norm(values @ writes.mT, dim=-1)  # [n, s]
        return (pattern * copies * moved[:, None]).sum() / len(copies)
