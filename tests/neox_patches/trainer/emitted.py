"""What a run emitted, and the parameter's own gradient, of one block."""

from typing import Any

import numpy as np

from curator.influence.emission import Emission


def emitted_sum(emission: Emission, label: str, step: int) -> np.ndarray:
    """Σ over all ranks' rows of a step of the block's gradient [inputs, outputs], float64."""
    total: Any = 0
    for part in emission.ranks:
        labels = [block["label"] for block in part.blocks]
        if label not in labels:
            continue
        rows = part.rows_per_step
        place = emission.manifest["steps"].index(step)
        values = part.array(f"gradients/{labels.index(label)}")[place * rows : (place + 1) * rows]
        total = total + np.asarray(values, np.float64).sum(0)
    return total


def parameter_grad(
    grads: dict[str, np.ndarray], step: int, layer: int, linear: str, part: str = "attention"
) -> np.ndarray:
    """The gradient of a linear map's weight [d_out, d_in], whatever the layout calls it."""
    names = [name for name in grads if name.startswith(f"{step}/") and name.endswith(f"{linear}.weight")]
    names = [name for name in names if f".{layer + 2}.{part}." in f".{name.split('/')[1]}"]
    assert len(names) == 1, sorted(grads)
    return grads[names[0]].astype(np.float64)
