"""Which checkpoints have equal weights under different names; a curve over their steps would be none.

It happens to published ones: of the 154 revisions of pythia-2.8b, 76 hold the last weights, ``step0`` among them
(EleutherAI/pythia#205). Some rows of every tensor tell most checkpoints apart; those that agree in them are compared
whole. Equal are numbers, not files: the same weights saved twice, with another step beside them, are one checkpoint.
Tensors are compared under the names and the sharding that they have on disk: a checkpoint and its export, or the same
one trained on other numbers of GPUs, are not recognised.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from curator.artifacts.fingerprints import fingerprint
from curator.corpus.whole import shown
from curator.models import hf, neox
from curator.models.neox_files import FREQUENCIES, read_checkpoint

if TYPE_CHECKING:
    from torch import Tensor

SAMPLED_ROWS = 8
"""Of every tensor, evenly spaced."""
FIRST_STEPS = (0, 1, 2)
"""These may rightly be equal."""
SHOWN_CHECKPOINTS = 20


@dataclass(frozen=True)
class Stored:
    """A tensor on disk, of one dimension or more; ``rows(start, stop)`` reads some of its first, to None all."""

    name: str
    shape: tuple[int, ...]
    rows: "Callable[[int, int | None], Tensor]"


def equal_groups(checkpoints: Sequence[tuple[int, Path]]) -> list[list[int]]:
    """The steps of checkpoints that have equal weights, two or more each, rising.

    Raises:
        CuratorError: a checkpoint cannot be read.
    """
    folders = dict(checkpoints)
    alike: dict[str, list[int]] = {}
    with shown("comparing weights", len(folders), "checkpoints", len(folders) > SHOWN_CHECKPOINTS) as advance:
        for step, folder in folders.items():
            alike.setdefault(sampled_weights(folder), []).append(step)
            advance()
    groups = []
    for steps in alike.values():
        while len(steps) > 1:
            first, *others = steps
            same = [step for step in others if same_weights(folders[first], folders[step])]
            groups += [[first, *same]] if same else []
            steps = [step for step in others if step not in same]
    return sorted(groups)


def points_of(steps: Sequence[int], groups: Sequence[Sequence[int]]) -> tuple[list[int], list[str]]:
    """(the steps that are points of a curve, a line on each of the `equal_groups` and on what is left out).

    Which name of several is right is not known, the first being as likely wrong as the last: none of them is a point.
    """
    lines: list[str] = []
    left_out: set[int] = set()
    for group in groups:
        named = f"steps {', '.join(map(str, group[:-1]))} and {group[-1]} have equal weights"
        if set(group) <= set(FIRST_STEPS):
            lines.append(
                f"{named}, as they may: GPT-NeoX v1.0 and 2.x give the first step a learning rate of 0, and the second "
                "may change less than half precision holds"
            )
        else:
            left_out |= set(group)
            lines.append(f"{named} under different names, of which at most one is right")
    if left_out:
        lines.append(
            f"{len(left_out)} of {len(steps)} checkpoints are no points of a curve, since it is not known which of "
            "their names are right; move the wrong ones away, or name the others alone"
        )
    return [step for step in steps if step not in left_out], lines


def sampled_weights(folder: Path) -> str:
    """Fingerprint of some rows of every tensor."""
    found = {}
    for tensor in stored_tensors(folder):
        places = np.unique(np.linspace(0, tensor.shape[0] - 1, SAMPLED_ROWS).astype(int)).tolist()
        rows = [tensor.rows(row, row + 1) for row in places]
        # adding 0 makes one of the two zeros, which are equal and differ in a bit
        found[tensor.name] = [list(tensor.shape), *((row.double() + 0.0).numpy() for row in rows)]
    return fingerprint(found)


def same_weights(one: Path, other: Path) -> bool:
    """Whether two checkpoints have the same tensors, number by number."""
    import torch

    theirs = {tensor.name: tensor for tensor in stored_tensors(other)}
    ours = {tensor.name: tensor for tensor in stored_tensors(one)}
    if ours.keys() != theirs.keys():
        return False
    for name, tensor in ours.items():
        a, b = tensor.rows(0, None), theirs[name].rows(0, None)
        if a.dtype != b.dtype:  # numbers, not how they are stored
            a, b = a.double(), b.double()
        if not torch.equal(a, b):
            return False
    return True


def stored_tensors(folder: Path) -> Iterator[Stored]:
    """The weights of a checkpoint folder, read when they are asked for."""
    if neox.is_neox(folder):
        checkpoint = read_checkpoint(neox.checkpoint_folder(folder))
        for module, shards in sorted(checkpoint.modules.items()):
            for number, shard in enumerate(shards):
                for name, tensor in shard.items():
                    if name != FREQUENCIES:
                        yield _of_memory(f"{module}/{number}/{name}", tensor)
        return
    from safetensors import safe_open

    for file in hf.checkpoint_files(folder)[1:]:
        content = safe_open(file, framework="pt")
        for name in sorted(content.keys()):
            if not hf.is_stored_buffer(name):
                yield _of_file(content, name)


def _of_file(content: Any, name: str) -> Stored:
    if not content.get_slice(name).get_shape():
        return _of_memory(name, content.get_tensor(name))
    view = content.get_slice(name)
    return Stored(name, tuple(view.get_shape()), lambda start, stop: view[start:stop])


def _of_memory(name: str, tensor: "Tensor") -> Stored:
    rows = tensor if tensor.ndim else tensor.reshape(1)
    return Stored(name, tuple(rows.shape), lambda start, stop: rows[start:stop])
