"""Does a corpus fit a model? Its row width and its token ids, checked before any work begins."""

import numpy as np

from curator.corpus.base import Corpus
from curator.corpus.whole import shown
from curator.errors import CuratorError

CHUNK_TOKENS = 1 << 22
PROGRESS_TOKENS = 1 << 28
"""A scan of more tokens than this (about a second) shows its progress."""


def check_row_width(corpus: Corpus, seq_length: int) -> None:
    """Refuse a corpus whose rows are not ``seq_length + 1`` tokens wide.

    Raises:
        CuratorError: naming the corpus and both widths.
    """
    if corpus.row_width != seq_length + 1:
        raise CuratorError(
            f"{corpus.path}: rows are {corpus.row_width} tokens wide (seq_length {corpus.row_width - 1}), "
            f"but seq_length {seq_length} needs rows of {seq_length + 1}; "
            f"set seq_length to {corpus.row_width - 1}, or give the corpus this model is trained on"
        )


def check_tokens(corpus: Corpus, vocab_size: int, first: int = 0, last: int | None = None) -> int:
    """Read samples ``first`` to ``last - 1`` (default: all) and refuse a token id outside the vocabulary.

    Returns:
        The highest id; -1 where there are no samples.

    Raises:
        CuratorError: at the first such id, naming the file, sample, column, id and vocabulary size.
    """
    last = len(corpus) if last is None else last
    corpus.rows(slice(first, last))  # the range itself; a view where the rows lie in one file
    highest = -1
    chunk = max(1, CHUNK_TOKENS // corpus.row_width)
    long = (last - first) * corpus.row_width > PROGRESS_TOKENS
    with shown("checking token ids", last - first, "samples", long) as advance:
        for start in range(first, last, chunk):
            rows = corpus.rows(slice(start, min(start + chunk, last)))
            highest = max(highest, check_ids(corpus, start, rows, vocab_size))
            advance(len(rows))
    return highest


def check_ids(corpus: Corpus, first: int, rows: np.ndarray, vocab_size: int) -> int:
    """Refuse ids outside the vocabulary in ``rows``, which are the samples from ``first`` on; returns the highest.

    Raises:
        CuratorError: at the first such id, naming the file, sample, column, id and vocabulary size.
    """
    highest = int(rows.max())
    if highest >= vocab_size or rows.min() < 0:
        row, column = np.argwhere((rows < 0) | (rows >= vocab_size))[0].tolist()
        raise CuratorError(
            f"{corpus.file_of(first + row)}: sample {first + row}, column {column}: token id "
            f"{rows[row, column]} is outside the vocabulary of {vocab_size} "
            f"(ids 0 to {vocab_size - 1}); is the model's vocab_size that of the "
            "tokenizer which wrote this corpus?"
        )
    return highest
