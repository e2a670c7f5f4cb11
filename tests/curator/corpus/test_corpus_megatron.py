"""The Megatron reader, against files that are written here byte by byte from the format."""

import os
import re
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curator.corpus import files, open_corpus
from curator.corpus.megatron import MegatronCorpus
from curator.errors import CuratorError

CODES = {"uint8": 1, "int8": 2, "int16": 3, "int32": 4, "int64": 5, "uint16": 8}


def index_bytes(sizes, pointers, code, boundaries=None, magic=b"MMIDIDX\x00\x00", version=1):
    boundaries = list(range(len(sizes) + 1)) if boundaries is None else boundaries
    return (
        magic
        + struct.pack("<QBQQ", version, code, len(sizes), len(boundaries))
        + struct.pack(f"<{len(sizes)}i", *sizes)
        + struct.pack(f"<{len(pointers)}q", *pointers)
        + struct.pack(f"<{len(boundaries)}q", *boundaries)
    )


def write(folder: Path, rows: np.ndarray, name: str = "document") -> Path:
    """A ``.bin``/``.idx`` pair; returns the prefix."""
    folder.mkdir(parents=True, exist_ok=True)
    n, width = rows.shape
    pointers = [row * width * rows.itemsize for row in range(n)]
    index = index_bytes([width] * n, pointers, CODES[rows.dtype.name])
    (folder / f"{name}.idx").write_bytes(index)
    (folder / f"{name}.bin").write_bytes(rows.tobytes())
    return folder / name


def split(prefix: Path, cuts: list[int], inclusive: bool = True) -> None:
    """Cut the ``.bin`` at these bytes into released pieces, and remove it."""
    whole = prefix.with_name(prefix.name + ".bin")
    data = whole.read_bytes()
    whole.unlink()
    bounds = [0, *sorted(cuts), len(data)]
    total = len(bounds) - 2 if inclusive else len(bounds) - 1
    for k in range(len(bounds) - 1):
        file = prefix.with_name(f"{prefix.name}-{k:05}-of-{total:05}.bin")
        file.write_bytes(data[bounds[k] : bounds[k + 1]])


def tokens(n=7, width=5, dtype="uint16", seed=0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 100, (n, width)).astype(dtype)


def memory_map_under(array: np.ndarray) -> np.memmap | None:
    while array is not None and not isinstance(array, np.memmap):
        array = array.base
    return array


def refusal(path: Path) -> str:
    with pytest.raises(CuratorError) as caught:
        open_corpus(path)
    return str(caught.value)


@pytest.mark.parametrize("dtype", CODES)
def test_rows_equal_what_was_written(tmp_path, dtype):
    rows = tokens(dtype=dtype)
    corpus = open_corpus(write(tmp_path, rows))
    assert (len(corpus), corpus.row_width, corpus.dtype) == (7, 5, np.dtype(dtype))
    np.testing.assert_array_equal(corpus.rows(slice(None)), rows)
    np.testing.assert_array_equal(corpus.rows(slice(1, 6, 2)), rows[1:6:2])
    np.testing.assert_array_equal(corpus.rows(np.array([6, 0, 0, 3])), rows[[6, 0, 0, 3]])
    assert corpus.rows(slice(3, 3)).shape == (0, 5)
    assert corpus.rows(np.array([], dtype=int)).shape == (0, 5)


def test_prefix_bin_idx_and_folder_are_one_data_set(tmp_path):
    prefix = write(tmp_path / "data", tokens(), name="pile_0.87_deduped")
    np.save(tmp_path / "data" / "pile_0.87_deduped_train_shuffle_idx.npy", np.arange(7))  # NeoX's own maps
    paths = [prefix, f"{prefix}.bin", f"{prefix}.idx", tmp_path / "data"]
    for path in paths:
        np.testing.assert_array_equal(open_corpus(path).rows(slice(None)), tokens())


def test_a_slice_is_a_read_only_view_of_the_memory_map(tmp_path):
    corpus = open_corpus(write(tmp_path, tokens()))
    first, again = corpus.rows(slice(0, 4)), corpus.rows(slice(2, 7))
    assert memory_map_under(first) is not None
    assert np.shares_memory(first, again)
    assert not first.flags.writeable and first.flags.c_contiguous


