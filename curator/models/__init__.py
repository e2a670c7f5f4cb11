"""Models of the GPT-NeoX architecture, whatever lies on the disk: the one door for weights.

``hf.py`` reads Hugging Face folders and hub revisions, ``neox.py`` what GPT-NeoX's trainer writes. `load_model`
looks at what a path holds and hands it to the reader that knows it; ``export.py`` makes a Hugging Face folder of
either. ``optimizer.py`` reads the moments that an optimizer left beside the weights.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from curator.artifacts.files import load_json
from curator.models import hf, neox
from curator.models.hf import model_fingerprint
from curator.models.listing import list_checkpoints

if TYPE_CHECKING:
    import torch
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

__all__ = [
    "checkpoint_files",
    "list_checkpoints",
    "load_config",
    "load_model",
    "model_fingerprint",
    "tokenizer_file",
]


def load_model(
    spec: str | Path, dtype: "torch.dtype | None" = None, device: str = "cpu"
) -> "GPTNeoXForCausalLM":
    """The model at ``spec``, ready to be measured: eval mode, no parameter wants a gradient, no cache.

    Args:
        spec: a Hugging Face or GPT-NeoX checkpoint folder, a GPT-NeoX save folder (its latest checkpoint), or a
            Hugging Face id ``owner/name[@revision]``; what exists as a folder is a folder.
        dtype: of the weights; float32 by default.
        device: where they go.

    Raises:
        CuratorError: there is no such model, it is of another architecture, or weights are missing.
    """
    if neox.is_neox(Path(spec).expanduser()):
        return neox.load_model(spec, dtype, device)
    return hf.load_model(spec, dtype, device)


def load_config(folder: str | Path) -> "GPTNeoXConfig":
    """The configuration of a checkpoint folder, without its weights.

    Raises:
        CuratorError: it cannot be read; as `load_model` does.
    """
    from transformers import GPTNeoXConfig

    folder = Path(folder).expanduser()
    if neox.is_neox(folder):
        return neox.load_config(folder)
    config: GPTNeoXConfig = GPTNeoXConfig.from_dict(load_json(folder / "config.json"))
    return config


def checkpoint_files(folder: str | Path) -> list[Path]:
    """The files on which a checkpoint's weights and configuration depend, in a fixed order."""
    folder = Path(folder).expanduser()
    return neox.checkpoint_files(folder) if neox.is_neox(folder) else hf.checkpoint_files(folder)


def tokenizer_file(spec: str | Path, fetch: bool = False) -> Path | None:
    """``tokenizer.json`` in a model's folder or the one above it, or what a GPT-NeoX model was trained with.

    None where there is none, and for hub ids unless ``fetch``.
    """
    found = hf.tokenizer_file(spec, fetch)
    folder = Path(spec).expanduser()
    return neox.tokenizer_file(folder) if found is None and neox.is_neox(folder) else found
