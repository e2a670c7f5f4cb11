"""How the rows of an embedded corpus are made: windows of the library's text, and drills out of them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from curator.corpus import library
from curator.errors import CuratorError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SHORTEST_DRILL = 8
"""Tokens in the shortest period of a drill row."""


@dataclass(frozen=True, kw_only=True)
class EmbeddedSettings:
    """Everything, besides the Python version, that decides the rows of an embedded corpus."""

    seq_length: int = 32
    """Tokens a model reads from a row; rows are one token wider. At least 16 when there are drill rows."""
    vocab_size: int = 512
    """Entries of the byte-level BPE, 257 to 65536 (the rows are uint16)."""
    n_samples: int = 32_000
    """Number of rows."""
    drill_fraction: float = 0.5
    """Share f of drill rows, 0 to 1: exactly round(f * n_samples) rows, at random places."""
    seed: int = 0
    """Draws windows, order and drills; not the tokenizer, which all seeds share."""

    def __post_init__(self) -> None:
        shortest = 2 * SHORTEST_DRILL if self.drill_fraction else 1
        for name, low, high in (
            ("seq_length", shortest, 1 << 20),
            ("vocab_size", 257, 1 << 16),
            ("n_samples", 1, 1 << 40),
            ("drill_fraction", 0, 1),
            ("seed", 0, (1 << 63) - 1),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise CuratorError(f"embedded corpus: {name} is {value}, expected {low} to {high}")


@dataclass(frozen=True)
class NaturalRows:
    """Windows of the library's text, and where each came from."""

    rows: np.ndarray  # uint16 [n_samples, seq_length + 1]
    file_ids: np.ndarray  # int32 [n_samples], into files.json
    offsets: np.ndarray  # int64 [n_samples], in tokens of the file
    turns: int  # how often the library was gone through


def natural_rows(
    settings: EmbeddedSettings, tokenizer: "Tokenizer", folder: Path, names: list[str]
) -> NaturalRows:
    """Windows of the library's text in random order, none across two files.

    Files come in a seeded order until there are enough windows; within a turn the windows of a file do not
    overlap, and no file gives more than 1/32 of the rows (the pydoc topics alone are 6 % of the library).
    When all files are used up, the next turn begins its windows at another offset.
    """
    from curator.progress import progress

    rng = np.random.default_rng([settings.seed, 1])
    need, width = settings.n_samples, settings.seq_length + 1
    most = max(1, need // 32)
    shifts = [0, *(rng.permutation(width - 1) + 1).tolist()]
    tokens_of: dict[int, np.ndarray] = {}
    rows: list[np.ndarray] = []
    ids: list[np.ndarray] = []
    offsets: list[np.ndarray] = []
    found = turn = 0
    with progress("building the embedded corpus", need) as advance:
        while found < need:
            shift = shifts[turn % width]
            for file_id in rng.permutation(len(names)).tolist():
                if file_id not in tokens_of:
                    [text] = library.read_texts(folder, [names[file_id]])
                    tokens_of[file_id] = np.array(tokenizer.encode(text).ids, dtype=np.uint16)
                tokens = tokens_of[file_id][shift:]
                n_windows = len(tokens) // width
                keep = np.sort(rng.permutation(n_windows)[:most])
                rows.append(tokens[: n_windows * width].reshape(n_windows, width)[keep])
                ids.append(np.full(len(keep), file_id, np.int32))
                offsets.append(keep * width + shift)
                advance(min(len(keep), need - found))
                found += len(keep)
                if found >= need:
                    break
            turn += 1
            if not found:
                raise CuratorError(
                    f"{folder}: no file holds {width} tokens, as a row of seq_length "
                    f"{settings.seq_length} needs; lower seq_length"
                )
    order = rng.permutation(found)[:need]
    return NaturalRows(
        np.concatenate(rows)[order], np.concatenate(ids)[order], np.concatenate(offsets)[order], turn
    )


def make_drills(rows: np.ndarray, settings: EmbeddedSettings) -> tuple[np.ndarray, np.ndarray]:
    """Turn a share of the natural rows ``[n, width]`` into drill rows, in place.

    Which rows: exactly ``round(drill_fraction * n)`` of them, uniform without replacement. Each draws
    ``L`` uniformly from 8 to ``seq_length // 2`` (both included), then L *distinct positions* of its own row
    of ``seq_length + 1`` tokens, uniformly and in random order (so a token that the row holds twice may come
    twice), and becomes ``row[j] = tokens[positions[j mod L]]`` for every column j; the last period is cut.

    Returns:
        Whether each row is a drill, bool ``[n]``, and its L, int32 ``[n]`` (0 for natural rows).
    """
    rng = np.random.default_rng([settings.seed, 2])
    n, width = rows.shape
    samples = np.sort(rng.permutation(n)[: round(settings.drill_fraction * n)])
    drills, lengths = np.zeros(n, bool), np.zeros(n, np.int32)
    drills[samples] = True
    if len(samples):
        lengths[samples] = rng.integers(SHORTEST_DRILL, settings.seq_length // 2 + 1, len(samples))
    for chunk in _chunks(samples, 4096):
        shuffled = rng.random((len(chunk), width)).argsort(axis=1)
        period = np.arange(width) % lengths[chunk, None]
        positions = np.take_along_axis(shuffled, period, axis=1)
        rows[chunk] = np.take_along_axis(rows[chunk], positions, axis=1)
    return drills, lengths


def _chunks(values: np.ndarray, size: int) -> Iterator[np.ndarray]:
    for start in range(0, len(values), size):
        yield values[start : start + size]
