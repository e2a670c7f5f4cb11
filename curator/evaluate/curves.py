"""What is measured of a model on the way, and kept as JSON.

`Measured` is what a trainer calls after each update, so that no checkpoint has to be kept for it; on a checkpoint the
same functions give the same numbers. Heads are measured all at once, since the one of interest is known only later.
"""

from typing import Any

import torch
from transformers import PreTrainedModel

from curator.evaluate.quantities import Quantities, Values
from curator.units import Sequences
from curator.units.induction import InductionHead, copy_targets


def copy_log_probability(model: PreTrainedModel, sequences: Sequences) -> float:
    """Mean log-probability, in nats per token, of the token to be copied: the induction probe per position."""
    scored, _ = copy_targets(sequences.tokens, sequences.valid())
    with torch.no_grad():
        value = InductionHead(0, 0).probe(model, sequences)
    return float(value) * len(sequences.tokens) / int(scored.sum())


class Measured:
    """Every curve at every ``every``-th step of one run, for ``on_step`` of the trainer.

    Attributes:
        curves: ``steps``, and beside it a value per step: ``scores``, [layers][heads] the induction metric;
            ``copy_log_probability``; and ``quantities``, the metric of other kinds and what else is measured, each
            with its ``units``. JSON values.
    """

    def __init__(self, sequences: Sequences, every: int, quantities: Quantities):
        self.sequences = sequences
        self.every = every
        self.quantities = quantities
        self.curves: dict[str, Any] = {
            "steps": [],
            "scores": [],
            "copy_log_probability": [],
            "quantities": {},
        }

    def __call__(self, step: int, model: PreTrainedModel) -> None:
        if step % self.every:
            return
        found = self.quantities(model)
        heads, metric = model.config.num_attention_heads, found.pop("metric")
        induction = [metric.pop(unit) for unit in list(metric) if unit.startswith("induction:")]
        self.curves["steps"].append(step)
        self.curves["scores"].append([induction[k : k + heads] for k in range(0, len(induction), heads)])
        self.curves["copy_log_probability"].append(copy_log_probability(model, self.sequences))
        self._keep({"metric": metric, **found})

    def _keep(self, found: Values) -> None:
        for quantity, values in found.items():
            own = self.curves["quantities"].setdefault(quantity, {"units": list(values), "values": []})
            own["values"].append(list(values.values()))
