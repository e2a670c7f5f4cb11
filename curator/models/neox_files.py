"""The files of a GPT-NeoX checkpoint, found by their names and read shard by shard.

Two layouts, both written by DeepSpeed into ``SAVE/global_step{N}/``:

* single file (v1.0 and HEAD with pipe-parallel-size 0, 2.x also with 1): ``mp_rank_MM_model_states.pt`` holds
  everything, its weights in ``module`` as ``sequential.<number>.<name>``;
* pipeline: ``layer_NN-model_MM-model_states.pt`` holds the weights of module NN as ``<name>``.

MM is the tensor-parallel shard. Modules are numbered alike in both: 0 the embedding, 2 .. N+1 the N blocks, N+3 the
final norm, N+4 the output unless it is tied to the embedding; 1 and N+2 only transpose and have no weights.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curator.errors import CuratorError
from curator.models.safe_pickle import read_pickle

if TYPE_CHECKING:
    from torch import Tensor

_RANK = re.compile(r"mp_rank_(\d+)_model_states\.pt")
_LAYER = re.compile(r"layer_(\d+)-model_(\d+)-model_states\.pt")
_WEIGHT = re.compile(r"sequential\.(\d+)\.(.+)")
EMBEDDING, FIRST_BLOCK = 0, 2
WORD_EMBEDDINGS = "word_embeddings.weight"
FREQUENCIES = "attention.rotary_emb.inv_freq"
"""A buffer that v1.0 and 2.x save; HEAD does with rotary-save-freqs-buffer."""
MLP_IN = ("mlp.dense_h_to_4h.weight", "mlp.linear1.weight")
"""v1.0 and 2.x; HEAD."""


@dataclass(frozen=True)
class Layout:
    """Which files a checkpoint has.

    Attributes:
        ranks: shard -> ``mp_rank_MM`` file; in a pipeline layout they hold no weights and may be absent.
        layers: module -> shard -> ``layer_NN-model_MM`` file; empty in a single-file layout.
    """

    folder: Path
    ranks: dict[int, Path]
    layers: dict[int, dict[int, Path]]

    @property
    def files(self) -> list[Path]:
        """Every file that holds weights, by name."""
        if not self.layers:
            return sorted(self.ranks.values())
        return sorted(path for shards in self.layers.values() for path in shards.values())


@dataclass(frozen=True)
class Checkpoint:
    """The weights of a checkpoint as they were saved, memory-mapped.

    Attributes:
        modules: module number -> one ``name -> tensor`` per tensor-parallel shard.
        args: what GPT-NeoX saved beside them (num_layers, hidden_size, ...); empty where nothing did.
    """

    layout: Layout
    modules: dict[int, list[dict[str, "Tensor"]]]
    args: dict[str, Any] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        return self.layout.folder

    @property
    def n_shards(self) -> int:
        """How many tensor-parallel shards there are."""
        return len(self.modules[EMBEDDING])

    @property
    def embedding_shape(self) -> tuple[int, int]:
        """(padded vocabulary, d_model), all shards together."""
        shards = [shard[WORD_EMBEDDINGS] for shard in self.modules[EMBEDDING]]
        return sum(len(shard) for shard in shards), shards[0].shape[1]

    @property
    def mlp_size(self) -> int:
        """Width of the MLP's hidden layer, all shards together."""
        shards = self.modules[FIRST_BLOCK]
        return sum(len(shard[name]) for shard in shards for name in MLP_IN if name in shard)

    @property
    def blocks(self) -> list[int]:
        """Numbers of the transformer blocks: those that follow each other from 2 on."""
        numbers: list[int] = []
        while FIRST_BLOCK + len(numbers) in self.modules:
            numbers.append(FIRST_BLOCK + len(numbers))
        return numbers

    def file(self, module: int, shard: int = 0) -> Path:
        """The file that holds this shard of this module, or would."""
        if not self.layout.layers:
            return self.layout.ranks[shard]
        return self.folder / _layer_name(module, shard)

    def saved_name(self, module: int, name: str) -> str:
        """What a weight is called in that file."""
        return name if self.layout.layers else f"sequential.{module}.{name}"


