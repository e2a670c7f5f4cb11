"""Hugging Face checkpoints of the GPT-NeoX architecture: folders and hub revisions, safetensors alone.

transformers fills in weights that a file lacks with random numbers and says so in a log line; here a
missing, superfluous or misshapen weight is an error. A pickled ``pytorch_model.bin`` is refused: reading
one can run code. transformers and torch are imported inside functions, because they take seconds.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curator.artifacts.files import load_json
from curator.artifacts.fingerprints import fingerprint
from curator.errors import CuratorError
from curator.models.listing import WEIGHTS, checkpoints_in, is_hf_folder

if TYPE_CHECKING:
    import torch
    from transformers import GPTNeoXForCausalLM

_HUB_ID = re.compile(r"(?P<name>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?")
LOADING = {"attn_implementation": "sdpa", "ignore_mismatched_sizes": True, "output_loading_info": True}
"""How weights are put into a model: what does not fit is reported, and `checked` raises."""
_STORED_BUFFERS = re.compile(r"attention\.(bias|masked_bias|rotary_emb\.inv_freq)$")


def tokenizer_file(spec: str | Path, fetch: bool = False) -> Path | None:
    """``tokenizer.json`` in a model's folder or the one above it, or of a hub id where it shall be fetched."""
    folder = Path(spec).expanduser()
    if not folder.is_dir():
        hub = _HUB_ID.fullmatch(str(spec)) if fetch else None
        return None if hub is None else _hub_file(hub["name"], "tokenizer.json", hub["revision"] or "main")
    candidates = [place / "tokenizer.json" for place in (folder, folder.resolve().parent)]
    return next((path for path in candidates if path.is_file()), None)


def is_stored_buffer(name: str) -> bool:
    """Whether this is no weight, but what older transformers computed from the config and stored beside them."""
    return _STORED_BUFFERS.search(name) is not None


def checkpoint_files(folder: Path) -> list[Path]:
    """``config.json`` and the files of weights."""
    whole = folder / WEIGHTS[0]
    if whole.is_file():
        return [folder / "config.json", whole]
    names = sorted(set(load_json(folder / WEIGHTS[1])["weight_map"].values()))
    return [folder / "config.json", *(folder / name for name in names)]


def load_model(
    spec: str | Path, dtype: "torch.dtype | None" = None, device: str = "cpu"
) -> "GPTNeoXForCausalLM":
    """See `curator.models.load_model`."""
    import torch
    from safetensors import SafetensorError
    from transformers import GPTNeoXForCausalLM

    name, revision = _locate(str(spec))
    from_pretrained: Any = GPTNeoXForCausalLM.from_pretrained
    try:
        with quiet_transformers():
            model, report = from_pretrained(
                name,
                revision=revision or "main",
                local_files_only=revision is None,
                dtype=dtype or torch.float32,
                use_safetensors=True,
                **LOADING,
            )
    except (OSError, SafetensorError, RuntimeError, ValueError) as error:
        raise CuratorError(f"{spec}: the model cannot be read: {error}") from error
    return checked(spec, model, report, device)


def checked(spec: str | Path, model: Any, report: dict[str, Any], device: str) -> "GPTNeoXForCausalLM":
    """``model`` ready to be measured, if ``report`` says that every weight was there and fitted.

    Raises:
        CuratorError: names the weights that were missing, superfluous or misshapen.
    """
    problems = {
        "missing": sorted(report["missing_keys"]),
        "unexpected": sorted(key for key in report["unexpected_keys"] if not is_stored_buffer(key)),
        "misshapen": [
            f"{key} {list(stored)} instead of {list(expected)}"
            for key, stored, expected in sorted(report["mismatched_keys"])
        ],
    }
    if any(problems.values()):
        raise CuratorError(
            f"{spec}: the weights do not fit the configuration: "
            + "; ".join(f"{kind} {', '.join(keys)}" for kind, keys in problems.items() if keys)
            + "; the checkpoint is incomplete or of another model, fetch or convert it again"
        )
    model.config.use_cache = False
    ready: GPTNeoXForCausalLM = model.to(device).eval().requires_grad_(False)
    return ready


def _locate(spec: str) -> tuple[str, str | None]:
    """(folder, None) or (hub id, revision) of a model that can be read, or a clear error."""
    folder = Path(spec).expanduser()
    if folder.is_dir():
        _check_folder(folder)
        return str(folder), None
    hub = _HUB_ID.fullmatch(spec)
    if hub and not folder.parent.is_dir():
        _check_hub_type(spec, hub["name"], hub["revision"] or "main")
        return hub["name"], hub["revision"] or "main"
    place = f"there is no folder {folder}"
    if folder.parent.is_dir():
        place += checkpoints_in(folder.parent)
    raise CuratorError(f"{spec}: no such model: {place}; give a folder, or a hub id as owner/name@revision")


def _check_folder(folder: Path) -> None:
    if not (folder / "config.json").is_file():
        raise CuratorError(f"{folder}: not a model folder, it has no config.json" + checkpoints_in(folder))
    _check_model_type(folder / "config.json")
    if not is_hf_folder(folder):
        pickles = sorted(path.name for path in folder.glob("*.bin"))
        mend = (
            f"found {', '.join(pickles)}, which can run code when read: save the model again with "
            "save_pretrained(folder, safe_serialization=True)"
            if pickles
            else "copy the weights there"
        )
        raise CuratorError(f"{folder}: no {WEIGHTS[0]}; {mend}")


def _hub_file(name: str, file: str, revision: str) -> Path | None:
    """A file of a hub model, from the cache or the hub; None where there is none."""
    from transformers.utils import cached_file

    try:
        with quiet_transformers():
            found = cached_file(name, file, revision=revision, _raise_exceptions_for_missing_entries=False)
    except OSError:
        return None
    return None if found is None else Path(found)


def _check_hub_type(spec: str, name: str, revision: str) -> None:
    from transformers.utils import cached_file

    try:
        with quiet_transformers():
            config = cached_file(name, "config.json", revision=revision)
            assert config is not None  # it raises where there is none
    except OSError as error:
        raise CuratorError(
            f"{spec}: no folder of that name, and the hub model {name} at revision {revision} cannot be "
            f"fetched: {str(error).splitlines()[0]}"
        ) from error
    _check_model_type(Path(config))


def _check_model_type(config: Path) -> None:
    settings = load_json(config)
    model_type = settings.get("model_type") if isinstance(settings, dict) else None
    if model_type != "gpt_neox":
        raise CuratorError(
            f"{config}: model_type is {model_type!r}, expected 'gpt_neox' (Pythia and relatives)"
        )


def model_fingerprint(model: "GPTNeoXForCausalLM") -> str:
    """Content fingerprint of the weights and of what the forward pass does with them (heads, rotary, ...)."""
    import torch

    architecture = {
        key: getattr(model.config, key)
        for key in (
            "num_attention_heads",
            "rope_parameters",
            "use_parallel_residual",
            "hidden_act",
            "layer_norm_eps",
        )
    }
    weights = {
        name: fingerprint(
            [str(tensor.dtype), list(tensor.shape), tensor.cpu().contiguous().view(torch.uint8).numpy()]
        )
        for name, tensor in model.state_dict().items()
    }
    return fingerprint({"architecture": architecture, "weights": weights})


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """No progress bars and log lines from transformers within; what matters is raised as an error."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
