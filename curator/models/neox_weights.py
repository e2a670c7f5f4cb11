"""GPT-NeoX's weights under Hugging Face names, tensor-parallel shards put together.

A column-parallel weight is cut along its outputs (dimension 0), a row-parallel one along its inputs (dimension 1);
the vocabulary is cut along its rows. The rows of ``query_key_value`` are ``[heads, 3, d_head]`` on both sides, and a
shard has whole heads, so its shards simply follow each other.

The bias of a row-parallel layer is there on every shard. With ``gpt-j-residual`` each rank adds its own *before* the
sum over ranks, so the model's bias is the sum over shards; without, it is added once after the sum, so all shards
hold the same one.
"""

from collections.abc import Collection
from typing import TYPE_CHECKING, NoReturn

from curator.errors import CuratorError
from curator.models.neox_files import EMBEDDING, FREQUENCIES, WORD_EMBEDDINGS, Checkpoint

if TYPE_CHECKING:
    import torch
    from torch import Tensor

ROUNDING = 1e-3
"""Copies of one tensor on several GPUs drift apart by rounding; up to this part of the largest value they are one."""

_OUTPUT = "final_linear.weight"
_NORM = ("norm.weight", "norm.bias")
_BLOCK_SAME = (
    "input_layernorm.weight",
    "input_layernorm.bias",
    "post_attention_layernorm.weight",
    "post_attention_layernorm.bias",
)
_BLOCK_COLUMN = (
    "attention.query_key_value.weight",
    "attention.query_key_value.bias",
    "mlp.dense_h_to_4h.weight",
    "mlp.dense_h_to_4h.bias",
)
_BLOCK_ROW = ("attention.dense.weight", "mlp.dense_4h_to_h.weight")
_BLOCK_ROW_BIAS = ("attention.dense.bias", "mlp.dense_4h_to_h.bias")
_BLOCK = {*_BLOCK_SAME, *_BLOCK_COLUMN, *_BLOCK_ROW, *_BLOCK_ROW_BIAS}
_NO_PLACE = {
    "position_embeddings.weight": "learned positions (pos-emb)",
    "soft_embedding_weight": "a soft prompt (soft-prompt-tuning)",
    "rm_linear.weight": "the output of a reward model (train-impl rm)",
}


def check_names(checkpoint: Checkpoint) -> None:
    """Refuse a checkpoint that has not exactly the weights of a GPT-NeoX transformer, each at its place.

    Raises:
        CuratorError: names what is missing or superfluous, with its file.
    """
    blocks = checkpoint.blocks
    last = blocks[-1] if blocks else 1
    expected = {EMBEDDING: {WORD_EMBEDDINGS}, **dict.fromkeys(blocks or [2], _BLOCK), last + 2: set(_NORM)}
    if last + 3 in checkpoint.modules:
        expected[last + 3] = {_OUTPUT}
    for module in sorted({*expected, *checkpoint.modules}):
        for shard in range(checkpoint.n_shards):
            shards = checkpoint.modules.get(module, [{}] * checkpoint.n_shards)
            there = {_hf_name(name) for name in shards[shard]} - {FREQUENCIES}
            wanted = expected.get(module, set())
            if there == wanted:
                continue
            _refuse(checkpoint, module, shard, sorted(wanted - there), sorted(there - wanted))


def _refuse(checkpoint: Checkpoint, module: int, shard: int, missing: list[str], unknown: list[str]) -> None:
    file = checkpoint.file(module, shard)
    for name in unknown:
        if name in _NO_PLACE:
            raise CuratorError(
                f"{file}: holds {checkpoint.saved_name(module, name)}: GPTNeoXForCausalLM, which curator computes "
                f"with, has no place for {_NO_PLACE[name]}: this model cannot be read"
            )
    parts = [f"has no {', '.join(checkpoint.saved_name(module, name) for name in missing)}"] * bool(missing)
    parts += [f"has {', '.join(checkpoint.saved_name(module, name) for name in unknown)}"] * bool(unknown)
    raise CuratorError(
        f"{file}: {', and '.join(parts)}{' besides' if unknown and not missing else ''}: not the weights of a "
        "GPT-NeoX transformer with layer norms and biases, or files of different models in one folder; only that "
        "kind can be read, so copy the whole checkpoint again if it is one"
    )


