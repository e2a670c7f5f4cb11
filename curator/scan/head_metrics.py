"""What one checkpoint gives a scan: the metric of every head, and a fingerprint to know it again by."""

import inspect
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from curator.artifacts.fingerprints import fingerprint
from curator.errors import UsageError
from curator.models import checkpoint_files
from curator.units import Sequences, kinds
from curator.units.attention import HeadUnit, attention_patterns

WHOLE_FILE_BYTES, SAMPLED_BLOCKS, BLOCK_BYTES = 1 << 24, 256, 1 << 14
"""A weight file is fingerprinted whole up to this size, beyond it by its header and evenly spaced blocks."""


def head_kinds(names: Sequence[str] | None) -> dict[str, type[HeadUnit]]:
    """The kinds of attention head with these names; all known ones when there are none."""
    known = {kind: unit for kind, unit in kinds().items() if issubclass(unit, HeadUnit)}
    for name in names or ():
        if name not in known:
            raise UsageError(f"no kind of attention head '{name}'; there are: {', '.join(sorted(known))}")
    return {name: known[name] for name in names} if names else known


def head_metrics(
    model: PreTrainedModel, units: Mapping[str, type[HeadUnit]], sequences: Sequences
) -> dict[str, np.ndarray]:
    """The metric of every head for every kind, from one forward pass: kind -> [layers, heads] float64."""
    sequences = sequences.to(model.device)
    with torch.no_grad():
        patterns = attention_patterns(model, sequences)
        return {
            kind: torch.stack(
                [unit.pattern_scores(layer, sequences).double().cpu() for layer in patterns]
            ).numpy()
            for kind, unit in units.items()
        }


def even_attention(unit: type[HeadUnit], sequences: Sequences) -> float:
    """The metric of a head that attends alike to every token up to its own."""
    n, longest = sequences.tokens.shape
    pattern = torch.ones(longest, longest, dtype=torch.float64).tril()
    pattern /= pattern.sum(-1, keepdim=True)
    return float(unit.pattern_scores(pattern.expand(n, 1, longest, longest), sequences)[0])


def checkpoint_fingerprint(path: Path) -> str:
    """Content of a checkpoint folder, cheaply: its settings, and size, header and blocks of its weights."""
    return fingerprint([[file.name, *_sampled(file)] for file in checkpoint_files(path)])


def _sampled(file: Path) -> list[Any]:
    size = file.stat().st_size
    if size <= WHOLE_FILE_BYTES or file.suffix not in (".safetensors", ".pt"):
        return [size, file.read_bytes()]
    if file.suffix == ".pt":  # a zip archive, whose directory has a checksum of every tensor
        with zipfile.ZipFile(file) as archive:
            entries = [[entry.filename, entry.file_size, entry.CRC] for entry in archive.infolist()]
        header = json.dumps(entries).encode()
        start_of_weights = 0
    else:
        with open(file, "rb") as stream:
            header = stream.read(8)  # safetensors: the length of the JSON that follows, and then the weights
            header += stream.read(int.from_bytes(header, "little"))
        start_of_weights = len(header)
    blocks = []
    with open(file, "rb") as stream:
        for start in np.linspace(start_of_weights, size - BLOCK_BYTES, SAMPLED_BLOCKS).astype(int).tolist():
            stream.seek(start)
            blocks.append(stream.read(BLOCK_BYTES))
    return [size, header, *blocks]


def definition(unit: type[HeadUnit]) -> str:
    """Fingerprint of a kind's source text: a user who edits a metric must not be given its old values."""
    try:
        source = inspect.getsource(unit)
    except OSError:  # typed into an interactive session
        source = ""
    return fingerprint([unit.__module__, unit.__qualname__, source])
