"""The damped inverse of one block's curvature, and the query P = H⁻¹ ∇f (paper, eqs. 13-14; DESIGN section 4).

    P = Q_A [ (Q_Aᵀ ∇f Q_S) / damped(Λ) ] Q_Sᵀ,   all [inputs, outputs], float64.

Damping is added to the eigenvalues, with a strength relative to them by default, since their scale differs by
orders of magnitude between blocks and checkpoints. Λ are the corrected ones of EK-FAC, or those of a Kronecker product.
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
}


class Damping(Settings):
    """What is added to the eigenvalues before they are inverted."""

    mode: DampingMode = "mean"
    """``mean``: λ + α·mean(λ); ``max``: λ + α·max(λ); ``absolute``: λ + α."""
    alpha: NotNegative = 0.1
    """α."""
    floor: Positive = 1e-5
    """No damped eigenvalue falls below it."""

    def __call__(self, eigenvalues: Tensor) -> Tensor:
        return DAMPING_MODES[self.mode](eigenvalues, self.alpha).clamp(min=self.floor)


@dataclass(frozen=True)
class Sides:
    """What the first sweep gives of one block.

    Attributes:
        a, s: covariances [inputs, inputs] and [outputs, outputs], averages over tokens.
        q_a, q_s: their eigenvectors, in columns.
    """

    a: Tensor
    s: Tensor
    q_a: Tensor
    q_s: Tensor

    def kronecker(self, tokens: int) -> "Curvature":
        """K-FAC: Λ_ij = tokens · a_i · s_j, with the eigenvalues a of A and s of S.

        Λ has to approximate what EK-FAC measures, E_i[(Q_Aᵀ G_i Q_S)²] of one sample, whose gradient
        G = Σ_t x_t g_tᵀ is summed over its tokens. As a matrix, E[vec G vec Gᵀ] = Σ_t Σ_t' E[x_t x_t'ᵀ ⊗ g_t g_t'ᵀ].
        K-FAC takes g_t and g_t' of two tokens to be uncorrelated (the terms t ≠ t' vanish) and g_t to be independent
        of x_t. What is left is Σ_t E[x_t x_tᵀ] ⊗ E[g_t g_tᵀ], and with A and S the averages over tokens that is
        tokens · A ⊗ S.

        Args:
            tokens: predicted tokens per sample.
        """
        a, s = (
            torch.einsum("ik,ij,jk->k", basis, covariance, basis).clamp(min=0)
            for covariance, basis in ((self.a, self.q_a), (self.s, self.q_s))
        )
        return Curvature(self.a, self.s, self.q_a, self.q_s, tokens * torch.outer(a, s))


@dataclass(frozen=True)
class Curvature(Sides):
    """The curvature of one block; see `Sides`.

    Attributes:
        eigenvalues: Λ [inputs, outputs], of the Fisher of a sample's summed loss.
    """

    eigenvalues: Tensor

    def precondition(self, gradient: Tensor, damping: Damping) -> Tensor:
        """H⁻¹ ∇f: [inputs, outputs] float64."""
        rotated = self.q_a.mT @ gradient.double() @ self.q_s
        return self.q_a @ (rotated / damping(self.eigenvalues)) @ self.q_s.mT
