"""Taps on the two linear maps of GPT-NeoX's attention: their inputs, and the gradients at their outputs.

Hooks only observe. With activation checkpointing the first forward pass runs without gradients and is not tapped; the
recomputation within backward is. Layout there is [seq, batch, ·]; what is handed on is a [batch, seq, ·] view.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Arrived = Callable[[str, int, Tensor, Tensor], None]
"""Called with (module, micro-batch, x [batch, seq, d_in], g [batch, seq, d_out])."""


def tap(linear: Any, module: str, micro: Callable[[], int | None], arrived: Arrived) -> None:
    """Hook one linear map for good.

    Args:
        micro: the micro-batch of the forward pass under way; None where nothing is wanted of it.
    """

    def forward(_: Any, inputs: tuple[Tensor, ...], output: Any) -> None:
        number = micro() if torch.is_grad_enabled() else None
        y = output[0] if isinstance(output, tuple) else output
        if number is None or not y.requires_grad:
            return
        x = inputs[0].detach().transpose(0, 1)

        def backward(gradient: Tensor) -> None:
            arrived(module, number, x, gradient.detach().transpose(0, 1))

        y.register_hook(backward)

    linear.register_forward_hook(forward)
