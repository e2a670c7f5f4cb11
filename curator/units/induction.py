"""Induction heads: attend from a token to what followed its earlier occurrence, and copy it.

Metric: mean attention on the diagonal stripe between two copies of a random sequence (appendix C).
Subspace: QK, V and O of the head. Probe, where nothing else is said: what the copied half gains over another first
half. The paper's is the log-likelihood of the token to be copied (eq. 18), of tokens drawn alike: its rankings say less
of what training does (docs/results.md). The others of `InductionHead.PROBES`: docs/units.md.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from curator.artifacts.fields import ProbeName
from curator.errors import CuratorError
from curator.units.attention import HeadUnit, attention_patterns, head_blocks
from curator.units.base import Block, Unit
from curator.units.natural import draw_repeated_frequent, draw_rows
from curator.units.sequences import ProbeSettings, Sequences, draw_repeated, earlier_copies

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
    """An induction head, ``induction:LAYER.HEAD`` (0-based), or with a probe of its own, ``…:gain``."""

    kind: ClassVar[str] = "induction"
    PROBES: ClassVar[Mapping[str, str]] = MappingProxyType(
        {
            "paper": "log-likelihood of what is to be copied, tokens drawn alike",
            "frequency": "the same, tokens as frequent as in the corpus",
            "gain": "what the copied half gains over another first half, tokens as frequent as in the corpus",
            "natural": "log-likelihood of what rows of the corpus copy",
            "attention": "attention to what is to be copied, QK alone, tokens as frequent as in the corpus",
        }
    )

    DEFAULT: ClassVar[ProbeName] = "gain"

    def sequences(self, settings: ProbeSettings, vocab_size: int, max_length: int) -> Sequences:
        draw = {"paper": draw_repeated, "natural": draw_rows}.get(self.asks, draw_repeated_frequent)
        sequences = draw(settings, vocab_size, max_length)
        return sequences if self.asks == "gain" else replace(sequences, control=None)

    @classmethod
    def stripe_attention(cls, patterns: Tensor, sequences: Sequences) -> Tensor:
        """Attention from every token of the second copy, less the last, to what followed it in the first.

        Args:
            patterns: [n, n_heads, T, T].

        Returns:
            [n, n_heads, T], 0 elsewhere.
        """
        if sequences.period is None:
            raise CuratorError("the induction score needs sequences drawn as two copies")
        n, heads, length, _ = patterns.shape
        query, period = torch.arange(length, device=patterns.device), sequences.period[:, None]
        stripe = (query >= period) & (
            query < 2 * period - 1
        )  # query L + i attends to key i + 1, i = 0 … L - 2
        key = (query - period + 1).clamp(min=0)  # [n, T]
        attention = patterns.gather(3, key[:, None, :, None].expand(n, heads, length, 1))[..., 0]
        return attention * stripe[:, None]

    @classmethod
    def pattern_scores(cls, patterns: Tensor, sequences: Sequences) -> Tensor:
        stripe = cls.stripe_attention(patterns, sequences).sum(-1)
        assert sequences.period is not None
        return (stripe / (sequences.period[:, None] - 1)).mean(0)

    def subspace(self, model: "PreTrainedModel") -> list[Block]:
        blocks = head_blocks(model, self.layer, self.head)
        return [blocks["qk"]] if self.asks == "attention" else list(blocks.values())

    @classmethod
    def probe_values(
        cls, units: Sequence[Unit], model: "PreTrainedModel", sequences: Sequences
    ) -> Sequence[float]:
        first = units[0]
        if not (
            isinstance(first, InductionHead) and first.asks == "attention"
        ):  # asked of the model, not of a head
            return [float(super().probe_values(units[:1], model, sequences)[0])] * len(units)
        with torch.no_grad():
            patterns = attention_patterns(model, sequences)
            sums = [cls.stripe_attention(one, sequences).sum((0, 2)) / len(one) for one in patterns]
        return [float(sums[one.layer][one.head]) for one in units if isinstance(one, InductionHead)]

    def probe(self, model: "PreTrainedModel", sequences: Sequences) -> Tensor:
        if self.asks == "attention":
            pattern = attention_patterns(model, sequences)[self.layer][:, self.head, None]
            return self.stripe_attention(pattern, sequences).sum() / len(pattern)
        if self.asks == "gain":
            return _gain(model, sequences)
        tokens = sequences.tokens
        scored, target = copy_targets(tokens, sequences.valid())
        if self.asks == "natural":  # only what is copied indeed
            scored = scored & (target == torch.cat([tokens[:, 1:], torch.full_like(tokens[:, :1], -1)], 1))
        if not scored.any():
            raise CuratorError(
                "no token of the probe sequences occurs twice, so there is nothing to copy: "
                "the induction probe needs repeated tokens"
            )
        return (_log_likelihood(model, tokens, target) * scored).sum() / len(tokens)


def _log_likelihood(model: "PreTrainedModel", tokens: Tensor, target: Tensor) -> Tensor:
    """[n, T] of ``target`` after each token, in nats."""
    logits = model(input_ids=tokens, use_cache=False).logits
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return logits.log_softmax(-1).gather(-1, target[..., None])[..., 0]


def _gain(model: "PreTrainedModel", sequences: Sequences) -> Tensor:
    """Σ over the second copy, less its first token, of log p(token | copy) - log p(token | another first copy)."""
    if sequences.period is None or sequences.control is None:
        raise CuratorError(
            "the probe 'gain' draws sequences of its own, with another first copy to compare with: on given tokens ask "
            "'paper', as a kind that draws others does by default (DEFAULT)"
        )
    tokens, period = sequences.tokens, sequences.period[:, None]
    query = torch.arange(tokens.shape[1], device=tokens.device)
    scored = (query >= period) & (query < 2 * period - 1)
    target = tokens.roll(-1, 1)
    ours, theirs = (_log_likelihood(model, one, target) for one in (tokens, sequences.control))
    return ((ours - theirs) * scored).sum() / len(tokens)
