"""The factors' sums of one linear map over the steps of an emission, float64, on the trainer's device."""

import numpy as np
import torch
from torch import Tensor

from neox_patches.emit.parts import Part


class Sums:
    """Sums of one map over all its steps so far."""

    def __init__(self) -> None:
        self.sides: list[Tensor] = []
        self.eigenvalues: list[Tensor] = []
        self.tokens = self.samples = 0

    def add(self, part: Part) -> None:
        """Take over a step's sums; a step whose rows were all masked has none."""
        if part.covariances is not None and part.covariances.tokens:
            tokens, sides = part.covariances.state()
            self.tokens += tokens
            self.sides = _added(self.sides, sides)
        if part.eigenvalues is not None and part.eigenvalues.samples:
            samples, values = part.eigenvalues.state()
            self.samples += samples
            self.eigenvalues = _added(self.eigenvalues, values)

    def arrays(self) -> list[np.ndarray]:
        """Sides, then eigenvalues."""
        return [tensor.cpu().numpy() for tensor in (*self.sides, *self.eigenvalues)]

    def counts(self) -> dict[str, int]:
        """What `restore` needs beside the arrays."""
        return {"sides": len(self.sides), "tokens": self.tokens, "samples": self.samples}

    def restore(self, arrays: list[np.ndarray], counts: dict[str, int]) -> None:
        """Go on from `arrays` and `counts`."""
        tensors = [torch.from_numpy(np.array(array)) for array in arrays]
        self.sides, self.eigenvalues = tensors[: counts["sides"]], tensors[counts["sides"] :]
        self.tokens, self.samples = counts["tokens"], counts["samples"]


def _added(sums: list[Tensor], more: list[Tensor]) -> list[Tensor]:
    if not sums:
        return list(more)
    return [total.to(new.device) + new for total, new in zip(sums, more, strict=True)]
