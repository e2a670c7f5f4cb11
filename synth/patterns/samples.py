"""The ranking's samples as the text that patterns are distilled from, and the part that is held out.

Text is what the tokenizer decodes, unescaped: patterns must describe what the model reads, not how a terminal shows
it (``curator/corpus/token_text.py`` does that). Held-out samples are drawn by seed among the top ones; distilling never
sees them, so that `audit patterns` can ask whether a pattern also occurs where it was not looked for.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from curator.corpus import Corpus
from curator.errors import CuratorError, UsageError
from curator.models import tokenizer_file
from curator.ranking.ranking import Ranking, highest_first


@dataclass(frozen=True, eq=False)
class SampleText:
    """One sample: its index, its score (positive = training on it raises the probe), its text and tokens ``[n]``."""

    sample: int
    score: float
    text: str
    tokens: np.ndarray


@dataclass(frozen=True)
class Split:
    """Sample indices, by falling score: what is distilled, and what is held out."""

    distilled: np.ndarray
    held_out: np.ndarray


def split_top(ranking: Ranking, unit: str | None, top: int, holdout: float, seed: int) -> Split:
    """The ``top`` samples of one unit with a positive score, a share ``holdout`` of them held out.

    Raises:
        UsageError: nothing is left to distill.
        CuratorError: scores that are not numbers, or no positive ones.
    """
    scores = np.asarray(ranking.unit_scores(unit), np.float64)
    if not np.isfinite(scores).all():
        raise CuratorError(f"{ranking.path}: some scores are not numbers; make the ranking again")
    order = highest_first(scores)[:top]
    order = order[scores[order] > 0]
    if not len(order):
        raise CuratorError(f"{ranking.path}: no sample has a positive score, so there is nothing to distill")
    held = np.zeros(len(order), bool)
    held[np.random.default_rng(seed).permutation(len(order))[: round(holdout * len(order))]] = True
    if held.all():
        raise UsageError(f"--holdout {holdout:g} of {len(order)} samples leaves none to distill")
    return Split(ranking.samples_at(order[~held]), ranking.samples_at(order[held]))


def read_samples(
    ranking: Ranking, unit: str | None, corpus: Corpus, tokenizer: Tokenizer, samples: np.ndarray
) -> list[SampleText]:
    """These samples, in the order given, with their texts."""
    scores = ranking.scores_of(samples, unit)
    rows = corpus.rows(samples)
    texts = decode(tokenizer, rows)
    return [
        SampleText(sample, float(score), text, row)
        for sample, score, text, row in zip(samples.tolist(), scores, texts, rows)
    ]


def decode(tokenizer: Tokenizer, rows: np.ndarray | Sequence[np.ndarray]) -> list[str]:
    """The text of each row; bytes that are no UTF-8 become U+FFFD."""
    return tokenizer.decode_batch([row.tolist() for row in rows], skip_special_tokens=False)


def find_tokenizer_file(given: Path | None, corpus: Corpus, model: str | None) -> Path:
    """The tokenizer.json given (or its folder), else the one beside the corpus, else the model's.

    Raises:
        CuratorError: there is none.
    """
    file = given or corpus.tokenizer_file or (None if model is None else tokenizer_file(model))
    if file is None:
        other = "" if model is None else f" or the model {model}"
        raise CuratorError(f"no tokenizer.json beside the corpus {corpus.path}{other}; give --tokenizer FILE")
    return file / "tokenizer.json" if file.is_dir() else file
