"""Probe sequences that are like the corpus: tokens drawn as often as they occur in it, or rows of it as they are.

Tokens drawn alike from the vocabulary are mostly ones that are hardly ever trained, and samples that hold those rank
first: rows of rare bytes. Tokens as frequent as in the corpus ask for what the model meets.
"""

from pathlib import Path

import numpy as np
import torch

from curator.corpus import Corpus, open_corpus
from curator.errors import UsageError
from curator.units.sequences import ProbeSettings, Sequences, longest_of
from curator.units.token_counts import token_counts


def draw_repeated_frequent(settings: ProbeSettings, vocab_size: int, max_length: int) -> Sequences:
    """L tokens drawn by their frequency in the corpus, independently, and the same L tokens again.

    L is uniform in [min_length, max_length], cut so that 2 L fits ``max_length`` positions. ``control`` is the same
    with another first copy, drawn alike.

    Raises:
        UsageError: no corpus is known.
    """
    longest = longest_of(settings, max_length // 2, vocab_size)
    random, frequencies = np.random.default_rng([settings.seed, 3]), _frequencies(settings, vocab_size)
    lengths = random.integers(min(settings.min_length, longest), longest + 1, size=settings.sequences)
    tokens = np.zeros((settings.sequences, 2 * longest), np.int64)
    control = np.zeros_like(tokens)
    for row, other, length in zip(tokens, control, lengths, strict=True):
        drawn = random.choice(vocab_size, size=2 * length, p=frequencies)
        row[: 2 * length] = np.tile(drawn[:length], 2)
        other[: 2 * length] = np.roll(drawn, length)
    period = torch.from_numpy(lengths.astype(np.int64))
    return Sequences(torch.from_numpy(tokens), 2 * period, period, torch.from_numpy(control))


def draw_frequent(settings: ProbeSettings, vocab_size: int, max_length: int) -> Sequences:
    """Tokens drawn by their frequency in the corpus, independently; as long as a repeated sequence would be: 2 L.

    Raises:
        UsageError: no corpus is known.
    """
    longest = longest_of(settings, max_length // 2, vocab_size)
    random, frequencies = np.random.default_rng([settings.seed, 4]), _frequencies(settings, vocab_size)
    lengths = 2 * random.integers(min(settings.min_length, longest), longest + 1, size=settings.sequences)
    tokens = np.zeros((settings.sequences, 2 * longest), np.int64)
    for row, length in zip(tokens, lengths, strict=True):
        row[:length] = random.choice(vocab_size, size=length, p=frequencies)
    return Sequences(torch.from_numpy(tokens), torch.from_numpy(lengths.astype(np.int64)))


def draw_rows(settings: ProbeSettings, vocab_size: int, max_length: int) -> Sequences:
    """Rows of the corpus, without their last label and no longer than ``max_length``; by sample index.

    From outside of ``settings.ranked`` where there are enough, so that no sample is scored by a probe that holds it.

    Raises:
        UsageError: no corpus is known.
    """
    corpus, ranked = _corpus(settings), settings.ranked or range(0)
    outside = len(corpus) - len(ranked)
    random = np.random.default_rng([settings.seed, 5])
    count = min(settings.sequences, len(corpus))
    if outside >= count:
        places = np.sort(random.choice(outside, count, replace=False))
        samples = np.where(places < ranked.start, places, places + len(ranked))
    else:
        samples = np.sort(random.choice(len(corpus), count, replace=False))
    width = min(corpus.row_width - 1, max_length)
    rows = torch.from_numpy(corpus.rows(samples)[:, :width].astype(np.int64))
    return Sequences(rows, torch.full((count,), width))


def _corpus(settings: ProbeSettings) -> Corpus:
    if settings.corpus is None:
        raise UsageError(
            "this probe needs the corpus, whose tokens or rows it draws, and none is known here: give it (--corpus), "
            "or ask the paper's question, of tokens drawn alike (--probe paper, in a file probe: {name: paper})"
        )
    return open_corpus(settings.corpus) if isinstance(settings.corpus, Path) else settings.corpus


def _frequencies(settings: ProbeSettings, vocab_size: int) -> np.ndarray:
    """[vocab_size] float64, 1 together."""
    counts = token_counts(_corpus(settings), vocab_size)[0].astype(np.float64)
    if settings.ids is not None:
        known = np.zeros(vocab_size, bool)
        known[settings.ids] = True
        counts[~known] = 0
    if not counts.any():
        raise UsageError("no id of the vocabulary occurs in the corpus; is it another model's?")
    return counts / counts.sum()
