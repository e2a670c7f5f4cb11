"""What stands for H⁻¹ between a probe's gradient and the query, P = H⁻¹ ∇f: one class each.

    ekfac     the Fisher in A's and S's eigenbasis, with eigenvalues measured per sample (two sweeps)
    kfac      the same basis, with eigenvalues from the Kronecker product of A and S (one sweep)
    adam      diagonal: P = ∇f / (√v̂ + ε), the direction in which the optimizer itself would step
    identity  P = ∇f: plain products of gradients

Another one is one more class here, and its name in `curator.artifacts.fields.PreconditionerName`. Refused: a damping
of the eigenvalues that ignores them, which made "no curvature" fit what it did not use.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor

from curator.artifacts.fields import PreconditionerName
from curator.influence.curvature import Curvature, Damping, Sides
from curator.models.moments import Moment
from curator.units.base import Block, take


@dataclass(frozen=True)
class Known:
    """What a preconditioner may ask of a run; only what its class says that it reads is there.

    Attributes:
        tokens: predicted tokens per sample.
        sides: block -> A, S and their bases; curvature: the same with Λ.
        moments: name of a weight -> the optimizer's second moment of it.
    """

    damping: Damping
    tokens: int
    sides: Callable[[Block], Sides]
    curvature: Callable[[Block], Curvature]
    moments: Mapping[str, Moment] = field(default_factory=dict)


class Preconditioner(ABC):
    """One way to precondition the gradient of a probe.

    Attributes:
        name: in settings and manifests.
        sweeps: how many sweeps over the samples fit it: 0 none, 1 A and S, 2 also Λ.
        reads_optimizer: whether it needs the state of the optimizer that lies with the checkpoint.
    """

    name: ClassVar[PreconditionerName]
    sweeps: ClassVar[int] = 0
    reads_optimizer: ClassVar[bool] = False

    @abstractmethod
    def query(self, block: Block, gradient: Tensor, known: Known) -> Tensor:
        """P [inputs, outputs] float64 of ``gradient`` ∇f [inputs, outputs]."""


class EKFAC(Preconditioner):
    """H is the Fisher of a sample's summed loss, exact on the diagonal of its Kronecker-factored eigenbasis."""

    name = "ekfac"
    sweeps = 2

    def query(self, block: Block, gradient: Tensor, known: Known) -> Tensor:
        return known.curvature(block).precondition(gradient, known.damping)


class KFAC(Preconditioner):
    """H is tokens · A ⊗ S (`Sides.kronecker` derives it)."""

    name = "kfac"
    sweeps = 1

    def query(self, block: Block, gradient: Tensor, known: Known) -> Tensor:
        return known.sides(block).kronecker(known.tokens).precondition(gradient, known.damping)


class Adam(Preconditioner):
    """H is diag(√v̂ + ε) of the checkpoint's own optimizer.

    v̂ is the second moment of the *clipped mean gradient of batches*, not of samples: scores have another scale than
    those of the others, and their order is what can be compared. Weights that hardly ever had a gradient count most.
    """

    name = "adam"
    reads_optimizer = True

    def query(self, block: Block, gradient: Tensor, known: Known) -> Tensor:
        whole = known.moments[f"{block.module}.weight"].denominator()  # [d_out, d_in]
        return gradient.double() / take(take(whole, block.inputs).mT, block.outputs)


class Identity(Preconditioner):
    """H = 1: the score is a plain product of gradients."""

    name = "identity"

    def query(self, block: Block, gradient: Tensor, known: Known) -> Tensor:
        return gradient.double()


PRECONDITIONERS: dict[PreconditionerName, Preconditioner] = {
    kind.name: kind() for kind in (EKFAC, KFAC, Adam, Identity)
}
