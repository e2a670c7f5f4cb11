"""SDPA whose backward pass skips the heads that nobody asked about, in the lowest tapped layer.

There, gradients end at the tapped rows of ``query_key_value``. Heads do not mix inside attention, so the backward
pass of the other heads would be computed and thrown away (6 % of the time of scoring one middle head on the
Pythia-14M shape, 10 % on a small one). In every layer above, all heads lie on the way down and nothing is
skipped: detaching heads there would change the result (DESIGN section 6). Transformers' own extension point is
used; nothing is patched.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from curator.units.base import Block

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_NAME = "curator_sdpa_of_some_heads"
_heads: dict[nn.Module, range] = {}


def lowest_heads(model: "PreTrainedModel", blocks: Sequence[Block]) -> tuple[str, range] | None:
    """(attention module, the heads whose gradients are wanted) of the lowest tapped layer.

    None where every head is wanted, or where something else than attention and MLP layers is tapped, so that
    gradients might have to pass through this attention.
    """
    if getattr(model.config, "model_type", None) != "gpt_neox":
        return None
    pattern = re.compile(rf"({model.base_model_prefix}\.layers\.(\d+))\.(attention\.|mlp\.)")
    matches = [pattern.match(block.module) for block in blocks]
    if not all(matches):
        return None
    lowest = min(int(match[2]) for match in matches if match)
    name = f"{model.base_model_prefix}.layers.{lowest}.attention"
    rows = [row for block in blocks if block.module == f"{name}.query_key_value" for row in block.outputs]
    if not rows:
        return None
    n_heads = model.config.num_attention_heads
    rows_per_head = 3 * model.config.hidden_size // n_heads
    heads = range(min(rows) // rows_per_head, max(rows) // rows_per_head + 1)
    return None if len(heads) == n_heads else (name, heads)


@contextmanager
def gradients_of(model: "PreTrainedModel", attention: str, heads: range) -> Iterator[None]:
    """Within the block, the attention called ``attention`` passes gradients to ``heads`` alone."""
    before = model.config._attn_implementation
    if before != "sdpa":  # eager attention is the reference: left as it is
        yield
        return
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(_NAME, _attention)
    AttentionMaskInterface.register(_NAME, sdpa_mask)
    module = model.get_submodule(attention)
    _heads[module] = heads
    model.set_attn_implementation(_NAME)
    try:
        yield
    finally:
        model.set_attn_implementation(before)
        del _heads[module]


def _attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, None]:
    """[batch, n_heads, seq, d_head] each -> [batch, seq, n_heads, d_head]."""
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    heads = _heads.get(module)
    if heads is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    outputs = []
    for start, stop in ((0, heads.start), (heads.start, heads.stop), (heads.stop, query.shape[1])):
        if start < stop:
            q, k, v = (tensor[:, start:stop] for tensor in (query, key, value))
            if start != heads.start:
                q, k, v = q.detach(), k.detach(), v.detach()
            outputs.append(sdpa_attention_forward(module, q, k, v, attention_mask, **kwargs)[0])
    return torch.cat(outputs, 2), None
