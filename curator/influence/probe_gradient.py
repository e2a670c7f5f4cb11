"""The probe's gradient in a unit's own blocks: ∇f, [inputs, outputs] per block.

Autograd runs over the whole unpatched model, with gradients asked for only at the weights the blocks live in.
bfloat16 models are probed in float32.
"""

import copy

import torch
from torch import Tensor
from transformers import PreTrainedModel

from curator.errors import CuratorError
from curator.influence.taps import linear_layer
from curator.units.base import Unit, take
from curator.units.sequences import Sequences


def probe_model(model: PreTrainedModel) -> PreTrainedModel:
    """The model itself, or a float32 copy of a half-precision one."""
    if model.dtype in (torch.float32, torch.float64):
        return model
    return copy.deepcopy(model).float()


def probe_gradient(
    model: PreTrainedModel, unit: Unit, sequences: Sequences
) -> tuple[float, dict[str, Tensor]]:
    """(f, block name -> ∇f [inputs, outputs]); gradients float64 on the CPU.

    Raises:
        CuratorError: the probe does not depend on one of the unit's blocks, or is not finite.
    """
    blocks = unit.subspace(model)
    weights = {block.module: linear_layer(model, block.module).weight for block in blocks}
    required = {name: weight.requires_grad for name, weight in weights.items()}
    try:
        for weight in weights.values():
            weight.requires_grad_(True)
        with torch.enable_grad():
            value = unit.probe(model, sequences.to(model.device))
            if not value.requires_grad:
                raise CuratorError(f"the probe of {unit.name} does not depend on the model's weights")
            gradients = dict(
                zip(
                    weights,
                    torch.autograd.grad(value, list(weights.values()), allow_unused=True),
                    strict=True,
                )
            )
    finally:
        for name, weight in weights.items():
            weight.requires_grad_(required[name])
    result = {}
    for block in blocks:
        whole = gradients[block.module]  # [d_out, d_in]
        gradient = None if whole is None else take(take(whole, block.inputs).mT, block.outputs).double().cpu()
        if gradient is None or not gradient.any():
            raise CuratorError(
                f"the probe of {unit.name} has a zero gradient in its block '{block.name}' ({block.module}): "
                "every score would be zero; check the probe and its sequences"
            )
        if not torch.isfinite(gradient).all():
            raise CuratorError(f"the probe gradient of {unit.name} is not finite in block '{block.name}'")
        result[block.name] = gradient
    return float(value.detach()), result
