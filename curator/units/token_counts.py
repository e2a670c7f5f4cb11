"""How often each token id occurs in a corpus: which ids there are, and how frequent."""

from functools import lru_cache

import numpy as np

from curator.corpus import Corpus

READ_TOKENS, READ_BLOCKS = 1 << 24, 256
"""A corpus of more tokens than this is read in so many evenly spaced blocks, of so many tokens together."""


@lru_cache(maxsize=8)
def token_counts(corpus: Corpus, vocab_size: int) -> tuple[np.ndarray, int]:
    """(occurrences of the ids 0 to ``vocab_size - 1``, int64; how many rows were read); other ids do not count.

    All rows, or evenly spaced blocks of ``READ_TOKENS`` tokens together.
    """
    n, counts = len(corpus), np.zeros(vocab_size, np.int64)
    block = max(READ_TOKENS // READ_BLOCKS // corpus.row_width, 1)
    if n <= READ_BLOCKS * block:
        starts = range(0, n, block)
    else:
        starts = np.linspace(0, n - block, READ_BLOCKS).astype(np.int64).tolist()
    rows = 0
    for start in starts:
        tokens = np.asarray(corpus.rows(slice(start, min(start + block, n))))
        counts += np.bincount(tokens[(tokens >= 0) & (tokens < vocab_size)], minlength=vocab_size)
        rows += len(tokens)
    counts.flags.writeable = False  # shared by all who ask
    return counts, rows
