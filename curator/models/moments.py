"""Second moments of the gradient that a checkpoint's own optimizer kept: v̂ of Adam, by Hugging Face's names of weights.

The embedded trainer's checkpoints are read here, GPT-NeoX's by ``neox_moments.py``. Refused: the scale of weights or of
one batch's gradient in the place of moments that are not there.
"""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from curator.artifacts.files import load_json
from curator.artifacts.fingerprints import fingerprint
from curator.errors import CuratorError

if TYPE_CHECKING:
    from torch import Tensor

OPTIMIZER = "optimizer.safetensors"
"""Adam's moments in a checkpoint of the embedded trainer, named ``parameter.moment``."""
RUN = "trainer.json"
"""What run a checkpoint of the embedded trainer is of."""
WANTED = "--preconditioner adam wants a checkpoint that training can go on from: of `curator train`, or of GPT-NeoX"


@dataclass(frozen=True, eq=False)
class Moment:
    """What Adam knows of one weight.

    Attributes:
        exp_avg_sq: v [d_out, d_in], the running mean of the squared gradient, as the optimizer keeps it.
        step: how many updates are in it; beta2: its decay; eps: added to the root.
    """

    exp_avg_sq: "Tensor"
    step: int
    beta2: float
    eps: float

    def denominator(self) -> "Tensor":
        """√v̂ + ε [d_out, d_in] float64, with v̂ = v / (1 - β₂^step)."""
        return (self.exp_avg_sq.double() / (1 - self.beta2**self.step)).sqrt() + self.eps


def read_moments(spec: str | Path, names: Collection[str]) -> dict[str, Moment]:
    """The moments of the weights called ``names``, on the CPU.

    Args:
        spec: as `curator.models.load_model` takes it.

    Raises:
        CuratorError: there is no optimizer's state, it is damaged, of another optimizer, or of other weights.
    """
    from curator.models import neox
    from curator.models.neox_moments import neox_moments

    folder = Path(spec).expanduser()
    if neox.is_neox(folder):
        found = neox_moments(neox.checkpoint_folder(folder), names)
    elif (folder / OPTIMIZER).is_file():
        found = _embedded(folder, names)
    else:
        what = f"there is no {OPTIMIZER} in it" if folder.is_dir() else "models of the hub have none"
        raise CuratorError(f"{spec}: no state of an optimizer, {what}; {WANTED}")
    for name, moment in found.items():
        bad = ~np.isfinite(moment.exp_avg_sq.numpy()) | (moment.exp_avg_sq.numpy() < 0)
        if bad.any():
            raise CuratorError(
                f"{spec}: the second moment of {name} is {moment.exp_avg_sq[tuple(np.argwhere(bad)[0])]} at "
                f"{np.argwhere(bad)[0].tolist()}: the optimizer's state is damaged; take another checkpoint"
            )
    return found


def moments_fingerprint(moments: dict[str, Moment]) -> str:
    """Content fingerprint of all that `Moment.denominator` depends on."""
    return fingerprint(
        {
            name: [one.exp_avg_sq.numpy(), one.step, one.beta2, one.eps]
            for name, one in sorted(moments.items())
        }
    )


def _embedded(folder: Path, names: Collection[str]) -> dict[str, Moment]:
    """Of the embedded trainer: the state under the model's own names, betas and ε in its config."""
    from safetensors import SafetensorError, safe_open

    path, run = folder / OPTIMIZER, folder / RUN
    config = load_json(run).get("config") if run.is_file() else None
    if not isinstance(config, dict) or not {"adam_betas", "adam_eps"} <= set(config):
        raise CuratorError(f"{run}: does not say with which betas and ε was trained; {WANTED}")
    try:
        with safe_open(path, "pt") as file:
            keys = set(file.keys())
            if not keys:
                raise CuratorError(
                    f"{path}: holds no moments, the checkpoint is from before the first update; {WANTED}, "
                    "after an update"
                )
            missing = [name for name in names if f"{name}.exp_avg_sq" not in keys]
            if missing:
                raise CuratorError(f"{path}: has no second moment of {missing[0]}; take another checkpoint")
            return {
                name: Moment(
                    file.get_tensor(f"{name}.exp_avg_sq"),
                    int(file.get_tensor(f"{name}.step")),
                    float(config["adam_betas"][1]),
                    float(config["adam_eps"]),
                )
                for name in names
            }
    except (SafetensorError, OSError) as error:
        raise CuratorError(f"{path}: cannot be read ({error}); take another checkpoint") from error
