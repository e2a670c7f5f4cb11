"""Synthetic token sequences for metrics and probes, drawn from an explicit seed (paper, appendix C)."""

from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from curator.artifacts.fields import Probe
from curator.artifacts.files import load_array
from curator.errors import CuratorError, UsageError

if TYPE_CHECKING:
    from curator.corpus import Corpus

_PROBE = Probe()


@dataclass(frozen=True, kw_only=True)
class ProbeSettings:
    """How probe sequences are drawn.

    Attributes:
        sequences: how many.
        min_length, max_length: the length L is uniform in [min_length, max_length] tokens; a repeated
            sequence has 2 L.
        seed: of the draw. Probes of other seeds give other rankings: report the variation.
        ids: [n] token ids to draw from; None draws from all of the vocabulary.
        corpus, tokenizer: what was trained on, opened or where it lies, and the ``tokenizer.json``, for probes that
            need them; None where they are not known.
        ranked: the samples of ``corpus`` that are scored; None where there are none. This, those and ``ids`` are no
            settings, and in no manifest: what is known of one model (`curator.units.probe_ids`).
    """

    sequences: int = _PROBE.sequences
    min_length: int = _PROBE.min_length
    max_length: int = _PROBE.max_length
    seed: int = _PROBE.seed
    ids: np.ndarray | None = field(default=None, compare=False, repr=False)
    corpus: "Corpus | Path | None" = field(default=None, compare=False, repr=False)
    tokenizer: Path | None = field(default=None, compare=False, repr=False)
    ranked: range | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        Probe(**self.recorded())  # its rules

    @staticmethod
    def of(probe: Probe) -> "ProbeSettings":
        """What an experiment says of its probe."""
        names = ("sequences", "min_length", "max_length", "seed")
        return ProbeSettings(**{name: getattr(probe, name) for name in names})

    def recorded(self) -> dict[str, Any]:
        """The settings as JSON."""
        return {one.name: getattr(self, one.name) for one in fields(self) if one.compare}


@dataclass(frozen=True)
class Sequences:
    """Token sequences, padded on the right (harmless under causal attention).

    Attributes:
        tokens: [n, longest] int64.
        lengths: [n] int64, tokens of each sequence before the padding.
        period: [n] int64, distance between the copies where a sequence was drawn as two copies, else None.
        control: [n, longest] int64, the sequences with another first copy, where a probe compares with that; else None.
    """

    tokens: Tensor
    lengths: Tensor
    period: Tensor | None = None
    control: Tensor | None = None

    def to(self, device: torch.device | str) -> "Sequences":
        period, control = (None if one is None else one.to(device) for one in (self.period, self.control))
        return Sequences(self.tokens.to(device), self.lengths.to(device), period, control)

    def valid(self) -> Tensor:
        """[n, longest] True where a token is not padding."""
        return torch.arange(self.tokens.shape[1], device=self.tokens.device) < self.lengths[:, None]


def earlier_copies(tokens: Tensor, valid: Tensor) -> Tensor:
    """[n, t, s] True where position s < t holds the same token as t, and t is no padding.

    Args:
        tokens: [n, T]; valid: [n, T] False at padding, which is on the right.
    """
    positions = torch.arange(tokens.shape[1], device=tokens.device)
    same = tokens[:, :, None] == tokens[:, None, :]
    return same & (positions[:, None] > positions) & valid[:, :, None]


def draw_repeated(settings: ProbeSettings, vocab_size: int, max_length: int) -> Sequences:
    """L distinct random tokens followed by the same L tokens (paper, appendix C, R = 2).

    They are drawn from ``settings.ids``, or from all ``vocab_size`` ids. L is uniform in [min_length, max_length], cut
    so that 2 L fits the model's ``max_length`` positions.
    """
    return _draw(settings, vocab_size, min(settings.max_length, max_length // 2), copies=2)


def draw_random(settings: ProbeSettings, vocab_size: int, max_length: int) -> Sequences:
    """Distinct random tokens, nothing repeated; as long as a repeated sequence would be: 2 L."""
    doubled = replace(settings, min_length=2 * settings.min_length, max_length=2 * settings.max_length)
    return _draw(doubled, vocab_size, min(doubled.max_length, max_length), copies=1)


def longest_of(settings: ProbeSettings, positions: int, vocab_size: int) -> int:
    """The longest L that fits ``positions``.

    Raises:
        UsageError: not even two tokens fit.
    """
    longest = min(settings.max_length, positions)
    if longest < 2:
        raise UsageError(
            f"cannot draw sequences of up to {longest} tokens for a vocabulary of {vocab_size} and this model's "
            "positions"
        )
    return longest


def _draw(settings: ProbeSettings, vocab_size: int, longest: int, copies: int) -> Sequences:
    shortest = min(settings.min_length, longest)
    ids = (
        vocab_size if settings.ids is None else settings.ids
    )  # equal draws where ids are all of the vocabulary
    count = vocab_size if settings.ids is None else len(settings.ids)
    if longest < 2 or longest > count:
        among = "" if settings.ids is None else f"{count} known ids of "
        mend = "; ask for shorter ones ('max_length' of the probe), or for ids 'all'" if among else ""
        raise UsageError(
            f"cannot draw sequences of up to {longest} distinct tokens for {among}a vocabulary of {vocab_size} "
            f"and this model's positions{mend}"
        )
    random = np.random.default_rng([settings.seed, copies])
    lengths = random.integers(shortest, longest + 1, size=settings.sequences)
    tokens = np.zeros((settings.sequences, copies * longest), np.int64)
    for row, length in zip(tokens, lengths, strict=True):
        row[: copies * length] = np.tile(random.choice(ids, size=length, replace=False), copies)
    period = torch.from_numpy(lengths.astype(np.int64)) if copies == 2 else None
    return Sequences(torch.from_numpy(tokens), torch.from_numpy(copies * lengths.astype(np.int64)), period)


def load_sequences(path: Path, vocab_size: int, max_length: int | None = None) -> Sequences:
    """Given probe tokens: a [n, length] integer ``.npy``.

    Raises:
        CuratorError: not such an array, longer than the model's positions, or a token id outside the
            vocabulary (names the row and column).
    """
    array = load_array(path, mmap=False)
    if array.ndim != 2 or array.dtype.kind not in "iu" or 0 in array.shape or array.shape[1] < 2:
        raise CuratorError(
            f"{path}: probe tokens must be a [sequences, length >= 2] integer array, not {array.dtype} {array.shape}"
        )
    if max_length is not None and array.shape[1] > max_length:
        raise CuratorError(
            f"{path}: probe sequences have {array.shape[1]} tokens, but the model has {max_length} positions"
        )
    bad = np.argwhere((array < 0) | (array.astype(np.int64) >= vocab_size))
    if len(bad):
        row, column = bad[0]
        raise CuratorError(
            f"{path}: token id {array[row, column]} at row {row}, column {column} is outside the "
            f"vocabulary of {vocab_size}"
        )
    tokens = torch.from_numpy(array.astype(np.int64))
    return Sequences(tokens, torch.full((len(tokens),), tokens.shape[1]))
