"""Models of the GPT-NeoX architecture, whatever lies on the disk: the one door for weights.

``hf.py`` reads Hugging Face folders and hub revisions. `load_model` looks at what a path holds and
hands it to the reader that knows it; other kinds of checkpoint join here.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from curator.errors import CuratorError
from curator.models import hf
from curator.models.hf import list_checkpoints, model_fingerprint, tokenizer_file

if TYPE_CHECKING:
    import torch
    from transformers import GPTNeoXForCausalLM

__all__ = ["list_checkpoints", "load_model", "model_fingerprint", "tokenizer_file"]


def load_model(
    spec: str | Path, dtype: "torch.dtype | None" = None, device: str = "cpu"
) -> "GPTNeoXForCausalLM":
    """The model at ``spec``, ready to be measured: eval mode, no parameter wants a gradient, no cache.

    Args:
        spec: a checkpoint folder, or a Hugging Face id ``owner/name[@revision]``; what exists as a
            folder is a folder.
        dtype: of the weights; float32 by default.
        device: where they go.

    Raises:
        CuratorError: there is no such model, it is of another architecture, or weights are missing.
    """
    folder = Path(spec).expanduser()
    if any(folder.glob("*model_states.pt")):
        raise CuratorError(
            f"{folder}: this is a GPT-NeoX checkpoint, which cannot be read yet; convert it to a Hugging "
            "Face folder with GPT-NeoX's own tools/ckpts/convert_neox_to_hf.py"
        )
    return hf.load_model(spec, dtype, device)
