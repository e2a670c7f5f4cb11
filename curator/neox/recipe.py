"""The embedded trainer's settings as a config file of GPT-NeoX: the same architecture, recipe and rows.

What differs is GPT-NeoX's own (docs/neox.md): its generator draws the initial weights, of the same deviations; v1.0 and
2.x spend the first step on a learning rate of 0, and cut their cosine off at the minimum. Refused: a config file of the
user's own beside the study, which would be a second place for the same numbers.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from curator.artifacts.fields import Count
from curator.artifacts.schema import Settings
from curator.training.config import TrainingConfig

SPLITS = ("train", "valid", "test")
SAVED = (
    *("save", "load", "checkpoint_factor", "extra_save_iters", "keep_last_n_checkpoints"),
    *("exit_interval", "master_port"),
)
"""What is said of each run, or each start."""


class NeoxTrainer(Settings):
    """The section ``neox`` of a study."""

    home: str | None = None
    """The checkout: a folder, or HEAD, v1.0; else $NEOX_HOME, or the only one found."""
    set: dict[str, Any] = Field(default_factory=dict)
    """Other settings of GPT-NeoX, such as ``precision: fp16``; not those that the study decides."""
    at_once: Count | None = None
    """Runs side by side, each with a launcher of its own; else one on a GPU, one a core without."""

    def check(self) -> None:
        """Underscores, as everywhere here, and nothing twice."""
        for key in self.set:
            if "-" in key:
                raise ValueError(f"set.{key}: write {key.replace('-', '_')}")
            if key in DECIDED:
                raise ValueError(f"set.{key}: that is for the study to say; leave it out")


def decided(config: TrainingConfig, data: Path, tokenizer: Path) -> dict[str, Any]:
    """What a study's ``train`` and corpus say, in GPT-NeoX's words.

    Args:
        data: prefix of a data set that GPT-NeoX opens and evaluates on; its training rows come from the patches.
    """
    micro = config.micro_batch_size or config.batch_size
    steps = config.decay_steps or config.steps
    ratio = config.min_learning_rate_ratio
    normal = config.initial_std is not None
    return {
        "num_layers": config.n_layers,
        "hidden_size": config.d_model,
        "num_attention_heads": config.n_heads,
        **({} if config.d_mlp == 4 * config.d_model else {"intermediate_size": config.d_mlp}),
        "seq_length": config.seq_length,
        "max_position_embeddings": config.seq_length,
        "pos_emb": "rotary",
        "rotary_pct": config.rotary_pct,
        "rotary_emb_base": int(config.rotary_base),
        "no_weight_tying": True,
        "gpt_j_residual": True,
        "init_method": "normal" if normal else "small_init",
        "output_layer_init_method": "normal" if normal else "wang_init",
        **({"init_method_std": config.initial_std} if normal else {}),
        "make_vocab_size_divisible_by": 1,
        "tokenizer_type": "HFTokenizer",
        "vocab_file": str(tokenizer),
        "train_batch_size": config.batch_size,
        "train_micro_batch_size_per_gpu": micro,
        "gradient_accumulation_steps": None,  # derived
        "optimizer": {
            "type": "Adam",
            "params": {
                "lr": config.learning_rate,
                "betas": list(config.adam_betas),
                "eps": config.adam_eps,
            },
        },
        "lr_decay_style": "constant" if ratio == 1 else "cosine",
        "min_lr": config.learning_rate * ratio,
        "warmup": config.warmup_steps / steps,
        "lr_decay_iters": steps,
        "train_iters": config.steps,
        "weight_decay": config.weight_decay,
        "gradient_clipping": config.gradient_clip,
        "hidden_dropout": 0,
        "attention_dropout": 0,
        "seed": config.seed + 1,  # it refuses 0
        "data_impl": "mmap",
        **{f"{split}_data_paths": [str(data)] for split in SPLITS},
    }


ANY = TrainingConfig(
    n_layers=1, d_model=8, n_heads=1, d_mlp=8, vocab_size=2, seq_length=1, rotary_pct=1.0, steps=1, batch_size=1,
    warmup_steps=0, initial_std=1.0,
)  # fmt: skip
DECIDED = {*decided(ANY, Path(), Path()), *SAVED} - {"train_micro_batch_size_per_gpu", "data_impl"}
"""Settings that the study decides."""


def settings_of(
    config: TrainingConfig, data: Path, tokenizer: Path, given: Mapping[str, Any], on_gpu: bool
) -> dict[str, Any]:
    """One complete config file of a baseline, but for its folders and when it saves.

    Args:
        given: what a user sets beside what is decided.
        on_gpu: whether there is a GPU to talk to.
    """
    usual = {
        "output_layer_parallelism": "column",
        "scaled_upper_triang_masked_softmax_fusion": False,
        "bias_gelu_fusion": False,  # the exact GELU, as the embedded trainer's
        "pipe_parallel_size": 0,
        "model_parallel_size": 1,
        "zero_optimization": {"stage": 0},
        "checkpoint_activations": False,
        "partition_activations": False,
        "distributed_backend": "nccl" if on_gpu else "gloo",
        "precision": "fp32",
        "num_workers": 0,
        "eval_interval": config.steps + 1,
        "eval_iters": 1,
        "log_interval": 10,
        "steps_per_print": 1000,
        "num_gpus": 1,
        "global_num_gpus": 1,
    }
    return {**usual, **decided(config, data, tokenizer), **given}
