"""The state of the optimizer that lies with a checkpoint, whatever trainer wrote it: the one door for Adam's moments.

Refused: something in the place of moments that are not there, such as the scale of the weights or one batch's gradient.
"""

from collections.abc import Collection
from pathlib import Path

import numpy as np

from curator.errors import CuratorError
from curator.models import neox
from curator.models.moments import OPTIMIZER, WANTED, Moment, embedded_moments
from curator.models.neox_moments import neox_moments


def read_moments(spec: str | Path, names: Collection[str]) -> dict[str, Moment]:
    """The moments of the weights called ``names``, on the CPU.

    Args:
        spec: as `curator.models.load_model` takes it.

    Raises:
        CuratorError: there is no optimizer's state, it is damaged, of another optimizer, or of other weights.
    """
    folder = Path(spec).expanduser()
    if neox.is_neox(folder):
        found = neox_moments(neox.checkpoint_folder(folder), names)
    elif (folder / OPTIMIZER).is_file():
        found = embedded_moments(folder, names)
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