@given(
    st.lists(st.integers(0, 70), max_size=6),
    st.booleans(),
    st.integers(0, 7),
    st.integers(0, 7),
    st.lists(st.integers(0, 6), max_size=9),
)
@settings(max_examples=60, deadline=None)
def test_pieces_give_the_rows_of_the_whole_file_wherever_it_is_cut(
    tmp_path_factory, cuts, inclusive, start, stop, samples
):
    rows = tokens()  # 70 bytes; cuts may be odd, repeated (an empty piece) or several in one row
    prefix = write(tmp_path_factory.mktemp("pieces"), rows)
    split(prefix, cuts, inclusive)
    corpus = open_corpus(prefix)
    chosen = corpus.rows(slice(start, stop))
    np.testing.assert_array_equal(chosen, rows[start:stop])
    assert chosen.flags.aligned
    np.testing.assert_array_equal(corpus.rows(np.array(samples, dtype=int)), rows[samples])


def test_rows_whole_in_a_piece_are_views_and_straddling_rows_are_right(tmp_path):
    rows = tokens(n=9)
    prefix = write(tmp_path, rows)
    split(prefix, [34])  # within row 3: rows 0-2 | row 3 | rows 4-8
    corpus = open_corpus(tmp_path / "document-00000-of-00001.bin")
    assert isinstance(corpus, MegatronCorpus) and len(corpus.files) == 2
    for part in (slice(0, 3), slice(4, 9)):
        assert memory_map_under(corpus.rows(part)) is not None
    assert memory_map_under(corpus.rows(slice(2, 5))) is None
    np.testing.assert_array_equal(corpus.rows(slice(None)), rows)
    assert corpus.file_of(3).name == "document-00000-of-00001.bin"
    assert corpus.file_of(4).name == "document-00001-of-00001.bin"


def test_pointers_are_followed_where_rows_are_not_in_order(tmp_path):
    rows, order = tokens(), [3, 0, 6, 1, 5, 2, 4]
    prefix = write(tmp_path, rows)
    pointers = [row * 10 for row in order]
    (tmp_path / "document.idx").write_bytes(index_bytes([5] * 7, pointers, 8))
    np.testing.assert_array_equal(open_corpus(prefix).rows(slice(1, 6)), rows[order][1:6])
    split(prefix, [13, 34])
    np.testing.assert_array_equal(open_corpus(prefix).rows(slice(None)), rows[order])
    np.testing.assert_array_equal(open_corpus(prefix).rows(np.array([2])), rows[[6]])


def test_rows_that_lie_over_each_other_are_refused_before_long_work(tmp_path):
    """A pointer that is possible and wrong is read as it stands; the whole index is asked first."""
    prefix = write(tmp_path, tokens())
    for pointers, expected in (
        ([0, 10, 20, 0, 40, 50, 60], "row 0 begins at 0 and row 3 at 0, so that they lie over each other"),
        ([60, 50, 42, 30, 20, 10, 0], "row 1 begins at 50 and row 2 at 42"),
    ):
        (tmp_path / "document.idx").write_bytes(index_bytes([5] * 7, pointers, 8))
        corpus = open_corpus(prefix)
        with pytest.raises(CuratorError, match=rf"document\.idx: {expected}"):
            corpus.check_index()
    (tmp_path / "document.idx").write_bytes(index_bytes([5] * 7, [30, 0, 60, 10, 50, 20, 40], 8))
    open_corpus(prefix).check_index()


def test_the_same_rows_have_one_fingerprint_in_every_format(tmp_path):
    rows = tokens()
    np.save(tmp_path / "rows.npy", rows.astype(np.int32))
    write(tmp_path / "whole", rows)
    split(write(tmp_path / "pieces", rows), [12, 34])
    paths = [tmp_path / "rows.npy", tmp_path / "whole", tmp_path / "pieces"]
    assert len({open_corpus(path).fingerprint() for path in paths}) == 1
    changed = rows.copy()
    changed[6, 4] += 1
    assert (
        open_corpus(write(tmp_path / "changed", changed)).fingerprint() != open_corpus(paths[0]).fingerprint()
    )
    assert open_corpus(paths[2]).describe()["files"] == [f"document-0000{k}-of-00002.bin" for k in range(3)]


def test_a_cut_bin_names_both_sizes_and_the_first_cut_row(tmp_path):
    prefix = write(tmp_path, tokens())
    os.truncate(f"{prefix}.bin", 57)
    message = refusal(prefix)
    assert "document.bin: cut short: document.idx says 70 bytes, there are 57; row 5 is the first" in message


