"""Which blocks a rank owns, and where their entries lie in its part of a layer.

Blocks are named as curator names them, by the Hugging Face module and entries of the whole model. GPT-NeoX keeps the
same order: rows of query_key_value are [heads, 3, d_head], columns of dense [heads, d_head]. A tensor-parallel rank
holds consecutive heads.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from torch import Tensor

from curator.errors import CuratorError
from curator.ranking.queries import Queries
from curator.units import parse_units
from curator.units.attention import head_blocks
from curator.units.base import Block, Indices
from curator.units.block_json import block_of
from neox_patches.clock import Layout

MODULE = re.compile(r"gpt_neox\.layers\.(?P<layer>\d+)\.attention\.(?P<map>query_key_value|dense)")

HEADLESS = ("gmlp", "amlp", "mamba", "rwkv")
"""Kinds of layer in ``attention-config`` that have no query_key_value of heads."""


@dataclass(frozen=True)
class NamedBlock:
    """A block of a unit: ``name`` is ``unit/block``; ``block`` counts entries over the whole model."""

    name: str
    block: Block

    @property
    def place(self) -> tuple[int, str]:
        """(layer, query_key_value or dense).

        Raises:
            CuratorError: the block lies in another module.
        """
        match = MODULE.fullmatch(self.block.module)
        if match is None:
            raise CuratorError(
                f"{self.name}: its block lies in {self.block.module}; the trainer emits attention heads alone "
                "(query_key_value and dense)"
            )
        return int(match["layer"]), match["map"]

    def on_rank(self, layout: Layout, d_model: int) -> Block | None:
        """The block with its entries counted within this tensor-parallel rank's part; None where another owns it.

        Raises:
            CuratorError: it lies on two ranks.
        """
        split_outputs = self.place[1] == "query_key_value"
        size = (3 if split_outputs else 1) * d_model // layout.mp_size
        entries = self.block.outputs if split_outputs else self.block.inputs
        owners = {entry // size for entry in entries}
        if len(owners) > 1:
            raise CuratorError(
                f"{self.name}: its entries lie on several tensor-parallel ranks ({sorted(owners)})"
            )
        if owners != {layout.mp_rank}:
            return None
        first = layout.mp_rank * size
        if isinstance(entries, range):
            here: Any = range(entries.start - first, entries.stop - first)
        else:
            here = tuple(entry - first for entry in entries)
        inputs, outputs = (self.block.inputs, here) if split_outputs else (here, self.block.outputs)
        return Block(self.block.name, self.block.module, inputs, outputs)


def blocks_of_units(units: Sequence[str], neox_args: Any) -> list[NamedBlock]:
    """The blocks of ``kind:layer.head`` units; none for none.

    Raises:
        UsageError: there is no such unit; says which layers and heads there are.
    """
    if not units:
        return []
    model: Any = _architecture(neox_args)
    return [
        NamedBlock(f"{unit.name}/{block.name}", block)
        for unit in parse_units(units, model)
        for block in unit.subspace(model)
    ]


def check_layers(named: Sequence[NamedBlock], neox_args: Any) -> None:
    """Refuse blocks that no attention layer of this model has; other kinds of layer may stand beside those asked for.

    Raises:
        CuratorError: names the blocks' layers and what they are.
    """
    kinds = list(getattr(neox_args, "attention_config", None) or [])  # one word per layer
    wanted = sorted({block.place[0] for block in named})
    wrong = {layer: kinds[layer] for layer in wanted if layer < len(kinds) and kinds[layer] in HEADLESS}
    if wrong:
        listed = ", ".join(f"layer {layer} ({kind})" for layer, kind in wrong.items())
        raise CuratorError(
            f"units lie in {listed}, where attention-config has no attention heads; the trainer emits heads alone: "
            "choose units of other layers"
        )


def _architecture(neox_args: Any) -> SimpleNamespace:
    """What units ask of a model to say where their blocks lie."""
    config = SimpleNamespace(
        hidden_size=neox_args.hidden_size,
        num_attention_heads=neox_args.num_attention_heads,
        num_hidden_layers=neox_args.num_layers,
    )
    return SimpleNamespace(config=config, base_model_prefix="gpt_neox")


@dataclass(frozen=True)
class Query:
    """P of one block, [inputs, outputs] float64, and where it came from."""

    named: NamedBlock
    matrix: Tensor
    made_for: str
    ranking: Path


def load_queries(rankings: Sequence[Path], neox_args: Any) -> list[Query]:
    """The queries of rankings; those of the same unit from several rankings are told apart by their number.

    Raises:
        CuratorError: no queries there, they are not those that were written, or of another architecture.
    """
    queries = []
    for number, ranking in enumerate(rankings):
        opened = Queries.open(ranking)
        suffix = f"@{number}" if len(rankings) > 1 else ""
        for entry in opened.entries:
            named = NamedBlock(f"{entry['unit']}{suffix}/{entry['name']}", block_of(entry))
            _check_fits(named, neox_args, ranking)
            queries.append(Query(named, opened.load(entry), opened.made_for, ranking))
    return queries


def _check_fits(named: NamedBlock, neox_args: Any, ranking: Path) -> None:
    """Refuse a query that is of no head of this model."""
    layer, _ = named.place
    heads, layers = int(neox_args.num_attention_heads), int(neox_args.num_layers)
    model: Any = _architecture(neox_args)
    found = [block for head in range(heads) for block in head_blocks(model, layer, head).values()]
    if layer >= layers or named.block.key not in [block.key for block in found]:
        raise CuratorError(
            f"{ranking}: {named.name} lies in layer {layer}, inputs {_span(named.block.inputs)}, outputs "
            f"{_span(named.block.outputs)}, which is no block of a head of this model (layers 0 to {layers - 1}, "
            f"{heads} heads, width {neox_args.hidden_size}): the ranking is of another model"
        )


def _span(indices: Indices) -> str:
    return f"{min(indices)} to {max(indices)}"
