"""What a study wants of a trainer: runs, their checkpoints, their curves. All else of a study knows only this."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from curator.corpus import Corpus
from curator.evaluate.curves import Measured
from curator.plan.plan import Plan
from curator.training import TrainingConfig


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run of a seed.

    Attributes:
        seed_folder: of its seed; name: its folder in there.
        config: the baseline's. corpus: the seed's.
        plan: of an arm, which goes on from the baseline's ``first`` step and ends at ``last``, extra steps not counted;
            None: the baseline.
        is_over: whether the baseline may end at the last measured point.
    """

    seed_folder: Path
    name: str
    config: TrainingConfig
    corpus: Corpus
    plan: Plan | None = None
    first: int = 0
    last: int = 0
    is_over: Callable[[], bool] | None = None

    @property
    def folder(self) -> Path:
        """Where it is trained."""
        return self.seed_folder / self.name

    @property
    def extra(self) -> int:
        """Steps that its plan adds."""
        return 0 if self.plan is None else self.plan.n_slots // self.plan.batch_size - self.config.steps


class Trainer(Protocol):
    """What a study wants of a trainer."""

    def check(self) -> None:
        """Say at once, before anything is made, that it cannot train.

        Raises:
            CuratorError: what is missing.
        """

    def checkpoint(self, run: Path, step: int) -> Path:
        """Where the checkpoint of a run's step lies."""

    def train(self, run: Run, measured: Measured) -> None:
        """Train a run, and fill its curves. The baseline keeps its checkpoints, an arm its last."""

    def tidy(self, run: Run) -> None:
        """Remove what was kept for the curves, which are saved by now."""