def test_a_bin_that_is_too_long_does_not_belong_to_the_index(tmp_path):
    prefix = write(tmp_path, tokens())
    with open(f"{prefix}.bin", "ab") as file:
        file.write(b"xx")
    assert "does not belong to document.idx, which says 70 bytes; there are 72" in refusal(prefix)


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        (b"MMIDIDX", "7 bytes, the header alone has 34"),
        (index_bytes([5] * 7, range(0, 70, 10), 8, magic=b"TNTIDX\x00\x00\x01"), "begins with b'TNTIDX"),
        (index_bytes([5] * 7, range(0, 70, 10), 8, version=2), "format version 2"),
        (
            index_bytes([5] * 7, range(0, 70, 10), 9),
            "unknown token dtype code 9 at byte 17; known are 1 = uint8",
        ),
        (index_bytes([5] * 7, range(0, 70, 10), 6), "holds float32, but tokens are integers"),
        (index_bytes([5] * 7, range(0, 70, 10), 8)[:-9], "cut short: 7 rows and 8 document boundaries"),
        (index_bytes([5] * 7, range(0, 70, 10), 8) + b"x", "too long: 7 rows and 8 document boundaries"),
        (index_bytes([5] * 4 + [3] + [5] * 2, range(0, 70, 10), 8), "row 0 has 5 tokens, row 4 has 3"),
        (index_bytes([5] * 7, [0, -10, *range(20, 70, 10)], 8), "row 1 begins at -10, before the data begin"),
        (index_bytes([5] * 7, [0, 90, *range(20, 70, 10)], 8), "says 100 bytes, there are 70; row 1"),
        (index_bytes([], [], 8), "the corpus is empty (0 rows"),
    ],
)
def test_an_index_that_cannot_be_right_is_refused(tmp_path, index, expected):
    prefix = write(tmp_path, tokens())
    Path(f"{prefix}.idx").write_bytes(index)
    message = refusal(prefix)
    assert expected in message
    assert "document." in message


def test_a_long_index_is_read_in_chunks_to_its_end(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "CHUNK", 2)
    prefix = write(tmp_path, tokens())
    np.testing.assert_array_equal(open_corpus(prefix).rows(slice(None)), tokens())
    Path(f"{prefix}.idx").write_bytes(index_bytes([5] * 6 + [4], range(0, 70, 10), 8))
    assert "row 0 has 5 tokens, row 6 has 4" in refusal(prefix)
    Path(f"{prefix}.idx").write_bytes(index_bytes([5] * 7, [*range(0, 60, 10), 0], 8))
    Path(f"{prefix}.bin").write_bytes(tokens()[:6].tobytes())
    np.testing.assert_array_equal(open_corpus(prefix).rows(slice(None)), tokens()[[0, 1, 2, 3, 4, 5, 0]])


def test_the_whole_file_is_read_where_pieces_lie_beside_it_unless_a_piece_is_named(tmp_path):
    prefix = write(tmp_path, tokens(seed=1))
    split(prefix, [33])
    write(tmp_path, tokens(seed=2))
    for path, seed in ((prefix, 2), (tmp_path, 2), (tmp_path / "document-00001-of-00001.bin", 1)):
        np.testing.assert_array_equal(open_corpus(path).rows(slice(None)), tokens(seed=seed))


def test_missing_pieces_are_named(tmp_path):
    prefix = write(tmp_path, tokens())
    split(prefix, [20, 40])
    (tmp_path / "document-00001-of-00002.bin").unlink()
    assert "piece document-00001-of-00002.bin is missing; 2 are there" in refusal(prefix)
    split(write(tmp_path, tokens()), [20, 40])
    (tmp_path / "document-00002-of-00002.bin").unlink()  # could be the last of two, but the bytes say no
    message = refusal(prefix)
    assert re.search(r"there are 40; row 4 is the first .* Is document-00002-of-00002.bin missing", message)
    (tmp_path / "document-00000-of-00009.bin").touch()
    assert "different splits lie together (-of-00002, -of-00009)" in refusal(prefix)


def test_a_missing_half_of_the_pair_is_named_with_what_is_there(tmp_path):
    prefix = write(tmp_path, tokens())
    Path(f"{prefix}.idx").rename(tmp_path / "documents.idx")
    message = refusal(f"{prefix}.bin")
    assert "document.idx: no such file" in message and "holds documents.idx, document.bin" in message
    Path(f"{prefix}.bin").unlink()
    assert "documents.bin: no such file: expected the tokens of documents.idx" in refusal(tmp_path)
    assert "documents.bin: no such file" in refusal(tmp_path / "documents.bin")


def test_a_folder_with_two_data_sets_asks_for_one(tmp_path):
    write(tmp_path, tokens(), name="valid")
    write(tmp_path, tokens(), name="train")
    assert "expected exactly one .bin/.idx data set, found 2 (train, valid); name one" in refusal(tmp_path)
