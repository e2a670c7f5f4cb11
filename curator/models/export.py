"""A checkpoint as a Hugging Face folder: ``config.json``, ``model.safetensors`` and, where there is one, its tokenizer.

The folder appears whole or not at all. What `curator.models.load_model` reads from it is what it reads from the
checkpoint: in float32 every weight is equal to the bit, and so is the fingerprint.
"""

import shutil
from pathlib import Path

from curator.artifacts.files import is_temporary, new_folder
from curator.errors import CuratorError
from curator.models import load_model, tokenizer_file
from curator.models.hf import quiet_transformers
from curator.models.neox import is_hf_tokenizer
from curator.models.settings import ExportSettings

END_OF_TEXT = "<|endoftext|>"
"""What GPT-NeoX puts between documents when it trains with a Hugging Face tokenizer."""


def export(settings: ExportSettings) -> Path | None:
    """Write the model at ``settings.checkpoint`` to the new folder ``settings.out``.

    Returns:
        The tokenizer that was copied, if there was one: by default that beside the checkpoint, or its ``vocab-file``.

    Raises:
        CuratorError: the folder is not empty, the checkpoint cannot be read, a weight does not fit into float16, or
            the tokenizer is none, or not this model's.
    """
    import torch

    checkpoint, out = settings.checkpoint, settings.out
    if out.exists() and (not out.is_dir() or any(not is_temporary(path) for path in out.iterdir())):
        raise CuratorError(f"{out}: is there already, and not an empty folder; choose another --out")
    model = load_model(checkpoint)
    if settings.dtype == "float16":
        largest = max(float(weight.abs().max()) for weight in model.parameters())
        if largest > torch.finfo(torch.float16).max:
            raise CuratorError(
                f"{checkpoint}: a weight is {largest:.4g}, too large for float16; export float32"
            )
        model.half()
    tokenizer = settings.tokenizer or tokenizer_file(checkpoint)
    if tokenizer is not None:
        end = _end_of_text(tokenizer, model.config.vocab_size)
        for config in (model.config, model.generation_config):
            config.bos_token_id = config.eos_token_id = end
    model.config.use_cache = True  # what a Hugging Face model says by default; load_model turns it off
    with new_folder(out) as folder:
        with quiet_transformers():
            model.save_pretrained(folder)
        if tokenizer is not None:
            shutil.copyfile(tokenizer, folder / "tokenizer.json")
    return tokenizer


def _end_of_text(path: Path, vocab_size: int) -> int | None:
    """The id of the end-of-text token, where the tokenizer has one."""
    from tokenizers import Tokenizer

    if not path.is_file():
        raise CuratorError(f"{path}: no such file; give a Hugging Face tokenizer.json")
    if not is_hf_tokenizer(path):
        raise CuratorError(f"{path}: not a Hugging Face tokenizer.json; give another --tokenizer")
    tokenizer: Tokenizer = Tokenizer.from_file(str(path))
    highest = max(tokenizer.get_vocab().values(), default=0)
    if highest >= vocab_size:
        raise CuratorError(
            f"{path}: has token ids up to {highest}, but the model knows 0 to {vocab_size - 1}: it is another "
            "model's tokenizer; give this one's with --tokenizer"
        )
    end: int | None = tokenizer.token_to_id(END_OF_TEXT)
    return end
