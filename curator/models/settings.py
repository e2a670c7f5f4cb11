"""How a checkpoint is written anew: the flags of `curator export`."""

from typing import Annotated, Literal

from curator.artifacts.flags import Flag
from curator.artifacts.schema import GivenPath, Settings


class ExportSettings(Settings):
    """Which checkpoint becomes a Hugging Face folder."""

    checkpoint: Annotated[str, Flag(argument=True)]
    """GPT-NeoX checkpoint: SAVE/global_step{N}, or SAVE for its latest."""
    out: GivenPath
    """New folder for the model."""
    dtype: Literal["float32", "float16"] = "float32"
    """Of the written weights: float32 or float16."""
    tokenizer: Annotated[GivenPath | None, Flag(default="the one that the model was trained with")] = None
    """tokenizer.json to put beside them."""
