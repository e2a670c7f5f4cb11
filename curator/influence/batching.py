"""How many samples go through the model at once: enough to fill the cores, within the free memory."""

import psutil
import torch
from transformers import PreTrainedModel

from curator.influence.cross_entropy import Tile

_CPU_TOKENS = 4096
_GPU_TOKENS = 65536


def bytes_per_token(model: PreTrainedModel, seq: int) -> float:
    """A generous estimate of what one token keeps alive during `Taps.run` over all layers."""
    config = model.config
    size = torch.finfo(model.dtype).bits // 8
    mlp = getattr(config, "intermediate_size", 4 * config.hidden_size)
    per_layer = 24 * config.hidden_size + 3 * mlp
    if config._attn_implementation == "eager":
        per_layer += 4 * config.num_attention_heads * seq
    return size * (per_layer * config.num_hidden_layers + 8 * config.hidden_size)


def free_bytes(device: torch.device) -> int:
    """Memory that can still be taken on ``device``."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return psutil.virtual_memory().available


def choose_batch(model: PreTrainedModel, seq: int) -> int:
    """Samples per batch: at most half of the free memory, and no more than the device can use."""
    device = model.device
    tile = Tile.for_device(device)
    budget = free_bytes(device) / 2 - 4 * tile.tokens * tile.vocabulary * 4
    fits = int(budget / (bytes_per_token(model, seq) * seq))
    wanted = (_GPU_TOKENS if device.type == "cuda" else _CPU_TOKENS) // seq
    return max(1, min(fits, wanted))
