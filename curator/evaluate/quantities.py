"""All that is asked of a checkpoint, prepared once and taken of one model after another.

A quantity is a number of a unit, or of the whole model (unit ``""``). What shares a pass of the model is taken in one:
the metric of all kinds, a probe of all heads that ask the same, loss and ICL score on the same rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from curator.artifacts.fingerprints import fingerprint
from curator.evaluate.ablation import CopyTask, contributions
from curator.evaluate.losses import icl_positions, icl_score, token_losses
from curator.scan.metrics import drawn, measure, names_in
from curator.units import Sequences, Unit

Values = dict[str, dict[str, float]]
"""Quantity -> unit -> value."""
SAYS = {
    "metric": "of the unit's kind (docs/units.md); higher = further formed",
    "copy": "log-probability of the token to be copied, nats per token",
    "probe": "f of the unit's probe, summed over a sequence's positions, mean of sequences",
    "ablation": "log-probability of C in [prefix][A B C][gap][A B], the head less without it, nats; above 0 = helps",
    "ablation_logit": "the same of the logit of C (eq. 39)",
    "icl": "loss at the late token less the mean of the early ones, nats; lower = more is learnt in context",
    "loss": "mean loss of held-out rows, nats per token",
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Quantities:
    """What is measured; what is empty or None is not.

    Attributes:
        kinds: kind -> its units and sequences, for their metric.
        probes: units and the sequences they are asked on.
        task: for ablations.
        held_out, text: rows [n, width] for loss and ICL score; the score is of ``text`` where there is one.
        icl: whether it is asked for.
    """

    kinds: Mapping[str, tuple[Sequence[Unit], Sequences]] = field(default_factory=dict)
    probes: Sequence[tuple[Sequence[Unit], Sequences]] = ()
    task: CopyTask | None = None
    held_out: Tensor | None = None
    text: Tensor | None = None
    loss: bool = False
    icl: bool = False

    @torch.no_grad()
    def __call__(self, model: PreTrainedModel) -> Values:
        """Everything of one model."""
        found: Values = {}
        if self.kinds:
            units = {kind: own for kind, (own, _) in self.kinds.items()}
            metrics = measure(model, units, {kind: own for kind, (_, own) in self.kinds.items()})
            names = [unit.name for own in units.values() for unit in own]
            found["metric"] = dict(
                zip(names, (v for grid in metrics.values() for v in grid.ravel().tolist()))
            )
        for own, sequences in self.probes:
            values = own[0].probe_values(own, model, sequences.to(model.device))
            found.setdefault("probe", {}).update(zip((unit.name for unit in own), values))
        if self.task is not None:
            for name, by in zip(("ablation", "ablation_logit"), contributions(model, self.task)):
                found[name] = dict(zip(names_in("induction", by.shape), by.flatten().tolist()))
        losses = None if self.held_out is None else token_losses(model, self.held_out)
        if self.loss and losses is not None:
            found["loss"] = {"": float(losses.mean())}
        if self.icl:
            by_position = losses if self.text is None else token_losses(model, self.text)
            assert by_position is not None
            found["icl"] = {"": icl_score(by_position)}
        return found

    def about(self) -> dict[str, Any]:
        """What stands beside the numbers."""
        said: dict[str, Any] = {}
        rows = self.held_out if self.text is None else self.text
        if self.icl and rows is not None:
            late, early = icl_positions(rows.shape[1] - 1)
            of = "held-out rows" if self.text is None else "a text"
            said["icl"] = {"late": late, "early": early, "rows": len(rows), "of": of}
        if self.loss and self.held_out is not None:
            said["loss"] = {"rows": len(self.held_out), "context": self.held_out.shape[1] - 1}
        return said

    def fingerprint(self) -> str:
        """Of all that decides the numbers but the model."""
        rows: list[Any] = [[] if one is None else one.numpy() for one in (self.held_out, self.text)]
        task = [] if self.task is None else [self.task.tokens.numpy(), self.task.target.numpy()]
        kinds = {kind: drawn(own) for kind, (_, own) in self.kinds.items()}
        probes = [[[unit.name for unit in own], drawn(sequences)] for own, sequences in self.probes]
        return fingerprint([kinds, probes, task, rows, self.loss, self.icl])


def asked_alike(units: Sequence[Unit]) -> list[list[Unit]]:
    """``units`` in groups that one pass may serve: of one kind, and asked by one probe."""
    groups: dict[tuple[str, str], list[Unit]] = {}
    for unit in units:
        groups.setdefault((unit.kind, getattr(unit, "asks", "")), []).append(unit)
    return list(groups.values())
