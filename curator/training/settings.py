"""One run of the embedded trainer: the section ``train``, which is its recipe and what is done with it."""

from typing import Annotated

from curator.artifacts.conditions import Not
from curator.artifacts.fields import Corpus, Count, Epochs, Out, Step, Where, written_out
from curator.artifacts.schema import GivenPath, Many
from curator.training.config import TrainingConfig


class TrainSettings(TrainingConfig):
    """One run of the embedded trainer: the recipe's fields (`TrainingConfig`) and what is done with it."""

    FLAGS = (
        "corpus",
        "epochs",
        "plan",
        "start_from",
        "checkpoint_steps",
        "stop_step",
        "seed",
        "out",
        "device",
    )

    out: Out = None
    corpus: Corpus = None
    epochs: Epochs = 1
    device: Where = "cpu"
    plan: Annotated[GivenPath | None, Not("epochs", says="the plan says it itself")] = None
    """Folder of the plan to follow."""
    start_from: GivenPath | None = None
    """Checkpoint to continue from, for example the window's start."""
    checkpoint_steps: Many[Step] = ()
    """Steps to save, for example 0,100,200:400:50."""
    stop_step: Count | None = None
    """Stop after this step; the schedule still spans all steps."""

    @property
    def recipe(self) -> TrainingConfig:
        return TrainingConfig(**{name: getattr(self, name) for name in TrainingConfig.model_fields})

    @property
    def saved_steps(self) -> list[int]:
        """``checkpoint_steps`` written out, sorted, each once."""
        return written_out(self.checkpoint_steps)
