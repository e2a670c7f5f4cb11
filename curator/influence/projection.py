"""Two-sided random projections of per-sample gradients, drawn the same by whoever writes and whoever reads them."""

import torch
from torch import Tensor

from curator.units.base import Block


def projections(block: Block, rank: int, seed: int, number: int) -> tuple[Tensor | None, Tensor | None]:
    """R_in [inputs, rank] and R_out [outputs, rank] float64, Gaussian with variance 1/rank.

    E[R Rᵀ] = 1, so that ⟨R_inᵀ G R_out, R_inᵀ P R_out⟩ is ⟨G, P⟩ in expectation. A side of at most ``rank`` entries
    stays as it is (None). ``number`` is the block's own among those projected with ``seed``.
    """
    generator = torch.Generator().manual_seed(seed * 1_000_003 + number)
    sides = []
    for size in block.shape:
        drawn = torch.randn(size, rank, generator=generator, dtype=torch.float64) / rank**0.5
        sides.append(drawn if size > rank else None)
    return sides[0], sides[1]
