"""Held-out rows: text of the library that no row of the corpus was made of, drill rows included."""

from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from curator.corpus import EmbeddedSettings, build_embedded, library
from curator.corpus.held_out import held_out_rows
from curator.errors import CuratorError

SETTINGS = EmbeddedSettings(n_samples=300, seq_length=32, vocab_size=300, drill_fraction=0.4)


@pytest.fixture(autouse=True)
def few_files(monkeypatch: pytest.MonkeyPatch) -> None:
    names = library.library_files(library.library_folder())
    some = [name for name in names if name in ("argparse.py", "ast.py", "bdb.py", "calendar.py")]
    monkeypatch.setattr(library, "library_files", lambda folder: some)


def test_held_out_rows_stand_where_no_row_was_cut(tmp_path: Path) -> None:
    corpus = build_embedded(tmp_path / "corpus", SETTINGS)
    tokenizer = Tokenizer.from_file(str(corpus.tokenizer_file))
    free: dict[str, np.ndarray] = {}
    texts = {}
    for name in library.library_files(library.library_folder()):
        [text] = library.read_texts(library.library_folder(), [name])
        texts[name] = np.array(tokenizer.encode(text).ids)
        free[name] = np.ones(len(texts[name]), bool)
    for sample in range(len(corpus)):
        told = corpus.provenance(sample)
        free[told["file"]][told["offset"] : told["offset"] + 33] = False
    rows = held_out_rows(corpus, 64)
    assert rows.shape == (64, 33) and len(np.unique(rows, axis=0)) > 60
    for row in rows:
        windows = (
            (name, np.lib.stride_tricks.sliding_window_view(tokens, 33)) for name, tokens in texts.items()
        )
        places = [(name, start) for name, every in windows for start in np.flatnonzero((every == row).all(1))]
        assert any(free[name][start : start + 33].all() for name, start in places)
    assert np.array_equal(rows, held_out_rows(corpus, 64)) and not np.array_equal(
        rows, held_out_rows(corpus, 64, 1)
    )


def test_a_corpus_that_is_all_of_the_library_leaves_none(tmp_path: Path) -> None:
    corpus = build_embedded(tmp_path / "corpus", SETTINGS.changed(n_samples=20_000))
    with pytest.raises(
        CuratorError, match=r"leave \d+ held-out rows of 33 tokens in the library, and 64 are asked for"
    ):
        held_out_rows(corpus, 64)
