"""EK-FAC factors of every block, in two sweeps over a subset of the samples (paper, appendix A.2).

Sweep 1, covariances: A = E[x xᵀ] and S = E[g gᵀ], token averages with the loss summed over a sample.
Sweep 2, eigenvalues: Λ = E_i[(Q_Aᵀ G_i Q_S)²] elementwise over samples i, with G_i = Σ_t x_t g_tᵀ. The square
is taken of each sample's own gradient; squaring a batch's summed gradient would be another quantity.

Blocks share what they can: all heads of a layer have one A for queries, keys and values and one S for their
outputs, and blocks that share a factor are multiplied in one product. Sums are kept in float64.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from curator.influence.taps import Tapped
from curator.units.base import Block, Indices, take


@dataclass(frozen=True)
class Side:
    """One side of a block: some entries of a linear layer's ``input`` or ``output``."""

    module: str
    side: str
    indices: Indices

    @staticmethod
    def of(block: Block) -> tuple["Side", "Side"]:
        """(input side, output side): the keys of the block's A and S."""
        return Side(block.module, "input", block.inputs), Side(block.module, "output", block.outputs)


def shared_sides(blocks: Sequence[Block]) -> list[tuple[Side, list[int]]]:
    """Groups of blocks (by index) that share one side, so that their other sides go into one product, side by side."""
    by_input: dict[Side, list[int]] = defaultdict(list)
    by_output: dict[Side, list[int]] = defaultdict(list)
    for index, block in enumerate(blocks):
        by_input[Side.of(block)[0]].append(index)
    for members in [members for members in by_input.values() if len(members) == 1]:
        index = members[0]
        by_output[Side.of(blocks[index])[1]].append(index)
        del by_input[Side.of(blocks[index])[0]]
    return [(side, members) for groups in (by_input, by_output) for side, members in groups.items()]


def _stack(tensor: Tensor, group: Sequence[Indices]) -> Tensor:
    """The entries of each member side by side: [..., d] -> [members, ..., size]."""
    return torch.stack([take(tensor, indices) for indices in group])


class Covariances:
    """Sweep 1: adds up Σ_t x_t x_tᵀ and Σ_t g_t g_tᵀ of the distinct sides of ``blocks``.

    Attributes:
        sums: side -> [size, size] float64, on the CPU once `finish` was called.
        tokens: how many tokens were added.
    """

    def __init__(self, blocks: Sequence[Block]):
        self.sums: dict[Side, Tensor] = {}
        self.tokens = 0
        groups: dict[tuple[str, str, int], list[Side]] = defaultdict(list)
        for side in dict.fromkeys(side for block in blocks for side in Side.of(block)):
            groups[side.module, side.side, len(side.indices)].append(side)
        self.groups = list(groups.values())

    @property
    def sides(self) -> list[Side]:
        """The distinct sides, in the order in which everything about them is kept."""
        return [side for group in self.groups for side in group]

    def state(self) -> tuple[int, list[Tensor]]:
        """(tokens, sums) for `restore`."""
        return self.tokens, [self.sums[side] for side in self.sides]

    def restore(self, tokens: int, load: Callable[[int], Tensor], device: torch.device) -> None:
        """Go on from a `state`; ``load(i)`` gives its i-th sum."""
        self.tokens = tokens
        self.sums = {side: load(number).to(device) for number, side in enumerate(self.sides)}

    def add(self, tapped: Tapped) -> None:
        """Add one batch."""
        for group in self.groups:
            first = group[0]
            source = (tapped.x if first.side == "input" else tapped.g)[first.module]
            flat = _exact(source).flatten(0, -2)
            stacked = _stack(flat, [side.indices for side in group])  # [members, tokens, size]
            products = (stacked.mT @ stacked).double()
            for side, product in zip(group, products, strict=True):
                if side in self.sums:
                    self.sums[side] += product
                else:
                    self.sums[side] = product.clone()
        self.tokens += tapped.labels.numel()

    def means(self) -> dict[Side, Tensor]:
        """Side -> token average [size, size], float64 on the CPU."""
        return {side: self.sums[side].cpu() / self.tokens for side in self.sides}


class Eigenvalues:
    """Sweep 2: adds up the squared per-sample gradients of ``blocks`` in the eigenbases.

    Attributes:
        sums: block (by index in ``blocks``) -> [inputs, outputs] float64.
        samples: how many samples were added.
    """

    def __init__(self, blocks: Sequence[Block], bases: dict[Side, Tensor], like: Tensor):
        self.blocks = list(blocks)
        self.sums: dict[int, Tensor] = {}
        self.samples = 0
        exact = torch.promote_types(like.dtype, torch.float32)
        self.bases = {side: basis.to(like.device, exact) for side, basis in bases.items()}
        self.groups = shared_sides(blocks)

    def state(self) -> tuple[int, list[Tensor]]:
        """(samples, sums) for `restore`."""
        return self.samples, [self.sums[index] for index in range(len(self.blocks))]

    def restore(self, samples: int, load: Callable[[int], Tensor], device: torch.device) -> None:
        """Go on from a `state`; ``load(i)`` gives its i-th sum."""
        self.samples = samples
        self.sums = {index: load(index).to(device) for index in range(len(self.blocks))}

    def _rotated(self, tapped: Tapped, side: Side) -> Tensor:
        source = (tapped.x if side.side == "input" else tapped.g)[side.module]
        return take(_exact(source), side.indices) @ self.bases[side]

    def add(self, tapped: Tapped) -> None:
        """Add one batch."""
        for shared_side, members in self.groups:
            shared = self._rotated(tapped, shared_side)  # [batch, seq, size]
            by_input = shared_side.side == "input"
            others = [Side.of(self.blocks[index])[1 if by_input else 0] for index in members]
            beside = torch.cat([self._rotated(tapped, side) for side in others], -1)
            gradients = shared.mT @ beside  # [batch, shared size, Σ other sizes]
            squares = gradients.square_().sum(0).double()
            parts = squares.split([len(side.indices) for side in others], 1)
            for index, part in zip(members, parts, strict=True):
                part = part if by_input else part.mT
                if index in self.sums:
                    self.sums[index] += part
                else:
                    self.sums[index] = part.clone()
        self.samples += len(tapped.loss)

    def means(self) -> list[Tensor]:
        """Per block: Λ [inputs, outputs], float64 on the CPU."""
        return [self.sums[index].cpu() / self.samples for index in range(len(self.blocks))]


def eigenbases(covariances: dict[Side, Tensor]) -> dict[Side, Tensor]:
    """Side -> eigenvectors in columns [size, size], from float64 decompositions."""
    return {side: torch.linalg.eigh(covariance)[1] for side, covariance in covariances.items()}


def _exact(tensor: Tensor) -> Tensor:
    """At least float32: products of bfloat16 values must not be rounded before they are summed."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
