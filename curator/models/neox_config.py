"""What a GPT-NeoX checkpoint computes, from its settings and shapes, as a Hugging Face configuration.

``bias-gelu-fusion: true`` makes all three generations compute the tanh approximation of GELU, so it becomes
``hidden_act: gelu_pytorch_tanh`` here. Pythia was trained that way, although its published Hugging Face configurations
say ``gelu``; the two differ by up to 5e-4 per activation.

Not carried over: v1.0 and 2.x in fp16 round the rotary frequencies to half precision (the ``inv_freq`` that they save)
and multiply them by the position in it. transformers computes them in float32, for published Pythia models as well.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from curator.errors import CuratorError
from curator.models.neox_files import FREQUENCIES, Checkpoint
from curator.models.neox_settings import ACTIVATIONS, Reader, Settings

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import GPTNeoXConfig


@dataclass(frozen=True)
class Architecture:
    """How the weights are used.

    Attributes:
        tied_norms: the MLP reads the attention's norm (gpt-j-tied); its own is there, but unused.
    """

    config: "GPTNeoXConfig"
    tied_norms: bool


def read_architecture(checkpoint: Checkpoint, settings: Settings) -> Architecture:
    """The architecture of ``checkpoint``.

    Raises:
        CuratorError: a setting is missing, wrong, contradicts the weights, or has no place in GPTNeoXForCausalLM.
    """
    from transformers import GPTNeoXConfig

    vocab_size, hidden_size = checkpoint.embedding_shape
    n_layers = len(checkpoint.blocks)
    reader = Reader(
        checkpoint,
        settings,
        {
            **checkpoint.args,
            "num_layers": n_layers,
            "hidden_size": hidden_size,
            "padded_vocab_size": vocab_size,
        },
    )
    reader.check_same_model()
    reader.check_present()
    n_heads = reader.get("num_attention_heads", int)
    if n_heads < 1 or hidden_size % n_heads:
        raise CuratorError(f"{reader.place}: hidden-size {hidden_size} is no multiple of {n_heads} heads")
    activation = reader.get("activation", str)
    fused = activation == "gelu" and reader.get("bias_gelu_fusion", bool)
    parallel_residual = reader.get("gpt_j_residual", bool)
    rotary_pct, rotary_base = reader.get("rotary_pct", float), reader.get("rotary_emb_base", float)
    if not 0 < rotary_pct <= 1:
        raise CuratorError(f"{reader.place}: rotary-pct is {rotary_pct}, expected more than 0 and at most 1")
    _check_frequencies(reader, int(hidden_size // n_heads * rotary_pct), rotary_base)
    config = GPTNeoXConfig(
        vocab_size=vocab_size,
        hidden_size=hidden_size,
        num_hidden_layers=n_layers,
        num_attention_heads=n_heads,
        intermediate_size=checkpoint.mlp_size,
        hidden_act="gelu_pytorch_tanh" if fused else ACTIVATIONS[activation],
        max_position_embeddings=reader.get("max_position_embeddings", int),
        layer_norm_eps=reader.get("layernorm_epsilon", float),
        use_parallel_residual=parallel_residual,
        tie_word_embeddings=_is_tied(reader),
        rope_parameters={
            "rope_type": "default",
            "rope_theta": rotary_base,
            "partial_rotary_factor": rotary_pct,
        },
        bos_token_id=None,  # a tokenizer knows; see export
        eos_token_id=None,
    )
    return Architecture(config, parallel_residual and reader.get("gpt_j_tied", bool, False))


def _is_tied(reader: Reader) -> bool:
    """Whether the output shares the embedding's weights: then none are saved for it."""
    checkpoint = reader.checkpoint
    output = checkpoint.blocks[-1] + 3
    tied = output not in checkpoint.modules
    default = False if reader.settings.complete else not tied
    untied = reader.get("no_weight_tying", bool, default)
    if untied is not tied:
        return tied
    file = checkpoint.file(output)
    raise CuratorError(
        f"{reader.place}: no-weight-tying is {str(untied).lower()}, but "
        + (
            f"the output's weights are missing in {file}; copy them there"
            if tied
            else f"{file} holds weights of its own for the output; these are the settings of another model"
        )
    )


def _check_frequencies(reader: Reader, rotary_dim: int, base: float) -> None:
    """v1.0 and 2.x save the rotary frequencies, rounded to half in fp16: they must be those of the settings."""
    import torch

    expected = base ** -(torch.arange(0, rotary_dim, 2).float() / rotary_dim)
    for block in reader.checkpoint.blocks:
        saved = reader.checkpoint.modules[block][0].get(FREQUENCIES)
        if saved is None:
            continue
        if saved.shape != expected.shape or not torch.allclose(saved.float(), expected, 0.01, 1e-6):
            raise CuratorError(
                f"{reader.place}: rotary-pct and rotary-emb-base {base:g} mean {len(expected)} frequencies "
                f"{_few(expected)}, but {reader.checkpoint.file(block)} has {len(saved)}, {_few(saved)}: these are "
                "the settings of another model"
            )


def _few(values: "Tensor") -> str:
    return f"[{', '.join(f'{value:.4g}' for value in values[:4].tolist())}{', ...' * (len(values) > 4)}]"
