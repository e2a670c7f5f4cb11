"""What is emitted from inside the trainer's own backward is what the optimizer gets, sample by sample."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from neox_runs import MICRO, PP1_ZERO1, SEQ, Trainer

from curator.emission import Emission

STEPS = [1, 2]
UNITS = ["induction:0.1", "induction:1.*"]


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


def parameter_grad(grads: dict[str, np.ndarray], step: int, layer: int, linear: str) -> np.ndarray:
    """The gradient of a linear map's weight [d_out, d_in], whatever the layout calls it."""
    names = [name for name in grads if name.startswith(f"{step}/") and name.endswith(f"{linear}.weight")]
    names = [name for name in names if f".{layer + 2}.attention." in f".{name.split('/')[1]}"]
    assert len(names) == 1, sorted(grads)
    return grads[names[0]].astype(np.float64)


@pytest.mark.parametrize("layout", ["pp0", "pp1"])
def test_sum_of_emitted_gradients_is_the_parameters_gradient(
    trainer: Trainer, tmp_path: Path, layout: str
) -> None:
    changes = PP1_ZERO1 if layout == "pp1" else {}
    config = trainer.config(**changes, train_iters=3, gradient_clipping=1e9)
    study = {"emit": {"out": str(tmp_path / "emitted"), "steps": STEPS, "units": UNITS, "gradients": {}}}
    run = trainer.run(tmp_path / "run", config, study, grad_steps=STEPS)
    emission = Emission.open(tmp_path / "emitted")
    grads = run.grads()
    d_head = 8
    for step in STEPS:
        for layer, head in [(0, 1), *((1, head) for head in range(4))]:
            qkv = parameter_grad(grads, step, layer, "query_key_value")
            dense = parameter_grad(grads, step, layer, "dense")
            first = head * 3 * d_head
            expected = {
                "qk": qkv[first : first + 2 * d_head].T,
                "v": qkv[first + 2 * d_head : first + 3 * d_head].T,
                "o": dense[:, head * d_head : (head + 1) * d_head].T,
            }
            for block, value in expected.items():
                found = emitted_sum(emission, f"induction:{layer}.{head}/{block}", step) / (MICRO * SEQ)
                error = np.linalg.norm(found - value) / np.linalg.norm(value)
                assert error < 1e-5, (step, layer, head, block, error)
