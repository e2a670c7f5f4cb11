"""Data sets that datatrove and Megatron wrote (``megatron_writers/README.md``), as rows and in GPT-NeoX's order."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from laid import lay

from curator.corpus import open_corpus
from curator.errors import CuratorError

HERE = Path(__file__).parent / "megatron_writers"
EXPECTED = json.loads((HERE / "expected.json").read_text())


@pytest.mark.parametrize("kind", ["uint16", "int32"])
@pytest.mark.parametrize("writer", ["datatrove", "megatron"])
def test_packed_rows_are_a_corpus(writer, kind):
    corpus = open_corpus(HERE / f"{writer}-{kind}-rows")
    assert (len(corpus), corpus.row_width, corpus.dtype) == (5, 9, np.dtype(kind))
    np.testing.assert_array_equal(corpus.rows(slice(None)), EXPECTED[f"{kind}-rows"])
    assert corpus.rows(slice(None)).max() == {"uint16": 59_999, "int32": 69_999}[kind]


@pytest.mark.parametrize("kind", ["uint16", "int32"])
@pytest.mark.parametrize("writer", ["datatrove", "megatron"])
def test_documents_are_read_in_gpt_neox_order(tmp_path, writer, kind):
    name = f"{writer}-{kind}-documents"
    with pytest.raises(CuratorError, match="row 0 has 8 tokens, row 1 has 2"):
        open_corpus(HERE / name)
    for suffix in (".bin", ".idx"):
        shutil.copyfile(HERE / f"{name}{suffix}", tmp_path / f"{name}{suffix}")
    entries = [np.array(document) for document in EXPECTED[f"{kind}-documents"]]
    if writer == "megatron":  # GPT-NeoX's documents are the index's entries: sequences
        entries = [part for entry in entries for part in np.split(entry, [9] if len(entry) > 9 else [])]
    laid = lay(tmp_path, [len(entry) for entry in entries], name=name, epochs=3, documents=entries)
    corpus = open_corpus(laid.map())
    assert corpus.dtype == np.dtype(kind) and len(corpus) == len(laid.rows) - 1 > 15
    np.testing.assert_array_equal(corpus.rows(slice(None)), laid.rows[:-1])
