"""A fingerprint by which a scan knows a checkpoint again: of its content, without reading large files whole."""

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from curator.artifacts.fingerprints import fingerprint
from curator.models import checkpoint_files

WHOLE_FILE_BYTES, SAMPLED_BLOCKS, BLOCK_BYTES = 1 << 24, 256, 1 << 14
"""A weight file is fingerprinted whole up to this size, beyond it by its header and evenly spaced blocks."""


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
