"""What is computed of one linear map when its output gradient arrives.

The engine is curator's own (`Scorer`, `Covariances`, `Eigenvalues`), so that the trainer's numbers are those of
``curator rank``. One map is done at a time: no more than its x and g of one micro-batch are ever held.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from curator.influence.factors import Covariances, Eigenvalues, Side
from curator.influence.scorer import Scorer
from curator.influence.taps import Tapped
from curator.units.base import Block, take


@dataclass
class Compression:
    """Left and right factors of a compressed gradient Lᵀ G R; None keeps that side whole.

    Attributes:
        left: [inputs, rank]; right: [outputs, rank]; float32 on the device.
    """

    left: Tensor | None = None
    right: Tensor | None = None


@dataclass
class GradientBlock:
    """A block whose per-sample gradients are written; ``number`` is its place among the rank's blocks."""

    number: int
    block: Block
    compression: Compression = field(default_factory=Compression)

    @property
    def shape(self) -> tuple[int, int]:
        """Of what is written per sample."""
        left, right = self.compression.left, self.compression.right
        inputs, outputs = self.block.shape
        return (
            inputs if left is None else left.shape[1],
            outputs if right is None else right.shape[1],
        )

    def of(self, x: Tensor, g: Tensor) -> Tensor:
        """[batch, *shape] from x [batch, seq, d_in] and g [batch, seq, d_out]."""
        left, right = take(x, self.block.inputs).float(), take(g, self.block.outputs)
        if self.compression.left is not None:
            left = left @ self.compression.left
        if self.compression.right is not None:
            right = right @ self.compression.right
        return left.mT @ right


@dataclass
class Part:
    """Everything asked of one linear map on this rank.

    Attributes:
        module: its name; scorer: contracts with the queries that are rows ``score_rows`` of the rank's scores;
        gradients: what is written whole.
        factor_blocks: blocks whose A, S and Λ are summed; factors_of: the same, counted over the whole model;
        bases: eigenvectors of their sides, or None for A and S alone.
    """

    module: str
    score_rows: Tensor | None = None
    scorer: Scorer | None = None
    gradients: list[GradientBlock] = field(default_factory=list)
    factor_blocks: list[Block] = field(default_factory=list)
    factors_of: list[Block] = field(default_factory=list)
    bases: dict[Side, Tensor] | None = None
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def __post_init__(self) -> None:
        self.new_sums()

    def new_sums(self) -> None:
        """Forget the sums of this step: they are in the whole now, or the step was skipped."""
        self.covariances = Covariances(self.factor_blocks) if self.factor_blocks else None
        like = torch.empty(0, dtype=torch.float32, device=self.device)
        self.eigenvalues = (
            Eigenvalues(self.factor_blocks, self.bases, like) if self.bases is not None else None
        )

    @property
    def sums_bytes(self) -> int:
        """Size of the sums over all steps, float64."""
        sides = {side for block in self.factor_blocks for side in Side.of(block)}
        numbers = sum(len(side.indices) ** 2 for side in sides)
        if self.bases is not None:
            numbers += sum(block.shape[0] * block.shape[1] for block in self.factor_blocks)
        return 8 * numbers

    def sums_finite(self) -> bool:
        """Whether this step's sums can be added to the whole."""
        sums = self.covariances.sums.values() if self.covariances is not None else ()
        return all(bool(torch.isfinite(total).all()) for total in sums)

    @property
    def wants_exact(self) -> bool:
        """Whether unscaled gradients are needed, rather than scores that can be unscaled afterwards."""
        return bool(self.gradients or self.factor_blocks)

    def scores(self, x: Tensor, g: Tensor, unscale: Tensor) -> Tensor:
        """[scored, batch] float32; x, g: [batch, seq, ·] as the trainer has them; unscale: [batch]."""
        assert self.scorer is not None
        tapped = Tapped({self.module: x}, {self.module: g}, unscale, unscale)
        return self.scorer(tapped) * unscale

    def add(self, x: Tensor, g: Tensor) -> None:
        """Add kept rows with unscaled g to the sums of this step."""
        n_rows, seq = x.shape[:2]
        like = x.new_empty(n_rows, dtype=torch.float32)
        tapped = Tapped({self.module: x}, {self.module: g}, like, like[:, None].expand(n_rows, seq))
        if self.covariances is not None:
            self.covariances.add(tapped)
        if self.eigenvalues is not None:
            self.eigenvalues.add(tapped)