def find_files(folder: Path) -> Layout:
    """The layout of the checkpoint in ``folder``, from file names alone.

    Raises:
        CuratorError: a file is missing, or the weights are cut up in a way that cannot be read.
    """
    ranks: dict[int, Path] = {}
    layers: dict[int, dict[int, Path]] = {}
    for path in sorted(folder.glob("*model_states.pt")):
        if match := _RANK.fullmatch(path.name):
            ranks[int(match[1])] = path
        elif match := _LAYER.fullmatch(path.name):
            layers.setdefault(int(match[1]), {})[int(match[2])] = path
        elif "expert" in path.name:
            raise CuratorError(
                f"{path}: weights of an expert; a mixture of experts has no place in GPTNeoXForCausalLM"
            )
        elif path.name.startswith("zero_pp_rank"):
            raise CuratorError(
                f"{path}: ZeRO stage 3 cuts every weight up among the ranks, which cannot be read; put it "
                "together with the zero_to_fp32.py that DeepSpeed left in the save folder, or train with stage 1"
            )
        else:
            raise CuratorError(
                f"{path}: of no known layout (mp_rank_00_..., layer_00-model_00-...); remove it"
            )
    if not ranks and not layers:
        raise CuratorError(f"{folder}: no GPT-NeoX checkpoint: no *_model_states.pt in it")
    if layers:
        shards = {shard for there in layers.values() for shard in there}
        missing = [
            _layer_name(number, shard)
            for number in sorted(_expected(set(layers)) | set(layers))
            for shard in range(max(shards) + 1)
            if shard not in layers.get(number, {})
        ]
    else:
        missing = [f"mp_rank_{n:02}_model_states.pt" for n in range(max(ranks) + 1) if n not in ranks]
    if missing:
        raise CuratorError(
            f"{folder}: the GPT-NeoX checkpoint is incomplete, {_shown(missing)} is missing: copy it there, or "
            "use another checkpoint"
        )
    return Layout(folder, ranks, layers)


def _layer_name(module: int, shard: int) -> str:
    return f"layer_{module:02}-model_{shard:02}-model_states.pt"


def _expected(there: set[int]) -> set[int]:
    """Modules that a whole checkpoint with these files has; the output may be missing, since it may be tied."""
    guesses = []
    for n_blocks in (max(there) - 4, max(there) - 3):  # the last file is the output, or (tied) the final norm
        blocks = max(n_blocks, 1)
        guesses.append({EMBEDDING, *range(FIRST_BLOCK, FIRST_BLOCK + blocks), blocks + 3})
    return min(guesses, key=lambda whole: (len(there - whole - {max(whole) + 1}), len(whole - there)))


def _shown(names: list[str]) -> str:
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")


def read_checkpoint(folder: Path) -> Checkpoint:
    """Every weight of the checkpoint in ``folder``, memory-mapped.

    Raises:
        CuratorError: a file is missing, damaged, or asks to run code; shards do not belong together.
    """
    layout = find_files(folder)
    modules: dict[int, list[dict[str, Tensor]]] = {}
    args: dict[str, Any] = {}
    first_rank = layout.ranks.get(0)
    if layout.layers:
        for number, shards in sorted(layout.layers.items()):
            modules[number] = [_weights(path, read_pickle(path)) for _, path in sorted(shards.items())]
        if first_rank is not None:
            args = _args(first_rank, read_pickle(first_rank))
    else:
        states = {path: read_pickle(path) for _, path in sorted(layout.ranks.items())}
        iterations = {path.name: _mapping(path, state).get("iteration") for path, state in states.items()}
        if len(set(iterations.values())) > 1:
            raise CuratorError(
                f"{folder}: shards of different steps: "
                + ", ".join(f"{name} is of step {step}" for name, step in iterations.items())
                + "; copy all shards of one step there"
            )
        for shard, (path, state) in enumerate(states.items()):
            for name, tensor in _weights(path, state.get("module")).items():
                match = _WEIGHT.fullmatch(name)
                if match is None:
                    raise CuratorError(
                        f"{path}: a weight called {name}, expected sequential.<number>.<name>; this is not a "
                        "GPT-NeoX model, or one of a generation that curator does not know"
                    )
                shards_of = modules.setdefault(int(match[1]), [{} for _ in states])
                shards_of[shard][match[2]] = tensor
        assert first_rank is not None
        args = _args(first_rank, states[first_rank])
    if EMBEDDING not in modules:
        raise CuratorError(f"{folder}: no module {EMBEDDING}, the embedding: this is not a GPT-NeoX model")
    checkpoint = Checkpoint(layout, modules, args)
    asked = args.get("model_parallel_size")
    if asked is not None and asked != checkpoint.n_shards:
        raise CuratorError(
            f"{folder}: there are files of {checkpoint.n_shards} tensor-parallel shard(s), but {first_rank} says "
            f"that it was trained with model-parallel-size {asked}; copy the other shards there"
        )
    return checkpoint


def _mapping(path: Path, state: Any) -> Mapping[str, Any]:
    if not isinstance(state, Mapping):
        raise CuratorError(
            f"{path}: holds a {type(state).__name__}, expected what DeepSpeed saves, a dictionary"
        )
    return state


def _args(path: Path, state: Any) -> dict[str, Any]:
    args = _mapping(path, state).get("args")
    return dict(args) if isinstance(args, Mapping) else {}


def _weights(path: Path, value: Any) -> dict[str, "Tensor"]:
    import torch

    if not isinstance(value, Mapping):
        raise CuratorError(
            f"{path}: no weights in it; in a pipeline layout they lie in layer_NN-model_MM-model_states.pt beside "
            "it: copy those there too"
        )
    other = [name for name, tensor in value.items() if not isinstance(tensor, torch.Tensor)]
    if other:
        raise CuratorError(
            f"{path}: {_shown(list(map(str, other)))}: not a tensor; save the weights alone there"
        )
    return dict(value)
