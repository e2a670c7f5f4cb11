"""The linear maps of a transformer layer, as a trainer has them: where each lies, how large it is, and how it is split.

Every map has the name that curator and Hugging Face know it by. A column-parallel map is split by its outputs, a
row-parallel one by its inputs: tensor-parallel rank r of n holds the r-th n-th of that side, in the order of the whole.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

GATED = ("geglu", "reglu", "bilinear", "swiglu", "glu")
"""Activations of an MLP whose first map gives two halves that are multiplied: no such map is known to curator."""


@dataclass(frozen=True)
class LinearMap:
    """One map ``y = W x`` of every transformer layer.

    Attributes:
        path: where it lies in the layer.
        inputs, outputs: entries of x and y over the whole model.
        split: the side that tensor parallelism splits: ``outputs`` of a column-parallel map, ``inputs`` of a
            row-parallel one.
    """

    path: str
    inputs: int
    outputs: int
    split: Literal["inputs", "outputs"]


def linear_maps(d_model: int, d_mlp: int | None, mlp: tuple[str, str]) -> Mapping[str, LinearMap]:
    """Curator's name of each map within a layer -> the map; ``mlp``: what the trainer calls the MLP's two.

    Without ``d_mlp`` the MLP is of another kind, and has none of them.
    """
    maps = {
        "attention.query_key_value": LinearMap("attention.query_key_value", d_model, 3 * d_model, "outputs"),
        "attention.dense": LinearMap("attention.dense", d_model, d_model, "inputs"),
    }
    if d_mlp is not None:
        maps["mlp.dense_h_to_4h"] = LinearMap(f"mlp.{mlp[0]}", d_model, d_mlp, "outputs")
        maps["mlp.dense_4h_to_h"] = LinearMap(f"mlp.{mlp[1]}", d_mlp, d_model, "inputs")
    return maps
