"""The weights of a plan in GPT-NeoX's loss.

GPT-NeoX's loss of a micro-batch is Σ_rows Σ_t loss·mask / Σ mask; steps average it over micro-batches and ranks. With
weights w, and c = 0 where the plan masks a token, the gradient is that of  Σ_rows w_row Σ_t c·loss·mask / Σ mask,  the
divisor kept. Renormalised over the global batch, every weight is times B·T / (tokens left) of the step, which each rank
knows from the plan alone; a division within the micro-batch is refused, since it would count rows differently from one
micro-batch to the next and is 0/0 where all are masked. The *reported* loss stays the plain one over all rows and
tokens, so that the logs of runs with different masks compare.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from curator.plan.plan import Plan
from neox_patches.clock import Clock


class PlanWeights:
    """The weight of every row of a micro-batch."""

    def __init__(self, plan: Plan, clock: Clock):
        self.plan, self.clock = plan, clock
        self.scale = 1.0

    def begin_step(self) -> None:
        """All tokens by those left of this step, where the plan renormalises: B / B_kept without token masks."""
        self.scale = 1.0
        if self.plan.divisor == "renormalised":
            targets = self.plan.row_targets or 1
            left = self.plan.tokens_per_step(self.clock.step, targets)
            self.scale = self.plan.batch_size * targets / left if left else 0.0

    def of(self, slots: np.ndarray) -> np.ndarray | None:
        """[n] float32 of these slots of the step; None where every row counts once."""
        weights = self.plan.lookup(slots).weight * np.float32(self.scale)
        return None if (weights == 1).all() else weights

    def current(self) -> np.ndarray | None:
        """[micro_batch_size] float32 of the current micro-batch; None where every row counts once."""
        return self.of(self.clock.slots)

    def counted(self) -> np.ndarray | None:
        """[micro_batch_size, seq] bool which tokens of the current micro-batch count; None where all of them do."""
        return self.plan.counted(self.clock.slots)


def weighted_loss(
    token_losses: Callable[..., Tensor],
    output: Tensor,
    labels: tuple[Tensor, Tensor],
    row_weights: np.ndarray | None,
    counted: np.ndarray | None,
    fp16: bool,
) -> Tensor:
    """GPT-NeoX's loss of a micro-batch whose rows and tokens have these weights; its value is the plain loss.

    Args:
        token_losses: ``mpu.vocab_parallel_cross_entropy(logits, labels)`` -> [batch, seq].
        output, labels, fp16: as GPT-NeoX's ``cross_entropy`` gets them; labels are (targets, loss mask).
        row_weights: [batch], counted: [batch, seq] bool; None where every row, or token, counts once.
    """
    targets, mask = labels[0], labels[1]
    logits = output if fp16 else output.float()
    losses = token_losses(logits.contiguous(), targets)  # [batch, seq]
    mask = mask.view(losses.shape)
    row = np.ones(len(losses), np.float32) if row_weights is None else row_weights
    weights = torch.from_numpy(row).to(losses.device, losses.dtype)[:, None]  # [batch, 1], or [batch, seq]
    if counted is not None:
        weights = weights * torch.from_numpy(counted).to(losses.device)
    kept = torch.where(
        weights > 0, losses, torch.zeros_like(losses)
    )  # what is masked has a gradient of 0 exactly
    loss = (kept * mask * weights).sum() / mask.sum()
    plain = (losses.detach() * mask).sum() / mask.sum()
    return loss + (plain - loss.detach())


def unscale_rows(mask: Tensor, row_weights: np.ndarray | None, factor: Tensor) -> Tensor:
    """[batch]: what a row's gradients are multiplied by to become those of its summed, unweighted, unscaled loss.

    Where the plan masks tokens, of those that count: what the others' loss would add is in no gradient here.

    Args:
        mask: loss mask of the micro-batch; factor: ∂(what backward started from)/∂(micro-batch loss), which holds
            1 / accumulation and the fp16 loss scale.

    NaN for rows of weight 0, which have no gradient.
    """
    n_rows = mask.shape[0]
    weights = torch.ones(n_rows) if row_weights is None else torch.from_numpy(row_weights)
    scale = weights.to(mask.device, torch.float32) * factor.detach().float()
    return torch.where(scale != 0, mask.float().sum() / scale, torch.full_like(scale, float("nan")))
