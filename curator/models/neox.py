"""GPT-NeoX checkpoints as they leave the trainer: pp 0 and pp 1 layouts, v1.0 to HEAD, tensor-parallel shards.

``SAVE/global_step{N}/`` is one checkpoint; ``SAVE`` itself stands for the one that its file ``latest`` names.
`neox_files` finds and reads the files, `neox_settings` and `neox_config` say what the model computes,
`neox_weights` puts shards together; here they become the same model that `hf.load_model` makes of the exported folder.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from curator.errors import CuratorError
from curator.models import hf
from curator.models.neox_config import Architecture, read_architecture
from curator.models.neox_files import Checkpoint, find_files, read_checkpoint
from curator.models.neox_settings import read_settings, refuse_unsupported
from curator.models.neox_weights import check_names, hf_weights

if TYPE_CHECKING:
    import torch
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM


def is_neox(folder: Path) -> bool:
    """Whether ``folder`` is a GPT-NeoX checkpoint, or a save folder with a latest one; it may be incomplete."""
    return any(folder.glob("*model_states.pt")) or (
        (folder / "latest").is_file() and not (folder / "config.json").exists()
    )


def checkpoint_folder(folder: Path) -> Path:
    """``folder``, or the checkpoint that its file ``latest`` names.

    Raises:
        CuratorError: that checkpoint is not there.
    """
    if any(folder.glob("*model_states.pt")):
        return folder
    latest = folder / "latest"
    name = latest.read_text().strip()
    if not name or Path(name).name != name or not (folder / name).is_dir():
        raise CuratorError(
            f"{latest}: names the checkpoint {name!r}, which is not in {folder}; give its folder"
        )
    return folder / name


def load_model(
    spec: str | Path, dtype: "torch.dtype | None" = None, device: str = "cpu"
) -> "GPTNeoXForCausalLM":
    """See `curator.models.load_model`."""
    import torch
    from transformers import GPTNeoXForCausalLM

    dtype = dtype or torch.float32
    checkpoint, architecture = _read(Path(spec).expanduser())
    weights = hf_weights(
        checkpoint,
        dtype,
        sum_row_biases=architecture.config.use_parallel_residual,
        tied_norms=architecture.tied_norms,
    )
    from_pretrained: Any = GPTNeoXForCausalLM.from_pretrained
    with hf.quiet_transformers():
        model, report = from_pretrained(
            None, config=architecture.config, state_dict=weights, dtype=dtype, **hf.LOADING
        )
    return hf.checked(checkpoint.folder, model, report, device)


def load_config(folder: Path) -> "GPTNeoXConfig":
    """The Hugging Face configuration of the checkpoint; no weight is copied.

    Raises:
        CuratorError: as `load_model` does.
    """
    return _read(folder)[1].config


def checkpoint_files(folder: Path) -> list[Path]:
    """The files that make the checkpoint what it is: weights and settings."""
    folder = checkpoint_folder(folder)
    return [*find_files(folder).files, *read_settings(folder).files]


def tokenizer_file(folder: Path) -> Path | None:
    """The ``vocab-file`` it was trained with, where that exists and is a Hugging Face ``tokenizer.json``."""
    value = read_settings(checkpoint_folder(folder)).values.get("vocab_file")
    path = Path(value).expanduser() if isinstance(value, str) else None
    return path if path is not None and path.is_file() and is_hf_tokenizer(path) else None


def is_hf_tokenizer(path: Path) -> bool:
    """Whether ``path`` is a ``tokenizer.json``."""
    from tokenizers import Tokenizer

    try:
        Tokenizer.from_file(str(path))
    except Exception:  # the library raises Exception itself
        return False
    return True


def _read(folder: Path) -> tuple[Checkpoint, Architecture]:
    folder = checkpoint_folder(folder)
    checkpoint, settings = read_checkpoint(folder), read_settings(folder)
    refuse_unsupported(settings)
    check_names(checkpoint)
    return checkpoint, read_architecture(checkpoint, settings)
