"""How the rows of an embedded corpus are made: windows of the library's text, and drills out of them."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field

from curator.artifacts.fields import Count, Fraction, Seed, Share
from curator.artifacts.flags import Flag
from curator.artifacts.schema import Rule, Settings
from curator.corpus import library
from curator.corpus.repetition import copyable_share
from curator.errors import CuratorError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SHORTEST_DRILL = 8
"""Tokens in the shortest period of a drill row."""


class EmbeddedSettings(Settings):
    """Everything, besides the Python version, that decides the rows of an embedded corpus."""

    FLAGS = ("n_samples", "seq_length", "vocab_size", "drill_fraction", "copyable_fraction", "seed")

    seq_length: Annotated[int, Field(ge=1, le=1 << 20)] = 32
    """Tokens per row, less the last label; at least 16 where there are drill rows."""
    vocab_size: Annotated[int, Field(ge=257, le=1 << 16)] = 512
    """Of the byte-level BPE trained on the spot."""
    n_samples: Annotated[Count, Rule("1 to 2**40", lambda v: v <= 1 << 40), Flag(name="samples")] = 32_000
    """Rows."""
    drill_fraction: Share = 0.5
    """Share of rows that repeat a few of their own tokens; 0 is natural text only."""
    # exactly round(f * n_samples) rows, at random places
    copyable_fraction: Fraction = 1.0
    """Share of the natural rows that is kept: those of which most can be copied from their own beginning; 1 is all."""
    # so many more windows are read; which are kept is `copyable_share`'s to say
    seed: Seed = 0
    """Of the order and the drill rows."""

    def check(self) -> None:
        """A drill is at least two periods."""
        shortest = 2 * SHORTEST_DRILL
        if self.drill_fraction and self.seq_length < shortest:
            raise ValueError(
                f"'seq_length' is {self.seq_length}, expected {shortest} or more where there are drill rows"
            )

    def to_json(self) -> dict[str, Any]:
        """As corpora were written before there was a choice of rows, where none is made."""
        settings = super().to_json()
        if self.copyable_fraction == 1:
            del settings["copyable_fraction"]
        return settings


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
    When all files are used up, the next turn begins its windows at another offset. Of ``n / copyable_fraction``
    windows the n with the highest share of copyable tokens are kept, in random order as well.
    """
    from curator.progress import progress

    rng = np.random.default_rng([settings.seed, 1])
    width = settings.seq_length + 1
    need = math.ceil(settings.n_samples / settings.copyable_fraction)
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
    windows = np.concatenate(rows)
    if need > settings.n_samples:
        best = np.argsort(-copyable_share(windows[order]), kind="stable")[: settings.n_samples]
        order = order[np.sort(best)]
    return NaturalRows(windows[order], np.concatenate(ids)[order], np.concatenate(offsets)[order], turn)


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
