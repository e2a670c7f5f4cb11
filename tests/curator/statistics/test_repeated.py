"""Which tokens an earlier bigram predicts: the last occurrence, or any, against a walk along the row."""

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from curator.corpus.repetition import copyable, repeated


@given(st.integers(1, 40), st.integers(1, 30_000), st.integers(0, 2**32 - 1))
@settings(max_examples=200, deadline=None)
def test_repeated_tokens_are_those_of_bigrams_that_stood_before(width: int, ids: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    rows = random.integers(0, ids, (5, width)).astype(np.uint16)
    rows[2:, width // 2 :] = rows[2:, : width - width // 2]
    found = repeated(rows)
    for row, hits in zip(rows.tolist(), found.tolist()):
        bigrams = list(pairwise(row))
        assert hits == [False, *(bigram in bigrams[:place] for place, bigram in enumerate(bigrams))]
    assert (copyable(rows) <= found).all(), "what followed the last occurrence followed one"
