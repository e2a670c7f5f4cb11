"""Norms of the samples' own gradients in blocks, from one batch's taps: ‖G_i‖ with G_i = Σ_t x_t g_tᵀ (Frobenius).

    ‖G‖² = Σ_t Σ_t' (x_t·x_t') (g_t·g_t')      two [seq, seq] products, no gradient is built
         = Σ over the entries of Xᵀ G          [inputs, outputs], built and dropped

Whichever takes fewer multiplications is used, per group of blocks that share a side (all heads of a layer share x):
long rows and narrow models want the second, short rows and wide ones the first. Never more than a few samples'
worth of either exist at once.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from curator.influence.factors import Side, shared_sides
from curator.influence.taps import Tapped
from curator.units.base import Block, take

_CHUNK = 1 << 22
"""Entries of temporaries: 16 MiB in float32."""


class GradientNorms:
    """Norms of the per-sample gradients of ``blocks``; blocks that are the same are computed once.

    Attributes:
        blocks: distinct ones; row: where each of the given blocks stands among them.
    """

    def __init__(self, blocks: Sequence[Block]):
        known = list({block.key: block for block in blocks}.values())
        number = {block.key: index for index, block in enumerate(known)}
        self.blocks = known
        self.row = [number[block.key] for block in blocks]
        self.groups = shared_sides(known)

    def __call__(self, tapped: Tapped) -> Tensor:
        """[given blocks, batch], of the dtype of the losses."""
        squares = tapped.loss.new_empty((len(self.blocks), len(tapped.loss)))
        for shared, members in self.groups:
            others = [Side.of(self.blocks[index])[1 if shared.side == "input" else 0] for index in members]
            seq = tapped.labels.shape[1]
            sizes = [len(side.indices) for side in others]
            by_tokens = seq * (len(shared.indices) + sum(sizes)) < len(shared.indices) * sum(sizes)
            entries = seq * seq * 2 if by_tokens else len(shared.indices) * sum(sizes)
            step = max(1, _CHUNK // entries)
            for start in range(0, len(tapped.loss), step):
                part = slice(start, start + step)
                one = _entries(tapped, shared, part)
                if by_tokens:
                    found = _by_tokens(one, [_entries(tapped, side, part) for side in others])
                else:
                    beside = torch.cat([_entries(tapped, side, part) for side in others], -1)
                    found = _by_entries(one, beside, sizes)
                squares[members, part] = found.to(squares.dtype)
        return squares.clamp_(min=0).sqrt_()[self.row]


def _entries(tapped: Tapped, side: Side, part: slice) -> Tensor:
    """[part of the batch, seq, size] at least float32: what is multiplied must not be rounded before it is summed."""
    source = (tapped.x if side.side == "input" else tapped.g)[side.module][part]
    return take(source, side.indices).to(torch.promote_types(source.dtype, torch.float32))


def _by_tokens(shared: Tensor, others: Sequence[Tensor]) -> Tensor:
    """[others, batch]."""
    gram = shared @ shared.mT
    return torch.stack([(gram * (other @ other.mT)).sum((1, 2)) for other in others])


def _by_entries(shared: Tensor, beside: Tensor, sizes: Sequence[int]) -> Tensor:
    """[others, batch]; ``beside`` holds the others side by side."""
    by_column = (shared.mT @ beside).square_().sum(1)  # [batch, Σ sizes]
    return torch.stack([part.sum(1) for part in by_column.split(list(sizes), 1)])
