"""The config files of a GPT-NeoX checkpoint, and what each key means for a model that GPTNeoXForCausalLM computes.

GPT-NeoX copies the config files it was started with to ``configs/`` in every checkpoint. They say what no weight
shows: the share and base of the rotary embedding, parallel residuals, the activation, the norms' epsilon. Where they
are all there, GPT-NeoX's own defaults (the same in v1.0, 2.x and HEAD) hold for keys that they leave out; where they
are not, every such key must be given. Nothing is guessed.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

from curator.errors import CuratorError
from curator.models.neox_files import Checkpoint

_CANNOT_RUN_WITHOUT = ("num_layers", "hidden_size", "num_attention_heads")
_UNSEEN: dict[str, Any] = {
    "pos_emb": "learned",
    "rotary_pct": 1.0,
    "rotary_emb_base": 10000,
    "gpt_j_residual": False,
    "activation": "gelu",
    "bias_gelu_fusion": False,
    "layernorm_epsilon": 1e-5,
}
"""What neither the weights nor the saved arguments show, and GPT-NeoX's default."""

_ONLY: dict[str, tuple[Any, ...]] = {
    "pos_emb": ("rotary",),
    "norm": ("layernorm",),
    "use_mup": (False,),
    "use_qk_layernorm": (False,),
    "sliding_window_width": (),
    "moe_num_experts": (0, 1),
    "use_bias_in_norms": (True,),
    "use_bias_in_attn_linear": (True,),
    "use_bias_in_mlp": (True,),
    "te_columnparallel": (False,),
    "te_rowparallel": (False,),
    "te_layernorm_mlp": (False,),
    "te_mha": (False,),
    "te_fp8_mha": (False,),
}
"""What GPTNeoXForCausalLM can represent; None (not set) is always fine, but for pos_emb."""

_SHOWN = ("num_layers", "hidden_size", "num_attention_heads", "max_position_embeddings")
"""Settings that must agree with the checkpoint where both have them."""

_KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a word"}
ACTIVATIONS = {"gelu": "gelu", "relu": "relu", "swish": "silu", "silu": "silu", "mish": "mish"}


@dataclass(frozen=True)
class Settings:
    """Merged config files, keys with underscores.

    Attributes:
        files: where they come from; empty when there are none.
    """

    files: tuple[Path, ...]
    values: dict[str, Any]

    @property
    def complete(self) -> bool:
        """Whether GPT-NeoX could have been started with them, so that its defaults hold for the rest."""
        return all(self.values.get(key) is not None for key in _CANNOT_RUN_WITHOUT)


def read_settings(folder: Path) -> Settings:
    """The config files in ``folder/configs``, else in ``configs`` beside ``folder``.

    Raises:
        CuratorError: a file is not valid YAML (JSON is), or two say different things.
    """
    for place in (folder / "configs", folder.absolute().parent / "configs"):
        files = config_files(place)
        if files:
            break
    return merge_files(files)


def config_files(folder: Path) -> list[Path]:
    """The config files in a folder, by name."""
    return sorted(path for path in folder.glob("*") if path.suffix in (".yml", ".yaml", ".json"))


def merge_files(files: Sequence[Path]) -> Settings:
    """What several config files say together, as GPT-NeoX takes them.

    Raises:
        CuratorError: a file is not valid YAML (JSON is), or two say different things.
    """
    values: dict[str, Any] = {}
    origin: dict[str, Path] = {}
    for file in files:
        for key, value in _load_yaml(file).items():
            name = str(key).replace("-", "_")
            if name in values and values[name] != value:
                raise CuratorError(
                    f"{file}: {key} is {value!r}, but {origin[name]} says {values[name]!r}; keep one of them"
                )
            values[name], origin[name] = value, file
    return Settings(tuple(files), values)