def hf_weights(
    checkpoint: Checkpoint, dtype: "torch.dtype", *, sum_row_biases: bool, tied_norms: bool
) -> dict[str, "Tensor"]:
    """``name -> tensor`` as GPTNeoXForCausalLM calls them, in memory of their own.

    Args:
        dtype: of the result; shards are summed in float32 or better.
        sum_row_biases: gpt-j-residual, see above.
        tied_norms: the MLP reads the attention's norm, so its own becomes a copy of that.

    Raises:
        CuratorError: shards differ where they must be copies of each other, or do not fit together.
    """
    merge = _Merge(checkpoint, dtype)
    weights = {name: merge.join(*place) for name, place in merge.cut().items()}
    for number, block in enumerate(checkpoint.blocks):
        prefix = f"gpt_neox.layers.{number}."
        for name in _BLOCK_SAME:
            source = name.replace("post_attention", "input") if tied_norms else name
            weights[prefix + name] = merge.same(block, source)
        for name in _BLOCK_ROW_BIAS:
            weights[prefix + name] = (merge.total if sum_row_biases else merge.same)(block, name)
    for name in _NORM:
        weights[f"gpt_neox.final_layer_{name}"] = merge.same(checkpoint.blocks[-1] + 2, name)
    return weights


def hf_matrices(checkpoint: Checkpoint, names: Collection[str]) -> "dict[str, Tensor]":
    """``name -> tensor`` of the matrices among ``names``, float32, for what is cut into shards as they are.

    Raises:
        CuratorError: shards do not fit together.
    """
    import torch

    merge = _Merge(checkpoint, torch.float32)
    return {name: merge.join(*place) for name, place in merge.cut().items() if name in names}


def _hf_name(name: str) -> str:
    """HEAD's linear1 and linear2 under their earlier names, which are Hugging Face's."""
    return name.replace("mlp.linear1.", "mlp.dense_h_to_4h.").replace("mlp.linear2.", "mlp.dense_4h_to_h.")


class _Merge:
    """Puts the shards of one weight together."""

    def __init__(self, checkpoint: Checkpoint, dtype: "torch.dtype"):
        self.checkpoint = checkpoint
        self.dtype = dtype
        first = checkpoint.modules[checkpoint.blocks[0]][0]
        self.own_names = {_hf_name(name): name for name in first}

    def cut(self) -> dict[str, tuple[int, str, int]]:
        """What is cut up, under Hugging Face's names: (module, name there, dimension along which it is)."""
        checkpoint = self.checkpoint
        places = {"gpt_neox.embed_in.weight": (EMBEDDING, WORD_EMBEDDINGS, 0)}
        for number, block in enumerate(checkpoint.blocks):
            for dimension, names in ((0, _BLOCK_COLUMN), (1, _BLOCK_ROW)):
                places |= {f"gpt_neox.layers.{number}.{name}": (block, name, dimension) for name in names}
        output = checkpoint.blocks[-1] + 3
        if output in checkpoint.modules:
            # v1.0 and 2.x cut it along its inputs by default (output-layer-parallelism: row)
            whole_rows = self.shards(output, _OUTPUT)[0].shape[-1] == checkpoint.embedding_shape[1]
            places["embed_out.weight"] = (output, _OUTPUT, 0 if whole_rows else 1)
        return places

    def shards(self, module: int, name: str) -> "list[Tensor]":
        own = self.own_names.get(name, name)
        return [shard[own] for shard in self.checkpoint.modules[module]]

    def join(self, module: int, name: str, dimension: int) -> "Tensor":
        """Shards cut along ``dimension``."""
        import torch

        shards = self.shards(module, name)
        if len({(*shard.shape[:dimension], *shard.shape[dimension + 1 :]) for shard in shards}) > 1:
            self._misfit(module, name, f"have shapes {', '.join(str(list(shard.shape)) for shard in shards)}")
        return torch.cat([shard.to(self.dtype) for shard in shards], dimension)

    def same(self, module: int, name: str) -> "Tensor":
        """Copies of one tensor: their mean, which is the tensor itself unless they drifted apart by rounding."""
        copies = self._stacked(module, name)
        gap, largest = float((copies - copies[0]).abs().max()), float(copies[0].abs().max())
        if not gap <= ROUNDING * largest:
            self._misfit(module, name, f"differ by {gap:.3g}, where the largest value is {largest:.3g}")
        return (copies.mean(0) if gap else copies[0]).to(self.dtype, copy=True)

    def total(self, module: int, name: str) -> "Tensor":
        """Parts that are added up."""
        return self._stacked(module, name).sum(0).to(self.dtype)

    def _stacked(self, module: int, name: str) -> "Tensor":
        import torch

        shards = self.shards(module, name)
        if any(shard.shape != shards[0].shape for shard in shards):
            self._misfit(module, name, f"have shapes {', '.join(str(list(shard.shape)) for shard in shards)}")
        return torch.stack(shards).to(torch.promote_types(self.dtype, torch.float32))

    def _misfit(self, module: int, name: str, how: str) -> NoReturn:
        first, last = (self.checkpoint.file(module, shard) for shard in (0, self.checkpoint.n_shards - 1))
        saved = self.checkpoint.saved_name(module, self.own_names.get(name, name))
        raise CuratorError(
            f"{first} to {last.name}: the shards of {saved} {how}: they are not of one checkpoint; copy all shards "
            "of one step there"
        )
