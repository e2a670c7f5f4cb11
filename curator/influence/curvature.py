"""The damped EK-FAC inverse of one block, and the query P = H⁻¹ ∇f (paper, eqs. 13-14; DESIGN section 4).

    P = Q_A [ (Q_Aᵀ ∇f Q_S) / damped(Λ) ] Q_Sᵀ,   all [inputs, outputs], float64.

Damping is added to the corrected eigenvalues, with a strength relative to them by default, since their scale
differs by orders of magnitude between blocks and checkpoints.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from curator.artifacts.fields import DampingMode, NotNegative, Positive
from curator.artifacts.schema import Settings

DAMPING_MODES: dict[DampingMode, Callable[[Tensor, float], Tensor]] = {
    "mean": lambda eigenvalues, alpha: eigenvalues + alpha * eigenvalues.mean(),
    "max": lambda eigenvalues, alpha: eigenvalues + alpha * eigenvalues.max(),
    "absolute": lambda eigenvalues, alpha: eigenvalues + alpha,
    "identity": lambda eigenvalues, alpha: torch.ones_like(eigenvalues),
}


class Damping(Settings):
    """What is added to the eigenvalues before they are inverted."""

    mode: DampingMode = "mean"
    """``mean``: λ + α·mean(λ); ``max``: λ + α·max(λ); ``absolute``: λ + α; ``identity``: 1, no curvature at all (plain
    gradient products, a baseline)."""
    alpha: NotNegative = 0.1
    """α."""
    floor: Positive = 1e-5
    """No damped eigenvalue falls below it."""

    def __call__(self, eigenvalues: Tensor) -> Tensor:
        return DAMPING_MODES[self.mode](eigenvalues, self.alpha).clamp(min=self.floor)


@dataclass(frozen=True)
class Curvature:
    """EK-FAC of one block.

    Attributes:
        a, s: covariances [inputs, inputs] and [outputs, outputs].
        q_a, q_s: their eigenvectors, in columns.
        eigenvalues: Λ [inputs, outputs].
    """

    a: Tensor
    s: Tensor
    q_a: Tensor
    q_s: Tensor
    eigenvalues: Tensor

    def precondition(self, gradient: Tensor, damping: Damping) -> Tensor:
        """H⁻¹ ∇f: [inputs, outputs] float64."""
        rotated = self.q_a.mT @ gradient.double() @ self.q_s
        return self.q_a @ (rotated / damping(self.eigenvalues)) @ self.q_s.mT
