"""Taps on linear layers: their inputs x and output gradients g in one truncated backward pass.

No parameter needs a gradient. The output of the lowest tapped layer becomes a leaf that does, so autograd
records nothing below it, and the backward pass stops there. Taps only observe: no head that lies between a
block and the loss is frozen or detached, since that would change the gradient of every layer but the last
(DESIGN section 6).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from curator.errors import CuratorError
from curator.influence.cross_entropy import token_loss
from curator.influence.head_attention import gradients_of, lowest_heads
from curator.units.base import Block

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass
class Tapped:
    """What one batch left at the taps.

    Attributes:
        x: module name -> layer input [batch, seq, d_in].
        g: module name -> ∂(Σ_t loss_t)/∂(layer output) [batch, seq, d_out]; the loss is summed over tokens.
        loss: [batch] loss of each sample, summed over its tokens, in nats.
        labels: [batch, seq] the labels used (the data's, or those drawn).
    """

    x: dict[str, Tensor]
    g: dict[str, Tensor]
    loss: Tensor
    labels: Tensor


def linear_layer(model: nn.Module, name: str) -> nn.Linear:
    """The linear layer called ``name``.

    Raises:
        CuratorError: there is none; the message lists linear layers that exist.
    """
    try:
        module = model.get_submodule(name)
    except AttributeError:
        module = None
    if not isinstance(module, nn.Linear):
        known = [key for key, value in model.named_modules() if isinstance(value, nn.Linear)]
        raise CuratorError(
            f"the model has no linear layer '{name}'; it has, for example: {', '.join(known[:12])}"
        )
    return module


class Taps:
    """Taps on the linear layers called ``modules`` of a causal language model; all their entries are exact."""

    def __init__(self, model: "PreTrainedModel", modules: Sequence[str]):
        self.model = model
        self.modules = list(dict.fromkeys(modules))
        self.lowest: tuple[str, range] | None = None
        self.layers = {name: linear_layer(model, name) for name in self.modules}
        self.unembedding: Tensor = model.get_output_embeddings().weight

    @staticmethod
    def of_blocks(model: "PreTrainedModel", blocks: Sequence[Block]) -> "Taps":
        """Taps on the layers that ``blocks`` live in, exact at the entries of the blocks.

        Cheaper: in the lowest tapped layer, g stays zero at heads that no block belongs to (head_attention.py).
        """
        taps = Taps(model, [block.module for block in blocks])
        taps.lowest = lowest_heads(model, blocks)
        return taps

    @contextmanager
    def _hooked(self, x: dict[str, Tensor], y: dict[str, Tensor]) -> Iterator[None]:
        def tap(name: str):  # type: ignore[no-untyped-def]
            def hook(_: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
                if name in y:
                    raise CuratorError(
                        f"{name} is used twice in one forward pass; such layers cannot be tapped"
                    )
                x[name] = args[0].detach()
                y[name] = output if output.requires_grad else output.detach().requires_grad_()
                return y[name]

            return hook

        handles = [layer.register_forward_hook(tap(name)) for name, layer in self.layers.items()]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def run(self, rows: Tensor, labels: Tensor | None = None, uniforms: Tensor | None = None) -> Tapped:
        """Forward and truncated backward of one batch.

        Args:
            rows: [batch, seq + 1] token ids.
            labels: [batch, seq] other labels than the data's next tokens.
            uniforms: [batch, seq] in [0, 1): draw the labels from the model's predictions (true Fisher).
        """
        inputs = rows[:, :-1]
        batch, seq = inputs.shape
        if uniforms is None and labels is None:
            labels = rows[:, 1:]
        x: dict[str, Tensor] = {}
        y: dict[str, Tensor] = {}
        fewer_heads = gradients_of(self.model, *self.lowest) if self.lowest else nullcontext()
        with torch.enable_grad(), fewer_heads, self._hooked(x, y):
            hidden = self.model.base_model(input_ids=inputs, use_cache=False).last_hidden_state
            loss, used = token_loss(
                hidden.reshape(batch * seq, -1),
                self.unembedding,
                None if labels is None else labels.reshape(-1),
                None if uniforms is None else uniforms.reshape(-1),
            )
            missing = [name for name in self.modules if name not in y]
            if missing:
                raise CuratorError(f"the forward pass never used {', '.join(missing)}")
            gradients = torch.autograd.grad(loss.sum(), [y[name] for name in self.modules])
        return Tapped(
            x={name: x[name] for name in self.modules},
            g=dict(zip(self.modules, gradients, strict=True)),
            loss=loss.detach().view(batch, seq).sum(-1, dtype=_sum_dtype(loss)),
            labels=used.view(batch, seq),
        )


def _sum_dtype(tensor: Tensor) -> torch.dtype:
    return torch.float64 if tensor.dtype == torch.float64 else torch.float32