def _load_yaml(file: Path) -> Mapping[Any, Any]:
    try:
        content = yaml.safe_load(file.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise CuratorError(f"{file}: not valid YAML ({reason}); mend it, or move it away") from error
    if not isinstance(content, Mapping):
        raise CuratorError(
            f"{file}: holds a {type(content).__name__}, expected keys and values; move it away"
        )
    return content


def refuse_unsupported(settings: Settings) -> None:
    """Refuse what GPTNeoXForCausalLM cannot compute.

    Raises:
        CuratorError: names every such key with its value.
    """
    values = {**_UNSEEN, **settings.values} if settings.complete else settings.values
    wrong = [key for key, allowed in _ONLY.items() if values.get(key) not in (None, *allowed)]
    if values.get("activation", "gelu") not in list(ACTIVATIONS):
        wrong.append("activation")
    if values.get("num_kv_heads") not in (None, values.get("num_attention_heads")):
        wrong.append("num_kv_heads")
    if not set(_words(values.get("attention_config"))) <= {"global", "flash", "all"}:
        wrong.append("attention_config")
    prompt = values.get("soft_prompt_tuning")
    if isinstance(prompt, Mapping) and prompt.get("enabled", False):
        wrong.append("soft_prompt_tuning")
    if wrong:
        raise CuratorError(
            f"{', '.join(map(str, settings.files))}: GPTNeoXForCausalLM, which curator computes with, has no place for "
            + "; ".join(f"{hyphened(key)} {values[key]!r}" for key in wrong)
            + ": this model cannot be read"
        )


_Value = TypeVar("_Value", int, float, bool, str)


class Reader:
    """Settings of one checkpoint: what its weights and arguments show first, then its config files."""

    def __init__(self, checkpoint: Checkpoint, settings: Settings, seen: Mapping[str, Any]):
        self.checkpoint = checkpoint
        self.settings = settings
        self.seen = seen
        self.place = ", ".join(map(str, settings.files)) or str(checkpoint.folder)

    def get(self, key: str, kind: type[_Value], default: Any = None) -> _Value:
        """The value of ``key``; GPT-NeoX's default, or the given one, where it is not set."""
        value = self.seen.get(key, self.settings.values.get(key))
        if value is None:
            value = _UNSEEN.get(key, default)
        if kind is float and not isinstance(value, bool):  # YAML reads 1e-5, without a dot, as text
            with suppress(TypeError, ValueError):
                return kind(value)
        if type(value) is not kind:
            raise CuratorError(
                f"{self.place}: {hyphened(key)} is {value!r}, expected {_KINDS[kind]}; mend it there"
            )
        return value

    def check_same_model(self) -> None:
        """The settings, the saved arguments and the weights are of one model."""
        for key, value in self.seen.items():
            said = self.settings.values.get(key)
            if key in _SHOWN and said is not None and said != value:
                raise CuratorError(
                    f"{self.place}: {hyphened(key)} is {said!r}, but the checkpoint in {self.checkpoint.folder} "
                    f"has {value!r}: these are the settings of another model, or part of the weights is missing"
                )
        args = self.checkpoint.args
        for key in ("num_layers", "hidden_size", "padded_vocab_size"):
            if args.get(key, self.seen[key]) != self.seen[key]:
                raise CuratorError(
                    f"{self.checkpoint.folder}: the weights have {hyphened(key)} {self.seen[key]}, but "
                    f"{self.checkpoint.layout.ranks[0].name} says {args[key]}: files of different models, or some "
                    "are missing"
                )

    def check_present(self) -> None:
        """Name everything that is neither saved nor said."""
        values = self.settings.values
        missing = [key for key in ("num_attention_heads", "max_position_embeddings") if self._absent(key)]
        if not self.settings.complete:
            missing += [key for key in _UNSEEN if values.get(key) is None]
            if values.get("activation", "gelu") != "gelu" and "bias_gelu_fusion" in missing:
                missing.remove("bias_gelu_fusion")
        if not missing:
            return
        folder = self.checkpoint.folder
        files = ", ".join(map(str, self.settings.files))
        raise CuratorError(
            f"{folder}: how this model computes cannot be told from its weights; missing "
            f"{', '.join(map(hyphened, missing))} ("
            + (
                f"not in {files}"
                if files
                else "it has no configs/ folder: GPT-NeoX was started without files"
            )
            + f"). Put the YAML files it was trained with, or an architecture.yml with these keys, into "
            f"{folder / 'configs'} or {folder.absolute().parent / 'configs'}"
        )

    def _absent(self, key: str) -> bool:
        return self.seen.get(key) is None and self.settings.values.get(key) is None


def hyphened(key: str) -> str:
    """A key as GPT-NeoX's own files write it."""
    return key.replace("_", "-")


def _words(value: Any) -> Iterator[str]:
    """Every text within nested lists: ``[[["global"], 12]]`` and the like."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _words(item)
