"""Which tokens of a sample a plan leaves out of the loss, by name; every name is a function of the row.

`copyable` and `repeated` are those of `curator.corpus.repetition`: a mask leaves out what the statistic counts.
`random` is their control: as many tokens of each row as are copyable, at places drawn for the sample.
"""

from collections.abc import Callable, Iterator

import numpy as np

from curator.corpus import Corpus
from curator.corpus.repetition import CHUNK_TOKENS, copyable, repeated
from curator.plan import token_masks
from curator.plan.plan import Plan
from curator.planning.settings import Tokens
from curator.progress import progress

ROW_RULES: dict[Tokens, Callable[[np.ndarray], np.ndarray]] = {"copyable": copyable, "repeated": repeated}
"""[rows, width] bool of rows [rows, width]: the tokens that are left out."""


def counted(tokens: Tokens, rows: np.ndarray, samples: np.ndarray, seed: int) -> np.ndarray:
    """[n, width - 1] bool which tokens of ``rows`` [n, width] still count when ``tokens`` are left out.

    Args:
        samples: [n] of the rows; with ``seed``, what random places depend on.
    """
    if tokens != "random":
        return ~ROW_RULES[tokens](rows)[:, 1:]
    left = ~copyable(rows)[:, 1:]
    for row, sample in zip(left, samples.tolist()):
        np.random.default_rng([seed, sample]).shuffle(row)
    return left


def mask_tokens(plan: Plan, corpus: Corpus, samples: np.ndarray, tokens: Tokens, seed: int = 0) -> Plan:
    """``plan`` without the loss of ``tokens`` of these samples of ``corpus``, each time they come."""
    targets = corpus.row_width - 1
    parts = [np.zeros((0, -(-targets // 8)), np.uint8)]
    with progress(f"{tokens} tokens", len(samples)) as advance:
        for some in chunks(samples, corpus.row_width):
            parts.append(token_masks.pack(counted(tokens, corpus.rows(some), some, seed)))
            advance(len(some))
    return plan.mask_tokens(samples, np.concatenate(parts), targets)


def chunks(values: np.ndarray, row_width: int) -> Iterator[np.ndarray]:
    """``values`` in parts whose rows are looked at together."""
    size = max(1, CHUNK_TOKENS // row_width)
    for start in range(0, len(values), size):
        yield values[start : start + size]
