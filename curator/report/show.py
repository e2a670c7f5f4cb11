"""Samples of a ranking, or rows of any corpus, as people read them: text with what repeats marked, and provenance.

What repeats in a sample is what an induction head can learn from, so spans of at least three tokens that
occur twice in the row are marked. `view_samples` gathers what a ranking says of its samples, `view_rows` what a corpus
alone says of its rows; ``writers.py`` writes it out.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from tokenizers import Tokenizer

from curator.corpus.base import Corpus
from curator.corpus.token_text import TokenText
from curator.errors import CuratorError, UsageError
from curator.ranking.ranking import Ranking, highest_first
from curator.report.sample_view import SampleView

Order = Literal["top", "bottom", "random", "first"]
UNRANKED = ("random", "first")
"""Orders that need no scores."""
MIN_SPAN = 3


def view_samples(
    ranking: Ranking,
    corpus: Corpus,
    unit: str | None = None,
    *,
    select: Order = "top",
    count: int = 5,
    seed: int = 0,
    tokenizer: Tokenizer | Path | None = None,
    batch_size: int | None = None,
    min_span: int = MIN_SPAN,
) -> list[SampleView]:
    """The ``count`` highest (falling), lowest (rising), randomly drawn or first samples of one unit.

    Raises:
        CuratorError: another corpus than was ranked, a score that is not a number, or no such tokenizer.
        UsageError: no such unit or order, or a count below 1; more than there are gives all.
    """
    ranking.check_corpus(corpus.fingerprint(), corpus.path)
    _check_asked(count, select)
    row = ranking.unit_index(unit)
    unit = ranking.units[row]
    scores = np.asarray(ranking.scores[row], np.float64)
    bad = np.flatnonzero(~np.isfinite(scores))
    if len(bad):
        sample = ranking.samples_at(bad[0])
        raise CuratorError(f"{ranking.path}: the score of {unit} for sample {sample} is {scores[bad[0]]}")
    falling = highest_first(scores)
    ranks = np.empty(len(scores), np.int64)
    ranks[falling] = np.arange(1, len(scores) + 1)
    rising = scores[falling[::-1]]
    if select in UNRANKED:
        columns = _unranked(len(scores), select, count, seed)
    else:
        columns = (falling if select == "top" else highest_first(-scores))[:count]

    samples, has_losses = ranking.samples_at(columns), ranking.has_losses
    text = TokenText(tokenizer)
    blocks = {key.block: number for number, key in enumerate(ranking.block_keys) if key.unit == unit}
    return [
        SampleView(
            unit=unit,
            step=sample // batch_size if batch_size else None,
            score=float(scores[column]),
            error=None if ranking.errors is None else float(ranking.unit_errors(unit)[column]),
            rank=int(ranks[column]),
            ranked=len(scores),
            percentile=100 * int(np.searchsorted(rising, scores[column])) / len(scores),
            loss=float(ranking.losses[column]) / (len(tokens) - 1) if has_losses else None,
            block_scores={name: float(ranking.blocks[number, column]) for name, number in blocks.items()},
            **_seen(corpus, sample, tokens, text, min_span),
        )
        for column, sample, tokens in zip(columns.tolist(), samples.tolist(), corpus.rows(samples))
    ]


def view_rows(
    corpus: Corpus,
    *,
    select: Order = "first",
    count: int = 5,
    seed: int = 0,
    tokenizer: Tokenizer | Path | None = None,
    batch_size: int | None = None,
    min_span: int = MIN_SPAN,
) -> list[SampleView]:
    """The ``count`` first rows of a corpus, or as many drawn at random.

    Raises:
        CuratorError: no such tokenizer.
        UsageError: a count below 1, or an order that needs the scores of a ranking.
    """
    _check_asked(count, select, UNRANKED)
    rows = _unranked(len(corpus), select, count, seed)
    text = TokenText(tokenizer)
    return [
        SampleView(
            step=row // batch_size if batch_size else None, **_seen(corpus, row, tokens, text, min_span)
        )
        for row, tokens in zip(rows.tolist(), corpus.rows(rows))
    ]


def _check_asked(count: int, select: str, orders: Sequence[str] = get_args(Order)) -> None:
    if count < 1 or select not in orders:
        raise UsageError(f"cannot show {count} {select} samples: give 1 or more of {', '.join(orders)}")


def _unranked(n: int, select: str, count: int, seed: int) -> np.ndarray:
    """[count] of n positions, drawn at random or the first ones."""
    if select == "random":
        return np.random.default_rng(seed).permutation(n)[:count]
    return np.arange(min(n, count))


def _seen(corpus: Corpus, sample: int, tokens: np.ndarray, text: TokenText, min_span: int) -> dict[str, Any]:
    """What a sample is without any scores."""
    spans = repeated_spans(tokens, min_span)
    return {
        "sample": sample,
        "provenance": corpus.told_of(sample),
        "tokens": len(tokens),
        "spans": spans,
        "segments": _segments(tokens, spans, text),
    }


def repeated_spans(tokens: np.ndarray, min_length: int = MIN_SPAN) -> list[tuple[int, int]]:
    """[start, stop) of every maximal span of ``min_length`` tokens or more that occurs elsewhere in the row.

    Maximal: neither a token to the left nor one to the right can be added so that the longer span still
    occurs elsewhere. Occurrences may overlap, and so may spans. Time n², memory n: 2,049 tokens take 20 ms.
    """
    if min_length < 1:
        raise UsageError(f"the shortest repeated span must be 1 token or more, not {min_length}")
    n = len(tokens)
    common = np.zeros(n + 1, np.int32)  # of the suffixes from start + 1 and from j: their common prefix
    spans: list[tuple[int, int]] = []
    for start in range(n - 1, -1, -1):
        common[:n] = np.where(tokens == tokens[start], common[1:] + 1, 0)
        common[start] = 0  # a span is not its own repetition
        stop = start + int(common[:n].max())
        if spans and spans[-1][1] == stop:
            spans.pop()  # the same span, begun further left
        if stop - start >= min_length:
            spans.append((start, stop))
    return spans[::-1]


def _segments(
    tokens: np.ndarray, spans: Sequence[tuple[int, int]], text: TokenText
) -> list[tuple[str, bool]]:
    repeated = np.zeros(len(tokens), bool)
    for start, stop in spans:
        repeated[start:stop] = True
    borders = (np.flatnonzero(np.diff(repeated)) + 1).tolist()
    flags = [bool(repeated[start]) for start in (0, *borders)]
    return [(piece, flag) for piece, flag in zip(text.pieces(tokens, borders), flags) if piece]
