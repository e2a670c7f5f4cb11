"""A new GPT-NeoX model with GPT-NeoX's own initial weights, and the optimizer of Pythia's recipe.

* parallel residual, rotary positions on a share of each head, untied unembedding, no dropout;
* small_init, std = sqrt(2 / (5 d_model)): embedding, QKV, MLP in, unembedding;
* wang_init, std = 2 / (n_layers sqrt(d_model)), for what writes to the residual: attention and MLP out;
* biases 0, layer norms 1 and 0;
* or one deviation for all matrices, where the config gives it.
Drawn from a generator of its own, so that building a model disturbs no other random numbers.
"""

import math

import torch
from torch import nn
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

from curator.training.config import TrainingConfig


def architecture_of(config: TrainingConfig) -> GPTNeoXConfig:
    """What Hugging Face calls the model's shape."""
    return GPTNeoXConfig(
        vocab_size=config.vocab_size,
        hidden_size=config.d_model,
        num_hidden_layers=config.n_layers,
        num_attention_heads=config.n_heads,
        intermediate_size=config.d_mlp,
        max_position_embeddings=config.seq_length,
        rope_parameters={
            "rope_type": "default",
            "rope_theta": config.rotary_base,
            "partial_rotary_factor": config.rotary_pct,
        },
        use_parallel_residual=True,
        tie_word_embeddings=False,
        use_cache=False,
        bos_token_id=0,
        eos_token_id=0,
    )


def build_model(config: TrainingConfig) -> GPTNeoXForCausalLM:
    """The model at step 0 in float32 on the CPU; equal configs give bit-identical weights."""
    with torch.random.fork_rng(devices=[]):  # transformers draws weights too, which are overwritten below
        model = GPTNeoXForCausalLM(architecture_of(config)).float()
    generator = torch.Generator().manual_seed(config.seed)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.LayerNorm):
                nn.init.ones_(module.weight)
                nn.init.zeros_(module.bias)
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            elif parameter.ndim == 2:
                nn.init.normal_(parameter, std=initial_std(name, config), generator=generator)
    return model


def initial_std(name: str, config: TrainingConfig) -> float:
    """Standard deviation with which the matrix ``name`` is drawn."""
    if config.initial_std is not None:
        return config.initial_std
    if name.endswith(("attention.dense.weight", "mlp.dense_4h_to_h.weight")):
        return 2 / (config.n_layers * math.sqrt(config.d_model))
    return math.sqrt(2 / (5 * config.d_model))


def build_optimizer(model: GPTNeoXForCausalLM, config: TrainingConfig) -> torch.optim.AdamW:
    """AdamW; biases and layer norms are not decayed, as in GPT-NeoX. The fused kernel is the fastest here."""
    decayed = [parameter for parameter in model.parameters() if parameter.ndim == 2]
    plain = [parameter for parameter in model.parameters() if parameter.ndim != 2]
    return torch.optim.AdamW(
        [{"params": decayed, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}],
        lr=config.learning_rate,
        betas=config.adam_betas,
        eps=config.adam_eps,
        fused=True,
    )
