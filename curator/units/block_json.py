"""Blocks as JSON and back: the index files of factors, queries and emissions name them so."""

from typing import Any

from curator.units.base import Block, Indices


def describe_block(block: Block) -> dict[str, Any]:
    """A block as JSON."""

    def indices(value: Indices) -> list[int] | dict[str, int]:
        if isinstance(value, range) and value.step == 1:
            return {"first": value.start, "last": value.stop}
        return list(value)

    return {
        "name": block.name,
        "module": block.module,
        "inputs": indices(block.inputs),
        "outputs": indices(block.outputs),
    }


def block_of(entry: dict[str, Any]) -> Block:
    """The block that `describe_block` wrote; further keys of the entry are left alone."""

    def indices(value: list[int] | dict[str, int]) -> Indices:
        return range(value["first"], value["last"]) if isinstance(value, dict) else tuple(value)

    return Block(entry["name"], entry["module"], indices(entry["inputs"]), indices(entry["outputs"]))
