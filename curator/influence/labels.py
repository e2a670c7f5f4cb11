"""Which labels the curvature is taken over (DESIGN section 4, *Fisher labels*).

``sampled`` draws each token's label from the model's own prediction: the true Fisher. ``empirical`` takes the
data's next tokens. Draws come from a counter-based generator keyed by (seed, sweep, sample index), so they
do not depend on batch size, shard boundaries or workers.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

FISHER_LABELS = ("sampled", "empirical")


class Labels(Protocol):
    """Gives the labels of some samples in one sweep, as arguments for `Taps.run`."""

    def __call__(self, samples: np.ndarray, seq: int, sweep: int) -> dict[str, Tensor]: ...


@dataclass(frozen=True)
class SampledLabels:
    """True Fisher: one uniform number per token picks the label from the predicted distribution."""

    seed: int

    def __call__(self, samples: np.ndarray, seq: int, sweep: int) -> dict[str, Tensor]:
        uniforms = np.empty((len(samples), seq))
        for row, sample in zip(uniforms, samples, strict=True):
            generator = np.random.Philox(key=[self.seed, sweep], counter=[0, 0, 0, int(sample)])
            np.random.Generator(generator).random(out=row)
        return {"uniforms": torch.from_numpy(uniforms)}


@dataclass(frozen=True)
class EmpiricalLabels:
    """Empirical Fisher: the data's own next tokens."""

    def __call__(self, samples: np.ndarray, seq: int, sweep: int) -> dict[str, Tensor]:
        return {}


def fisher_labels(name: str, seed: int) -> Labels:
    """``sampled`` or ``empirical``."""
    return EmpiricalLabels() if name == "empirical" else SampledLabels(seed)
