"""Induction heads: attend from a token to what followed its earlier occurrence, and copy it.

Metric: mean attention on the diagonal stripe between two copies of a random sequence (appendix C).
Subspace: QK, V and O of the head. Probe: log-likelihood of the token to be copied (eq. 18).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from curator.errors import CuratorError
from curator.units.attention import HeadUnit, head_blocks
from curator.units.base import Block
from curator.units.sequences import Sequences, earlier_copies

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def copy_targets(tokens: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """For each position t whose token occurred before: the token after its last earlier occurrence.

    Args:
        tokens: [n, T]; valid: [n, T] False at padding.

    Returns:
        (scored [n, T] bool, target [n, T] token ids; 0 where not scored). The target of position t belongs
        to the logits at t, not t - 1 (DESIGN section 6).
    """
    positions = torch.arange(tokens.shape[1], device=tokens.device)
    last = torch.where(earlier_copies(tokens, valid), positions, -1).amax(-1)
    scored = last >= 0
    target = tokens.gather(1, (last + 1).clamp(min=0))
    return scored, torch.where(scored, target, 0)


@dataclass(frozen=True)
class InductionHead(HeadUnit):
    """An induction head, ``induction:LAYER.HEAD`` (0-based)."""

    kind: ClassVar[str] = "induction"

    @classmethod
    def pattern_scores(cls, patterns: Tensor, sequences: Sequences) -> Tensor:
        if sequences.period is None:
            raise CuratorError("the induction score needs sequences drawn as two copies")
        n, _, length, _ = patterns.shape
        query = torch.arange(length, device=patterns.device)
        period = sequences.period[:, None]
        # query L + i attends to key i + 1, for i = 0 … L - 2
        stripe = (query >= period) & (query < 2 * period - 1)
        key = (query - period + 1).clamp(min=0)  # [n, T]
        attention = patterns.gather(3, key[:, None, :, None].expand(n, patterns.shape[1], length, 1))[..., 0]
        per_sequence = (attention * stripe[:, None]).sum(-1) / (period - 1)
        return per_sequence.mean(0)

    def subspace(self, model: "PreTrainedModel") -> list[Block]:
        return list(head_blocks(model, self.layer, self.head).values())

    def probe(self, model: "PreTrainedModel", sequences: Sequences) -> Tensor:
        tokens = sequences.tokens
        scored, target = copy_targets(tokens, sequences.valid())
        if not scored.any():
            raise CuratorError(
                "no token of the probe sequences occurs twice, so there is nothing to copy: "
                "the induction probe needs repeated tokens"
            )
        logits = model(input_ids=tokens, use_cache=False).logits
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        likelihood = logits.log_softmax(-1).gather(-1, target[..., None])[..., 0]
        return (likelihood * scored).sum() / len(tokens)
