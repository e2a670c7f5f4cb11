"""What a training run is: architecture and recipe. Equal configs, corpora and plans make equal runs."""

import math
from typing import Annotated, Any

from pydantic import Field, Strict

from curator.artifacts.fields import Count, Fraction, Index, NotNegative, Positive, Seed, Share
from curator.artifacts.schema import Settings

Beta = Annotated[float, Field(ge=0, lt=1)]


class TrainingConfig(Settings):
    """A GPT-NeoX-architecture model and Pythia's recipe for it."""

    n_layers: Count
    """Number of transformer layers."""
    d_model: Count
    """Width of the residual stream."""
    n_heads: Count
    """Attention heads per layer; each has d_model / n_heads dimensions."""
    d_mlp: Count
    """Neurons per layer."""
    vocab_size: Count
    """Number of token ids."""
    seq_length: Count
    """Tokens that are predicted per sample; a corpus row holds one more."""
    rotary_pct: Fraction = 0.25
    """Fraction of each head's dimensions that rotate with the position."""
    rotary_base: Annotated[float, Field(gt=1)] = 10000.0
    """Base of the rotation wavelengths."""
    steps: Count
    """Optimizer steps of the whole schedule, wherever a run stops."""
    batch_size: Count
    """Samples per step (global batch)."""
    learning_rate: Positive = 1e-3
    """Peak, reached at the end of the warm-up."""
    min_learning_rate_ratio: Share = 0.1
    """Learning rate of the last step, as a share of the peak."""
    warmup_steps: Index
    """Steps in which the learning rate rises linearly to its peak."""
    decay_steps: Count | None = None
    """Steps after which the learning rate is at its minimum, and stays there; None: ``steps``. GPT-NeoX's
    lr-decay-iters: where extra steps make a run longer, the number of before keeps the curve of before."""
    adam_betas: Annotated[tuple[Beta, Beta], Strict(False)] = (0.9, 0.95)
    """Decay of Adam's first and second moment."""
    adam_eps: Positive = 1e-8
    """Adam's smallest denominator."""
    weight_decay: NotNegative = 0.1
    """Decoupled weight decay of matrices and embeddings; biases and layer norms have none."""
    gradient_clip: NotNegative = 1.0
    """Largest global norm of the gradient; 0 leaves it as it is."""
    seed: Seed = 1234
    """Of the initial weights."""
    initial_std: Positive | None = None
    """Standard deviation of every matrix at the start; None: GPT-NeoX's small_init and wang_init (`training.model`)."""
    micro_batch_size: Count | None = None
    """Samples per forward pass, to fit the memory; None takes the whole batch. It changes only rounding."""

    def check(self) -> None:
        """What fits together."""
        d_head = self.d_model // self.n_heads
        rotary = int(d_head * self.rotary_pct)
        self._require("n_heads", self.d_model % self.n_heads == 0, f"a divisor of d_model ({self.d_model})")
        self._require(
            "rotary_pct",
            rotary >= 2 and rotary % 2 == 0,
            f"a share in (0, 1] that turns an even number of a head's {d_head} dimensions",
        )
        self._require("warmup_steps", self.warmup_steps <= self.steps, f"in 0 .. steps ({self.steps})")
        self._require(
            "decay_steps",
            self.decay_steps is None or self.decay_steps >= self.warmup_steps,
            f"None or at least warmup_steps ({self.warmup_steps}) and 1",
        )
        micro = self.micro_batch_size
        self._require(
            "micro_batch_size", micro is None or micro <= self.batch_size, "None or in 1 .. batch_size"
        )

    def _require(self, name: str, holds: bool, says: str) -> None:
        if not holds:
            raise ValueError(f"{name} is {getattr(self, name)!r}; expected {says}")

    def learning_rate_at(self, step: int) -> float:
        """The learning rate of update ``step``, counted from 0.

        Linear warm-up, then half a cosine that reaches ``min_learning_rate_ratio`` at update ``decay_steps`` - 1,
        the last one by default.
        The first update has learning_rate / warmup_steps, as in current GPT-NeoX; v1.0 began with a wasted
        step of 0. GPT-NeoX's own cosine ends at 0 and is cut off at the minimum; this one arrives there.
        """
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        decay = self.decay_steps or self.steps
        done = min((step + 1 - self.warmup_steps) / max(decay - self.warmup_steps, 1), 1.0)
        lowest = self.learning_rate * self.min_learning_rate_ratio
        return lowest + (self.learning_rate - lowest) * 0.5 * (1 + math.cos(math.pi * done))

    def to_dict(self) -> dict[str, Any]:
        """The settings as plain JSON values; ``initial_std`` only where it is given, as in runs of before it was."""
        values = self.model_dump(mode="json", include=set(TrainingConfig.model_fields))
        return {name: value for name, value in values.items() if (name, value) != ("initial_std", None)}
