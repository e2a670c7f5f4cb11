"""Taps on the linear maps of GPT-NeoX's layers: their inputs, and the gradients at their outputs.

Hooks only observe. With activation checkpointing the first forward pass runs without gradients and is not tapped; the
recomputation within backward is. Layout there is [seq, batch, ·]; what is handed on is a [batch, seq, ·] view.
Under sequence parallelism a map is given, or gives back, a part of the sequence alone, and gathers or scatters it
within its own forward pass: `WholeSequence` takes the whole one from there. Refused: gathering it once more.
"""

import sys
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
    whole = WholeSequence.of(linear) if getattr(linear, "sequence_parallel", False) else None

    def before(_: Any, inputs: tuple[Tensor, ...]) -> None:
        if whole is not None and torch.is_grad_enabled() and micro() is not None:
            whole.begin()

    def forward(_: Any, inputs: tuple[Tensor, ...], output: Any) -> None:
        y = output[0] if isinstance(output, tuple) else output
        x, y = (inputs[0], y) if whole is None else whole.end(inputs[0], y)
        number = micro() if torch.is_grad_enabled() else None
        if number is None or not y.requires_grad:
            return
        x = x.detach().transpose(0, 1)

        def backward(gradient: Tensor) -> None:
            arrived(module, number, x, gradient.detach().transpose(0, 1))

        y.register_hook(backward)

    linear.register_forward_pre_hook(before)
    linear.register_forward_hook(forward)


class WholeSequence:
    """Notes what a sequence-parallel map gathers and scatters in its forward pass, [seq, batch, ·] whole.

    The two functions are wrapped once, in the module that defines the map's class; they pass everything through.
    """

    GATHER, SCATTER = "gather_from_sequence_parallel_region", "reduce_scatter_to_sequence_parallel_region"

    def __init__(self) -> None:
        self.noting = False
        self.gathered: Tensor | None = None
        self.scattered: Tensor | None = None

    @staticmethod
    def of(linear: Any) -> "WholeSequence":
        """The one of the module that defines the class of ``linear``."""
        layers: Any = sys.modules[type(linear).__module__]
        known: WholeSequence | None = getattr(layers, "_whole_sequence", None)
        if known is not None:
            return known
        whole = WholeSequence()
        gather, scatter = getattr(layers, WholeSequence.GATHER), getattr(layers, WholeSequence.SCATTER)

        def gather_noting(part: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            result: Tensor = gather(part, *args, **kwargs)
            if whole.noting:
                whole.gathered = result
            return result

        def scatter_noting(complete: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            if whole.noting:
                whole.scattered = complete
            result: Tensor = scatter(complete, *args, **kwargs)
            return result

        setattr(layers, WholeSequence.GATHER, gather_noting)
        setattr(layers, WholeSequence.SCATTER, scatter_noting)
        layers._whole_sequence = whole
        return whole

    def begin(self) -> None:
        """The map's forward pass begins."""
        self.noting = True

    def end(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """It is over: its input and output, whole."""
        found = (
            x if self.gathered is None else self.gathered,
            y if self.scattered is None else self.scattered,
        )
        self.noting, self.gathered, self.scattered = False, None, None
        return found
