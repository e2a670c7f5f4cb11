"""Next-token cross-entropy and its gradient at the final hidden states, without the logits.

For hidden state h and unembedding W:  loss = logsumexp(W h) - (W h)[label],
∂loss/∂h = Σ_v p_v W_v - W_label.  Σ_v p_v W_v has the form of attention with the vocabulary as keys and
values, so it is accumulated tile by tile over the vocabulary with a running maximum, as flash attention
does. Only a [tokens, vocabulary] tile that fits the cache ever exists. Refused: token chunks over the whole
vocabulary, which stream every chunk's logits through main memory four times (1.4x slower on CPU).

The same pass can draw a label from the model's own prediction (the true Fisher, DESIGN section 4): the
tile masses choose a tile, and only that tile's logits are computed again.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Tile:
    """Size of the largest temporary: ``tokens x vocabulary`` entries."""

    tokens: int
    vocabulary: int

    @staticmethod
    def for_device(device: torch.device) -> "Tile":
        return Tile(1024, 1024) if device.type == "cpu" else Tile(8192, 8192)


@dataclass
class LossAndGradient:
    """Per token: ``loss`` [tokens] in nats, ``grad_hidden`` [tokens, d_model], ``labels`` [tokens]."""

    loss: Tensor
    grad_hidden: Tensor
    labels: Tensor


def loss_and_gradient(
    hidden: Tensor,
    unembedding: Tensor,
    labels: Tensor | None,
    uniforms: Tensor | None = None,
    tile: Tile | None = None,
) -> LossAndGradient:
    """Loss and hidden gradient of every token.

    Args:
        hidden: [tokens, d_model], after the final layer norm.
        unembedding: [vocabulary, d_model].
        labels: [tokens] token ids, or None to draw each label from the model's prediction.
        uniforms: [tokens] numbers in [0, 1), float64; needed when ``labels`` is None.
        tile: size of the temporaries; chosen from the device by default.
    """
    tile = tile or Tile.for_device(hidden.device)
    parts = []
    for start in range(0, len(hidden), tile.tokens):
        chunk = slice(start, start + tile.tokens)
        parts.append(
            _chunk(
                hidden[chunk],
                unembedding,
                None if labels is None else labels[chunk],
                None if uniforms is None else uniforms[chunk],
                tile.vocabulary,
            )
        )
    if len(parts) == 1:
        return parts[0]
    return LossAndGradient(
        torch.cat([part.loss for part in parts]),
        torch.cat([part.grad_hidden for part in parts]),
        torch.cat([part.labels for part in parts]),
    )


def _chunk(
    hidden: Tensor, unembedding: Tensor, labels: Tensor | None, uniforms: Tensor | None, width: int
) -> LossAndGradient:
    # Sums are kept in float32 at least: with bfloat16 weights only the two products round.
    exact = torch.float64 if hidden.dtype == torch.float64 else torch.float32
    n_tokens = len(hidden)
    maximum = hidden.new_full((n_tokens, 1), -torch.inf, dtype=exact)
    mass = hidden.new_zeros((n_tokens, 1), dtype=exact)
    expected = hidden.new_zeros(hidden.shape, dtype=exact)  # Σ_v exp(logit_v - maximum) W_v
    tile_masses: list[Tensor] = []  # relative to the running maximum of their moment ...
    tile_maxima: list[Tensor] = []  # ... which is kept beside them
    for start in range(0, len(unembedding), width):
        weights = unembedding[start : start + width]
        logits = (hidden @ weights.T).to(exact)
        raised = torch.maximum(maximum, logits.amax(-1, keepdim=True))
        logits.sub_(raised).exp_()
        tile_mass = logits.sum(-1, keepdim=True)
        if start:
            rescale = torch.exp(maximum - raised)
            mass.mul_(rescale)
            expected.mul_(rescale)
        mass.add_(tile_mass)
        if hidden.dtype == exact:
            expected.addmm_(logits, weights)
        else:
            expected.add_(logits.to(weights.dtype) @ weights)
        maximum = raised
        if labels is None:
            tile_masses.append(tile_mass)
            tile_maxima.append(raised)
    if labels is None:
        if uniforms is None:
            raise ValueError("uniforms are needed to draw labels")
        masses = torch.cat(tile_masses, 1) * torch.exp(torch.cat(tile_maxima, 1) - maximum)
        labels = _draw(hidden, unembedding, maximum, masses.double(), uniforms, width)
    target = unembedding[labels].to(exact)
    loss = torch.log(mass[:, 0]) + maximum[:, 0] - (hidden.to(exact) * target).sum(-1)
    grad_hidden = expected.div_(mass).sub_(target)
    return LossAndGradient(loss, grad_hidden.to(hidden.dtype), labels)


def _draw(
    hidden: Tensor, unembedding: Tensor, maximum: Tensor, masses: Tensor, uniforms: Tensor, width: int
) -> Tensor:
    """Invert the cumulative distribution at ``uniforms``: first the tile, then the token within it."""
    cumulative = masses.cumsum(1)  # [tokens, tiles]
    point = uniforms.to(cumulative) * cumulative[:, -1]
    tiles = _invert(cumulative, point)
    mass = masses.gather(1, tiles[:, None])[:, 0]
    share = (point - (cumulative.gather(1, tiles[:, None])[:, 0] - mass)) / mass  # within the tile, in [0, 1)
    labels = torch.empty(len(hidden), dtype=torch.long, device=hidden.device)
    for tile in tiles.unique().tolist():
        chosen = (tiles == tile).nonzero()[:, 0]
        weights = unembedding[tile * width : (tile + 1) * width]
        logits = (hidden[chosen] @ weights.T).to(maximum.dtype)
        within = torch.exp(logits - maximum[chosen]).double().cumsum(1)
        labels[chosen] = tile * width + _invert(within, share[chosen] * within[:, -1])
    return labels


def _invert(cumulative: Tensor, point: Tensor) -> Tensor:
    """[rows] the entry whose interval of ``cumulative`` [rows, entries] holds ``point`` [rows].

    Rounding may put a point on or past the end, or before the start; it is moved inside, so that an entry of
    mass zero is never chosen.
    """
    below_end = torch.nextafter(cumulative[:, -1], torch.zeros_like(cumulative[:, -1]))
    inside = torch.minimum(point.clamp(min=0), below_end)
    found = torch.searchsorted(cumulative, inside[:, None], right=True)[:, 0]
    return found.clamp_(max=cumulative.shape[1] - 1)


class _TokenLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, unembedding: Tensor, labels: Tensor | None, uniforms: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        result = loss_and_gradient(hidden, unembedding, labels, uniforms)
        ctx.save_for_backward(result.grad_hidden)
        ctx.mark_non_differentiable(result.labels)
        return result.loss, result.labels

    @staticmethod
    def backward(ctx: Any, grad_loss: Tensor, _: Tensor) -> tuple[Tensor, None, None, None]:
        (grad_hidden,) = ctx.saved_tensors
        return grad_hidden * grad_loss[:, None].to(grad_hidden.dtype), None, None, None


def token_loss(
    hidden: Tensor, unembedding: Tensor, labels: Tensor | None, uniforms: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Differentiable in ``hidden`` only: (loss [tokens], labels used [tokens]). See `loss_and_gradient`."""
    loss, used = _TokenLoss.apply(hidden, unembedding, labels, uniforms)
    return loss, used
