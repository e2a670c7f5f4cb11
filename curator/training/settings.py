"""One run of the embedded trainer: the section ``train``, which is its recipe and what is done with it."""

from curator.artifacts.fields import Corpus, Count, Epochs, Step, Where, written_out
from curator.artifacts.schema import GivenPath, Many
from curator.training.config import TrainingConfig


class TrainSettings(TrainingConfig):
    """One run of the embedded trainer: the recipe's fields (`TrainingConfig`) and what is done with it."""

    out: GivenPath | None = None
    """Folder of the checkpoints."""
    corpus: Corpus = None
    epochs: Epochs = 1
    device: Where = "cpu"
    plan: GivenPath | None = None
    """Folder of the plan to follow; null trains on the corpus as it is."""
    start_from: GivenPath | None = None
    """Checkpoint folder to continue from."""
    checkpoint_steps: Many[Step] = ()
    """Steps to save: numbers and ranges."""
    stop_step: Count | None = None
    """Stop after this step; the schedule still spans all ``steps``."""

    @property
    def recipe(self) -> TrainingConfig:
        return TrainingConfig(**{name: getattr(self, name) for name in TrainingConfig.model_fields})

    @property
    def saved_steps(self) -> list[int]:
        """``checkpoint_steps`` written out, sorted, each once."""
        return written_out(self.checkpoint_steps)
