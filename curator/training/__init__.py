"""The embedded trainer: Pythia's recipe in plain PyTorch, following a plan slot by slot.

Start in ``trainer.py``; the settings are in ``config.py``. `train` and `build_model` are imported on first
use, because the experiment file reads `TrainingConfig` and should not wait for torch.
"""

from typing import TYPE_CHECKING, Any

from curator.training.config import TrainingConfig

if TYPE_CHECKING:
    from curator.training.model import build_model
    from curator.training.trainer import train

__all__ = ["TrainingConfig", "build_model", "train"]


def __getattr__(name: str) -> Any:
    if name == "train":
        from curator.training.trainer import train

        return train
    if name == "build_model":
        from curator.training.model import build_model

        return build_model
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
