"""Rows of the library's text that an embedded corpus does not hold: for losses on what was not trained on.

They are windows of the same files, which overlap with no row's window, of drill rows neither, whose tokens come from
such windows. The corpus stays as it is: a run that is measured on held-out rows trains on the same rows as one that is
not.
"""

import numpy as np
from tokenizers import Tokenizer

from curator.corpus import library
from curator.corpus.embedded import EmbeddedCorpus
from curator.errors import CuratorError


def held_out_rows(corpus: EmbeddedCorpus, count: int, seed: int = 0) -> np.ndarray:
    """[count, row_width] int64, natural text; no file gives more than 1/32 of them where there are files enough.

    Raises:
        CuratorError: the corpus holds so much of the library that fewer are left.
    """
    folder, width = library.library_folder(), corpus.row_width
    names = library.library_files(folder)
    tokenizer = Tokenizer.from_file(str(corpus.tokenizer_file))
    random, most = np.random.default_rng([seed, 7]), -(-count // 32)
    found: list[np.ndarray] = []
    more: list[np.ndarray] = []
    for file_id in random.permutation(len(names)).tolist():
        [text] = library.read_texts(folder, [names[file_id]])
        tokens = np.array(tokenizer.encode(text).ids, np.int64)
        free = ~_taken(corpus.windows_of(names[file_id]), len(tokens), width)
        starts = _whole_windows(free, width)
        windows = [tokens[start : start + width] for start in random.permutation(starts).tolist()]
        found, more = found + windows[:most], more + windows[most:]
        if len(found) >= count:
            break
    found = (found + more)[:count]
    if len(found) == count:
        return np.array(found)
    raise CuratorError(
        f"{corpus.path}: {len(corpus):,} rows leave {len(found)} held-out rows of {width} tokens in the library, and "
        f"{count} are asked for; lower 'held_out_rows' or the number of steps, or measure 'icl' on a text ('icl_text')"
    )


def _taken(offsets: np.ndarray, length: int, width: int) -> np.ndarray:
    """[length] whether a token stands in a window that begins at one of ``offsets``."""
    change = np.zeros(length + width + 1, np.int64)
    np.add.at(change, offsets, 1)
    np.add.at(change, offsets + width, -1)
    return np.cumsum(change)[:length] > 0


def _whole_windows(free: np.ndarray, width: int) -> np.ndarray:
    """Starts of windows side by side within runs of free tokens."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], free, [False]]).astype(np.int8)))
    runs = edges.reshape(-1, 2)
    starts = [np.arange(first, stop - width + 1, width) for first, stop in runs.tolist()]
    return np.concatenate(starts) if starts else np.zeros(0, np.int64)
