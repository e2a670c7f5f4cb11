"""What is measured of a model on the way: a function of model and data, by name in `CURVES`.

`Measured` is what a trainer calls after each update, so that no checkpoint has to be kept for it; on a checkpoint the
same functions give the same numbers. Heads are measured all at once, since the one of interest is known only later.
"""

from collections.abc import Callable
from typing import Any

import torch
from transformers import PreTrainedModel

from curator.units import Sequences
from curator.units.induction import InductionHead, copy_targets


def induction_scores(model: PreTrainedModel, sequences: Sequences) -> list[list[float]]:
    """[layers][heads] the induction metric of every head."""
    return InductionHead.all_heads(model, sequences).tolist()


def copy_log_probability(model: PreTrainedModel, sequences: Sequences) -> float:
    """Mean log-probability, in nats per token, of the token to be copied: the induction probe per position."""
    scored, _ = copy_targets(sequences.tokens, sequences.valid())
    with torch.no_grad():
        value = InductionHead(0, 0).probe(model, sequences)
    return float(value) * len(sequences.tokens) / int(scored.sum())


CURVES: dict[str, Callable[[PreTrainedModel, Sequences], Any]] = {
    "scores": induction_scores,
    "copy_log_probability": copy_log_probability,
}


class Measured:
    """Every curve at every ``every``-th step of one run, for ``on_step`` of the trainer.

    Attributes:
        curves: ``steps``, and beside it a value per step under each name of `CURVES`; JSON values.
    """

    def __init__(self, sequences: Sequences, every: int):
        self.sequences = sequences
        self.every = every
        self.curves: dict[str, list[Any]] = {"steps": [], **{name: [] for name in CURVES}}

    def __call__(self, step: int, model: PreTrainedModel) -> None:
        if step % self.every == 0:
            self.curves["steps"].append(step)
            for name, curve in CURVES.items():
                self.curves[name].append(curve(model, self.sequences))
