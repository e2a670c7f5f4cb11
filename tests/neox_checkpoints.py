"""Checkpoints as GPT-NeoX writes them, made by hand from a model whose every weight is known."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

VOCAB, WIDTH, HEADS, LAYERS, POSITIONS = 24, 16, 4, 3, 8
SETTINGS: dict[str, Any] = {
    "num-layers": LAYERS,
    "hidden-size": WIDTH,
    "num-attention-heads": HEADS,
    "max_position_embeddings": POSITIONS,
    "pos-emb": "rotary",
    "rotary-pct": 0.5,
    "no-weight-tying": True,
    "gpt-j-residual": True,
    "layernorm-epsilon": "1e-6",
    "attention-config": [[["flash"], LAYERS]],
    "fp16": {"enabled": True},
}


COLUMN = ("query_key_value.weight", "query_key_value.bias", "dense_h_to_4h.weight", "dense_h_to_4h.bias")


ROW = ("attention.dense.weight", "dense_4h_to_h.weight")


ROW_BIAS = ("attention.dense.bias", "dense_4h_to_h.bias")


def original(**changes: Any) -> GPTNeoXForCausalLM:
    """A model with every weight, bias and norm away from its initial value."""
    torch.manual_seed(0)
    given = {
        "vocab_size": VOCAB,
        "hidden_size": WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "intermediate_size": 40,
        "max_position_embeddings": POSITIONS,
        "layer_norm_eps": 1e-6,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5},
    }
    model = GPTNeoXForCausalLM(GPTNeoXConfig(**{**given, **changes})).eval().requires_grad_(False)
    for weight in model.parameters():
        weight.copy_(torch.randn(weight.shape) * 0.3)
    return model


def modules_of(model: GPTNeoXForCausalLM, head: bool, frequencies: bool) -> dict[int, dict[str, Tensor]]:
    """Module number -> GPT-NeoX's name -> weight."""
    modules: dict[int, dict[str, Tensor]] = {
        0: {"word_embeddings.weight": model.get_input_embeddings().weight}
    }
    for number, layer in enumerate(model.gpt_neox.layers):
        state = {name: weight for name, weight in layer.state_dict().items() if "rotary" not in name}
        if head:
            short = {"dense_h_to_4h": "linear1", "dense_4h_to_h": "linear2"}
            state = {
                name.replace(old, new) if old in name else name: weight
                for name, weight in state.items()
                for old, new in [next(((o, n) for o, n in short.items() if o in name), ("-", "-"))]
            }
        if frequencies:
            state["attention.rotary_emb.inv_freq"] = torch.tensor([1.0])
        modules[number + 2] = state
    modules[LAYERS + 3] = {
        f"norm.{key}": w for key, w in model.gpt_neox.final_layer_norm.state_dict().items()
    }
    if not model.config.tie_word_embeddings:
        modules[LAYERS + 4] = {"final_linear.weight": model.get_output_embeddings().weight}
    return modules


def shard(name: str, weight: Tensor, number: int, count: int, sequential: bool, row_output: bool) -> Tensor:
    """Tensor-parallel shard ``number`` of ``count``."""
    name = name.replace("linear1", "dense_h_to_4h").replace("linear2", "dense_4h_to_h")
    if name.endswith(ROW) or (row_output and name == "final_linear.weight"):
        return weight.chunk(count, 1)[number].clone()
    if name.endswith(COLUMN) or name in ("word_embeddings.weight", "final_linear.weight"):
        return weight.chunk(count, 0)[number].clone()
    if name.endswith(ROW_BIAS) and not sequential:  # added up over the ranks
        part = torch.full_like(weight, 0.25)
        return weight - part * (count - 1) if number == 0 else part
    return weight.clone()


def write(
    folder: Path,
    model: GPTNeoXForCausalLM,
    *,
    pipeline: bool = False,
    shards: int = 1,
    head: bool = True,
    frequencies: bool = False,
    row_output: bool = False,
    settings: Mapping[str, Any] | None = None,
    args: Mapping[str, Any] | None = None,
    half: bool = False,
    step: int = 5,
) -> Path:
    """A checkpoint as GPT-NeoX leaves it in ``folder``, and its configs."""
    folder.mkdir(parents=True)
    modules = modules_of(model, head, frequencies)
    sequential = not model.config.use_parallel_residual
    saved = {
        "num_layers": LAYERS,
        "hidden_size": WIDTH,
        "num_attention_heads": HEADS,
        "max_position_embeddings": POSITIONS,
        "padded_vocab_size": VOCAB,
        "model_parallel_size": shards,
    }
    for number in range(shards):
        parts = {
            module: {
                name: shard(name, w, number, shards, sequential, row_output).to(
                    torch.half if half else w.dtype
                )
                for name, w in state.items()
            }
            for module, state in modules.items()
        }
        if pipeline:
            for module, state in parts.items():
                torch.save(state, folder / f"layer_{module:02}-model_{number:02}-model_states.pt")
        flat = {f"sequential.{m}.{name}": w for m, state in parts.items() for name, w in state.items()}
        content = {
            "module": None if pipeline else flat,
            "iteration": step,
            "args": {**saved, **(args or {})},
            "random_rng_state": (3, tuple(range(5)), None),
            "np_rng_state": np.random.get_state(),
            "optimizer": {"cur_scale": 1.0},
        }
        torch.save(content, folder / f"mp_rank_{number:02}_model_states.pt")
    if settings is not None:
        (folder / "configs").mkdir()
        (folder / "configs" / "model.yml").write_text(yaml.safe_dump(dict(settings)))
    return folder


def assert_equal_models(ours: GPTNeoXForCausalLM, theirs: GPTNeoXForCausalLM, tolerance: float = 0.0) -> None:
    for (name, a), (_, b) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=tolerance, msg=name)
    tokens = torch.arange(2 * POSITIONS).view(2, POSITIONS)
    torch.testing.assert_close(ours(tokens).logits, theirs(tokens).logits, rtol=0, atol=1e-5)


def change(path: Path, edit: Callable[[Any], object]) -> None:
    content = torch.load(path, weights_only=False)
    edit(content)
    torch.save(content, path)


LAYER = "layer_03-model_00-model_states.pt"


RANK = "mp_rank_00_model_states.pt"
