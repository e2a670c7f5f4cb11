"""What ``torch.save`` wrote, read without running anything that lies in it (DESIGN law 9).

``torch.load`` is always told ``weights_only``. GPT-NeoX puts numpy's random state beside its weights, so the few
functions that put such an array together are allowed, by name; whatever else a pickle asks for is refused. Objects of
DeepSpeed's own classes that lie beside an optimizer's state become `Inert` ones.
"""

import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

from curator.errors import CuratorError


class Inert:
    """Stands for an object of a class that is not loaded: its attributes, and none of its methods."""


_INERT = (
    "deepspeed.runtime.fp16.loss_scaler.LossScaler",
    "deepspeed.runtime.fp16.loss_scaler.DynamicLossScaler",
    "deepspeed.utils.tensor_fragment.fragment_address",
)
"""What DeepSpeed saves beside the state of its optimizers; an `Inert` in its place."""


def read_pickle(path: Path) -> Any:
    """The tensors (memory-mapped), plain values, numpy arrays of uint32 and inert objects that ``path`` holds.

    Raises:
        CuratorError: the file is damaged, or its pickle asks for anything else.
    """
    import torch

    if not zipfile.is_zipfile(path):
        raise CuratorError(
            f"{path}: cannot be read, it is cut short, or was saved by a PyTorch before 1.6; copy it again, or save "
            "it again with a newer one"
        )
    try:
        with torch.serialization.safe_globals(_numpy_globals() + _deepspeed_globals()):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        asked = re.search(r"GLOBAL (\S+)", str(error))
        what = asked[1] if asked else "more than data"
        raise CuratorError(
            f"{path}: refused, its pickle asks for {what}: reading it could run code. A GPT-NeoX checkpoint holds "
            "tensors, plain values and numpy's random state alone: fetch the file again from a source that you trust"
        ) from error
    except (RuntimeError, EOFError, ValueError) as error:
        raise CuratorError(
            f"{path}: cannot be read, it is damaged ({str(error).splitlines()[0]}); copy it again"
        ) from error


def _numpy_globals() -> list[Any]:
    """What numpy's random state (an array of uint32 within a tuple) is unpickled with, under old and new names."""
    import numpy as np

    reconstruct = np.empty(0).__reduce__()[0]
    return [
        np.ndarray,
        np.dtype,
        np.dtypes.UInt32DType,
        (reconstruct, "numpy.core.multiarray._reconstruct"),  # saved with numpy 1
        (reconstruct, "numpy._core.multiarray._reconstruct"),
    ]


def _deepspeed_globals() -> list[Any]:
    """DeepSpeed's classes by name, with what takes their place."""
    stage = (int, "deepspeed.runtime.zero.config.ZeroStageEnum")  # an enumeration of whole numbers
    return [stage, *((Inert, name) for name in _INERT)]
