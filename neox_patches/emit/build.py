"""From an emission's settings to the parts of a rank: one per linear map that it owns something of."""

from collections.abc import Sequence

import torch

from curator.influence.factors import Side
from curator.influence.projection import projections
from curator.influence.scorer import Scorer
from curator.ranking.bases import Bases
from curator.units.base import Block
from neox_patches.clock import Layout
from neox_patches.emit.blocks import PlacedBlock, Query
from neox_patches.emit.parts import Compression, GradientBlock, Part
from neox_patches.settings import Emit, Factors, Gradients


class Builder:
    """Makes the parts of one rank.

    Args:
        placed: every block asked for, in the order of the manifest; mine: those that this rank owns.
        queries: the queries that this rank owns; row k of its scores is the k-th.
    """

    def __init__(
        self,
        settings: Emit,
        placed: Sequence[PlacedBlock],
        mine: Sequence[PlacedBlock],
        queries: Sequence[Query],
        layout: Layout,
        device: torch.device,
    ):
        self.settings, self.placed, self.mine, self.queries = settings, placed, mine, queries
        self.layout, self.device = layout, device
        self.parts: dict[str, Part] = {}

    def build(self) -> dict[str, Part]:
        """Module -> its part."""
        self._add_scorers()
        if self.settings.gradients is not None:
            self._add_gradients(self.settings.gradients)
        if self.settings.factors is not None:
            self._add_factors(self.settings.factors)
        return self.parts

    def _part(self, module: str) -> Part:
        return self.parts.setdefault(module, Part(module, device=self.device))

    def _local(self, placed: PlacedBlock) -> Block:
        block = placed.on_rank(self.layout)
        assert block is not None
        return block

    def _add_scorers(self) -> None:
        of_module: dict[str, list[int]] = {}
        for number, query in enumerate(self.queries):
            of_module.setdefault(query.placed.block.module, []).append(number)
        like = torch.empty(0, dtype=torch.float32, device=self.device)
        for module, numbers in of_module.items():
            part = self._part(module)
            part.score_rows = torch.tensor(numbers, device=self.device)
            blocks = [self._local(self.queries[number].placed) for number in numbers]
            part.scorer = Scorer(blocks, [self.queries[number].matrix for number in numbers], like)

    def _add_gradients(self, gradients: Gradients) -> None:
        for number, placed in enumerate(self.mine):
            block = GradientBlock(number, self._local(placed), self._compression(gradients, placed))
            self._part(placed.block.module).gradients.append(block)

    def _compression(self, gradients: Gradients, placed: PlacedBlock) -> Compression:
        if gradients.compress == "none":
            return Compression()
        assert gradients.rank is not None
        if gradients.compress == "projection":
            left, right = projections(placed.block, gradients.rank, gradients.seed, self.placed.index(placed))
        else:
            assert gradients.bases is not None
            q_a, q_s = Bases.open(gradients.bases).of(placed.block)  # eigenvectors come by rising eigenvalue
            left, right = q_a[:, -gradients.rank :], q_s[:, -gradients.rank :]
        return Compression(
            None if left is None else left.to(self.device, torch.float32),
            None if right is None else right.to(self.device, torch.float32),
        )

    def _add_factors(self, factors: Factors) -> None:
        bases = None if factors.bases is None else Bases.open(factors.bases)
        for placed in self.mine:
            part, block = self._part(placed.block.module), self._local(placed)
            if placed.block in part.factors_of:
                continue  # two units share it
            part.factors_of.append(placed.block)
            part.factor_blocks.append(block)
            if bases is not None:
                q_a, q_s = (basis.to(self.device, torch.float32) for basis in bases.of(placed.block))
                part.bases = (part.bases or {}) | dict(zip(Side.of(block), (q_a, q_s), strict=True))
        for part in self.parts.values():
            part.new_sums()
