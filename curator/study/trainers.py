"""Who trains the runs of a study: the embedded trainer, or GPT-NeoX through the patches.

The embedded trainer measures on the way, so that an arm keeps its last weights alone; GPT-NeoX is measured afterwards,
at checkpoints that it saves for that, by the same functions.
"""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curator.evaluate.curves import Measured
from curator.study.neox import NeoxRuns, is_on_gpu
from curator.study.study import Study
from curator.study.trainer import Run, Trainer
from curator.training import train


@dataclass(frozen=True)
class Embedded:
    """`curator.training`."""

    study: Study

    def check(self) -> None:
        """It comes with the tool."""

    def checkpoint(self, run: Path, step: int) -> Path:
        """``step{N}``."""
        return run / f"step{step}"

    def train(self, run: Run, measured: Measured) -> None:
        """Extra steps make an arm so much longer, on the baseline's learning rates."""
        shutil.rmtree(run.folder, ignore_errors=True)  # half a curve cannot be gone on with
        config, is_over = run.config, run.is_over
        asked: dict[str, Any] = {"checkpoint_steps": range(0, config.steps + 1, self.study.checkpoint_every)}
        if run.plan is not None:
            config = config.changed(steps=config.steps + run.extra, decay_steps=config.steps)
            start = self.checkpoint(run.seed_folder / "baseline", run.first)
            asked = {
                "plan": run.plan,
                "start_from": start,
                "checkpoint_steps": [],
                "stop_step": run.last + run.extra,
            }

        def on_step(step: int, model: Any) -> bool:
            measured(step, model)
            return step > 0 and is_over is not None and is_over()

        train(config, run.corpus, run.folder, on_step=on_step, **asked)

    def tidy(self, run: Run) -> None:
        """Nothing was."""


def trainer_of(study: Study) -> Trainer:
    """The one that the study names."""
    return NeoxRuns(study) if study.trainer == "neox" else Embedded(study)


def side_by_side(study: Study) -> int:
    """How many runs are trained at once: one a core; of GPT-NeoX what the study says, else one where there is a GPU."""
    cores = os.cpu_count() or 1
    if study.trainer == "neox":
        return study.neox.at_once or (1 if is_on_gpu() else cores)
    return cores
