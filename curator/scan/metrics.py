"""What one checkpoint gives a scan: the metric of every unit of every kind.

Kinds that read the same of a model on the same sequences share one pass of it (`Unit.observe`). A kind whose units are
addressed by the numbers of a grid, as heads are by layer and head, has its numbers in that grid; any other kind has
them in a row, and their names beside them.
"""

import inspect
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from transformers import PreTrainedModel

from curator.artifacts.fingerprints import fingerprint
from curator.artifacts.unit_names import UnitName
from curator.errors import UsageError
from curator.units import Sequences, Unit, kinds


def kinds_called(names: Sequence[str] | None) -> dict[str, type[Unit]]:
    """The kinds of unit with these names; all known ones when there are none."""
    known = kinds()
    for name in names or ():
        if name not in known:
            raise UsageError(f"no kind of unit '{name}'; there are: {', '.join(sorted(known))}")
    return {name: known[name] for name in names} if names else known


def measure(
    model: PreTrainedModel, units: Mapping[str, Sequence[Unit]], sequences: Mapping[str, Sequences]
) -> dict[str, np.ndarray]:
    """The metric of ``units`` (kind -> all of that kind) on their kind's sequences: kind -> [*grid] float64."""
    passes: dict[object, list[str]] = {}
    for kind, own in units.items():
        passes.setdefault((own[0].observe, drawn(sequences[kind])), []).append(kind)
    found = {}
    with torch.no_grad():
        for members in passes.values():
            tokens = sequences[members[0]].to(model.device)
            observed = units[members[0]][0].observe(model, tokens)
            for kind in members:
                metrics = units[kind][0].metrics(units[kind], observed, tokens)
                found[kind] = np.array(metrics, np.float64).reshape(grid_of(units[kind]))
    return {kind: found[kind] for kind in units}


def drawn(sequences: Sequences) -> str:
    """Fingerprint of sequences."""
    return fingerprint([sequences.tokens.numpy(), sequences.lengths.numpy()])


def grid_of(units: Sequence[Unit]) -> tuple[int, ...]:
    """The shape in which the numbers of all units of a kind lie."""
    names = [unit.name for unit in units]
    grid = tuple(number + 1 for number in UnitName.parse(names[-1]).numbers)
    return grid if names == names_in(units[0].kind, grid) else (len(names),)


def names_in(kind: str, grid: Sequence[int]) -> list[str]:
    """``kind:0.0``, ``kind:0.1`` ...: the names of units that are addressed by the numbers of a grid."""
    return [f"{kind}:{'.'.join(map(str, place))}" for place in np.ndindex(*grid)]


def definition(unit: type[Unit]) -> str:
    """Fingerprint of a kind's source text: a user who edits a metric must not be given its old values."""
    try:
        source = inspect.getsource(unit)
    except OSError:  # typed into an interactive session
        source = ""
    return fingerprint([unit.__module__, unit.__qualname__, source])
