"""Which blocks a rank owns, and where their entries lie in its part of a layer.

Blocks are named as curator names them, by the Hugging Face module and entries of the whole model. GPT-NeoX keeps their
entries in the same order; `neox_patches.adapters` says for each generation where a map lies and how it is split.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from torch import Tensor

from curator.artifacts.block_key import BlockKey
from curator.artifacts.fields import PAPER
from curator.errors import CuratorError, UsageError
from curator.ranking.queries import Queries
from curator.units import Architecture, kinds, parse_units
from curator.units.base import Block, Indices
from curator.units.block_json import block_of
from neox_patches.adapters.base import Adapter
from neox_patches.adapters.maps import LinearMap
from neox_patches.clock import Layout

MODULE = re.compile(r"gpt_neox\.layers\.(?P<layer>\d+)\.(?P<map>.+)")

OTHER_LAYERS = ("gmlp", "amlp", "mamba", "rwkv")
"""Kinds of layer in ``attention-config`` that are no transformer layers, and have none of their maps."""


@dataclass(frozen=True)
class PlacedBlock:
    """A block of a unit in the trainer's model.

    Attributes:
        key: which; ``block`` counts entries over the whole model; ``layer`` and ``map`` say where it lies.
    """

    key: BlockKey
    block: Block
    layer: int
    map: LinearMap

    def on_rank(self, layout: Layout) -> Block | None:
        """The block with its entries counted within this tensor-parallel rank's part; None where another owns it.

        Raises:
            CuratorError: it lies on two ranks.
        """
        by_output = self.map.split == "outputs"
        size = (self.map.outputs if by_output else self.map.inputs) // layout.mp_size
        entries = self.block.outputs if by_output else self.block.inputs
        owners = {entry // size for entry in entries}
        if len(owners) > 1:
            raise CuratorError(
                f"{self.key}: its entries lie on several tensor-parallel ranks ({sorted(owners)})"
            )
        if owners != {layout.mp_rank}:
            return None
        first = layout.mp_rank * size
        if isinstance(entries, range):
            here: Any = range(entries.start - first, entries.stop - first)
        else:
            here = tuple(entry - first for entry in entries)
        inputs, outputs = (self.block.inputs, here) if by_output else (here, self.block.outputs)
        return Block(self.block.name, self.block.module, inputs, outputs)


@dataclass(frozen=True)
class TrainedModel:
    """What blocks are looked for in: the trainer's model, as its settings have it.

    Attributes:
        architecture: for the units; ``maps``: of every transformer layer; ``other``: layer -> what it is instead.
    """

    architecture: Architecture
    maps: Mapping[str, LinearMap]
    other: Mapping[int, str]

    @staticmethod
    def of(adapter: Adapter, neox_args: Any) -> "TrainedModel":
        """As ``neox_args`` say."""
        config = SimpleNamespace(
            hidden_size=int(neox_args.hidden_size),
            intermediate_size=adapter.mlp_size(neox_args),
            num_attention_heads=int(neox_args.num_attention_heads),
            num_hidden_layers=int(neox_args.num_layers),
        )
        layers = list(getattr(neox_args, "attention_config", None) or [])  # one word per layer
        other = {layer: kind for layer, kind in enumerate(layers) if kind in OTHER_LAYERS}
        return TrainedModel(Architecture(config), adapter.linear_maps(neox_args), other)

    def place(self, key: BlockKey, block: Block) -> PlacedBlock:
        """Where ``block`` lies.

        Raises:
            CuratorError: in a module that cannot be tapped, in a layer of another kind, or beyond the map's entries.
        """
        match = MODULE.fullmatch(block.module)
        found = None if match is None else self.maps.get(match["map"])
        if match is None or found is None:
            raise CuratorError(
                f"{key}: its block lies in {block.module}; the trainer emits of a layer's linear maps "
                f"{', '.join(self.maps)}"
            )
        layer = int(match["layer"])
        if layer in self.other:
            raise CuratorError(
                f"{key}: its block lies in layer {layer} ({self.other[layer]}), which by attention-config has none of "
                f"{', '.join(self.maps)}: choose units of other layers"
            )
        if (
            layer >= self.architecture.config.num_hidden_layers
            or max(block.inputs) >= found.inputs
            or max(block.outputs) >= found.outputs
        ):
            raise CuratorError(f"{key} {self._lies(layer, block)}, which is beyond this model ({self})")
        return PlacedBlock(key, block, layer, found)

    def blocks_of(self, units: Sequence[str]) -> list[PlacedBlock]:
        """The blocks of units such as ``kind:layer.head``; none for none. Names mean what those of rankings mean.

        Raises:
            UsageError: there is no such unit; says what there is.
            CuratorError: see `place`.
        """
        model: Any = self.architecture
        return [
            self.place(BlockKey(unit.name, block.name), block)
            for unit in (parse_units(units, model, PAPER) if units else [])
            for block in unit.subspace(model)
        ]

    def check_query(self, placed: PlacedBlock, unit: str) -> None:
        """Refuse a block that ``unit`` does not have in this model; a kind that is not known here is not asked.

        Raises:
            CuratorError: names both sides.
        """
        if unit.partition(":")[0] not in kinds():
            return
        try:
            known = [own.block.key for own in self.blocks_of([unit])]
        except UsageError:
            known = []
        if placed.block.key not in known:
            raise CuratorError(
                f"{placed.key} {self._lies(placed.layer, placed.block)}, which is no block of {unit} in this model "
                f"({self})"
            )

    def _lies(self, layer: int, block: Block) -> str:
        return f"lies in layer {layer}, inputs {_span(block.inputs)}, outputs {_span(block.outputs)}"

    def __str__(self) -> str:
        config = self.architecture.config
        return (
            f"layers 0 to {config.num_hidden_layers - 1}, {config.num_attention_heads} heads, width "
            f"{config.hidden_size}"
        )


@dataclass(frozen=True)
class Query:
    """P of one block, [inputs, outputs] float64, and where it came from."""

    placed: PlacedBlock
    matrix: Tensor
    made_for: str
    ranking: Path


def load_queries(rankings: Sequence[Path], model: TrainedModel) -> list[Query]:
    """The queries of rankings; those of the same unit from several rankings are told apart by their number.

    Raises:
        CuratorError: no queries there, they are not those that were written, or of another architecture.
    """
    queries = []
    for number, ranking in enumerate(rankings):
        opened = Queries.open(ranking)
        suffix = f"@{number}" if len(rankings) > 1 else ""
        for entry in opened.entries:
            try:
                placed = model.place(BlockKey(f"{entry['unit']}{suffix}", entry["name"]), block_of(entry))
                model.check_query(placed, entry["unit"])
            except CuratorError as error:
                raise CuratorError(f"{ranking}: {error}: is the ranking of another model?") from error
            queries.append(Query(placed, opened.load(entry), opened.made_for, ranking))
    return queries


def _span(indices: Indices) -> str:
    return f"{min(indices)} to {max(indices)}"
