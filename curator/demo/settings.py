"""What the demo trains and which arms it compares."""

from dataclasses import dataclass

from curator.corpus import EmbeddedSettings
from curator.ranking.selection import Select
from curator.training import TrainingConfig

EVERY = 10
"""Steps between two measurements of the arms."""
THRESHOLDS = (0.1, 0.2, 0.4)
"""Induction scores whose crossing steps are reported."""

# Arm -> which samples are masked or repeated. Every arm continues the baseline from the window's start.
MASKED: dict[str, Select] = {
    "mask-top": "top",
    "mask-random-1": "random",
    "mask-random-2": "random",
    "mask-random-in-category-1": "random-in-category",
}
REPEATED: dict[str, Select] = {
    "repeat-top": "top",
    "repeat-random-1": "random",
    "repeat-random-2": "random",
    "repeat-random-in-category-1": "random-in-category",
}
ARMS = {**MASKED, **REPEATED}


@dataclass(frozen=True, kw_only=True)
class DemoSettings:
    """One demo.

    Attributes:
        steps: of the baseline's schedule.
        arm_steps: the arms stop here.
        drill_fraction: share of the corpus rows that are drill rows; 0 is natural text only.
        window_start: where the window begins and every arm starts, in steps.
        window_end_score: the window ends just past the step at which the head's score crosses this.
        share: of the window's samples that are masked or repeated.
        checkpoint_every: steps between two of the baseline's checkpoints.
        factor_samples: cap on the samples that fit the curvature.
    """

    steps: int = 1000
    arm_steps: int = 1000
    drill_fraction: float = 0.5
    window_start: int = 150
    window_end_score: float = 0.6
    share: float = 0.1
    checkpoint_every: int = 25
    factor_samples: int = 4000

    @staticmethod
    def quick() -> "DemoSettings":
        """The smoke size: more drill rows, a head after about 330 steps."""
        return DemoSettings(
            steps=450, arm_steps=450, drill_fraction=0.7, window_start=100, checkpoint_every=25
        )

    def corpus(self, seed: int) -> EmbeddedSettings:
        return EmbeddedSettings(
            n_samples=self.steps * 32,
            seq_length=32,
            vocab_size=512,
            drill_fraction=self.drill_fraction,
            seed=seed,
        )

    def training(self, seed: int) -> TrainingConfig:
        """About 116 thousand parameters; the shape and recipe of ``configs/tiny.yml``."""
        return TrainingConfig(
            n_layers=2,
            d_model=64,
            n_heads=2,
            d_mlp=64,
            vocab_size=512,
            seq_length=32,
            rotary_pct=0.25,
            rotary_base=100,
            steps=self.steps,
            batch_size=32,
            learning_rate=8e-3,
            min_learning_rate_ratio=0.5,
            warmup_steps=50,
            weight_decay=0.1,
            gradient_clip=1.0,
            seed=seed,
        )
