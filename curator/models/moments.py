"""Second moments of the gradient that a checkpoint's own optimizer kept: v̂ of Adam, by Hugging Face's names of weights.

What they are, and those of the embedded trainer's checkpoints; GPT-NeoX's are read by ``neox_moments.py``, and
``optimizer.py`` is the door to both.
"""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

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


def moments_fingerprint(moments: dict[str, Moment]) -> str:
    """Content fingerprint of all that `Moment.denominator` depends on."""
    return fingerprint(
        {
            name: [one.exp_avg_sq.numpy(), one.step, one.beta2, one.eps]
            for name, one in sorted(moments.items())
        }
    )


def embedded_moments(folder: Path, names: Collection[str]) -> dict[str, Moment]:
    """Those of a checkpoint of the embedded trainer: the state under the model's own names, β₂ and ε in its config.

    Raises:
        CuratorError: it is of before the first update, or damaged.
    """
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
