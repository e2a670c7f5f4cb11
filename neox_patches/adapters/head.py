"""The maintained main branch."""

from collections.abc import Iterator
from typing import Any, ClassVar

from neox_patches.adapters.base import Adapter


class HeadAdapter(Adapter):
    """GPT-NeoX HEAD: more ways to train than next-token prediction, and grouped-query attention."""

    def refusals(self, neox_args: Any) -> Iterator[str]:
        yield from super().refusals(neox_args)
        if neox_args.train_impl != "normal":
            yield f"train_impl is {neox_args.train_impl}: only 'normal' trains on rows of tokens"
        if neox_args.dataset_impl != "gpt2":
            yield f"dataset_impl is {neox_args.dataset_impl}: only 'gpt2' has rows in a fixed order"
        if neox_args.train_label_data_paths:
            yield "train_label_data_paths is set: rows of a plan have no labels of their own"

    def emission_refusals(self, neox_args: Any) -> Iterator[str]:
        yield from super().emission_refusals(neox_args)
        if neox_args.num_kv_heads and neox_args.num_kv_heads != neox_args.num_attention_heads:
            yield f"num_kv_heads is {neox_args.num_kv_heads}: heads share their keys and values, and have no subspace"
        if neox_args.te_mha or getattr(neox_args, "te_fp8_mha", False):
            yield "te_mha: Transformer Engine's attention cannot be tapped; leave it out"
        if neox_args.sequence_parallel and (neox_args.te_columnparallel or neox_args.te_rowparallel):
            yield "sequence_parallel with Transformer Engine's linear layers: they gather where no tap can see"

    mlp_maps: ClassVar[tuple[str, str]] = ("linear1", "linear2")

    def mlp_size(self, neox_args: Any) -> int:
        factor = neox_args.expansion_factor or 4
        size = int(neox_args.intermediate_size or factor * neox_args.hidden_size)
        multiple = 2 * int(neox_args.mlp_multiple_of)
        return -(-size // multiple) * multiple
