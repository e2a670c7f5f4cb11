"""What holds for every corpus, and the ``.npy`` and mmap-ninja readers."""

import json
import os
from pathlib import Path

import mmap_ninja
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curator.corpus import base, check_row_width, check_tokens, checks, open_corpus
from curator.errors import CuratorError

WIDTH = 5


def tokens(n=11, dtype="uint16") -> np.ndarray:
    return np.random.default_rng(1).integers(0, 100, (n, WIDTH)).astype(dtype)


def save_npy(folder: Path, rows: np.ndarray) -> Path:
    np.save(folder / "rows.npy", rows)
    return folder / "rows.npy"


def save_fixed(folder: Path, rows: np.ndarray) -> Path:
    mmap_ninja.np_from_ndarray(folder / "fixed", rows)
    return folder / "fixed"


def save_ragged(folder: Path, rows: np.ndarray) -> Path:
    mmap_ninja.RaggedMmap.from_lists(folder / "ragged", list(rows[:4])).extend(list(rows[4:]))
    return folder / "ragged"


FORMATS = {"npy": save_npy, "ninja": save_fixed, "ninja-ragged": save_ragged}


@pytest.fixture(params=FORMATS)
def save(request):
    return FORMATS[request.param]


@pytest.mark.parametrize("dtype", ["uint16", "int32", "int64", "uint8"])
def test_rows_equal_what_was_written(tmp_path, save, dtype):
    rows = tokens(dtype=dtype)
    corpus = open_corpus(save(tmp_path, rows))
    assert (len(corpus), corpus.row_width, corpus.dtype) == (11, WIDTH, np.dtype(dtype))
    np.testing.assert_array_equal(corpus.rows(slice(None)), rows)
    np.testing.assert_array_equal(corpus.rows(slice(2, 9, 3)), rows[2:9:3])
    np.testing.assert_array_equal(corpus.rows(np.array([10, 0, 0])), rows[[10, 0, 0]])
    assert corpus.provenance(3) is None and corpus.categories() is None and corpus.vocab_size is None


def test_a_slice_is_a_read_only_view_of_the_memory_map(tmp_path, save):
    corpus = open_corpus(save(tmp_path, tokens()))
    first, again = corpus.rows(slice(0, 6)), corpus.rows(slice(4, 11))
    assert np.shares_memory(first, again) and not first.flags.writeable
    under: np.ndarray | None = first
    while under is not None and not isinstance(under, np.memmap):
        under = under.base
    assert under is not None


@given(st.integers(-3, 14), st.integers(-3, 14))
@settings(deadline=None)
def test_slices_are_never_clipped_or_wrapped_in_silence(tmp_path_factory, start, stop):
    folder = tmp_path_factory.mktemp("slices")
    corpus = open_corpus(save_npy(folder, tokens()))
    if 0 <= start <= 11 and 0 <= stop <= 11:
        np.testing.assert_array_equal(corpus.rows(slice(start, stop)), tokens()[start:stop])
    else:
        with pytest.raises(CuratorError, match=r"asked for, but the corpus holds samples 0 to 10"):
            corpus.rows(slice(start, stop))


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        (np.array([1, 11]), r"sample 11 asked for \(entry 1 of the indices\).*samples 0 to 10"),
        (np.array([-1]), r"sample -1 asked for"),
        (np.array([0.5]), r"one-dimensional integer array.*float64"),
        (np.ones(11, bool), r"one-dimensional integer array.*bool"),
        (np.zeros((2, 2), int), r"one-dimensional integer array.*\(2, 2\)"),
        (slice(None, None, -1), r"step must be 1 or more"),
    ],
)
def test_an_index_outside_the_corpus_is_refused(tmp_path, save, index, expected):
    corpus = open_corpus(save(tmp_path, tokens()))
    with pytest.raises(CuratorError, match=expected):
        corpus.rows(index)


@pytest.mark.parametrize("sampled", [False, True], ids=["whole", "sampled"])
def test_the_fingerprint_follows_the_rows_and_not_the_path(tmp_path, save, sampled, monkeypatch):
    if sampled:  # 3 blocks of 2 rows: 0-1, 4-5, 9-10
        monkeypatch.setattr(base, "WHOLE_FINGERPRINT_TOKENS", 0)
        monkeypatch.setattr(base, "SAMPLED_BLOCKS", 3)
        monkeypatch.setattr(base, "BLOCK_ROWS", 2)
    prints = {}
    variants = {"same": tokens(), "elsewhere": tokens(), "longer": np.r_[tokens(), tokens()[:1]]}
    covered = [0, 1, 4, 5, 9, 10] if sampled else range(11)
    for row in covered:
        variants[f"row {row}"] = tokens()
        variants[f"row {row}"][row, row % WIDTH] ^= 1
    variants["two rows swapped"] = tokens()[[1, 0, *range(2, 11)]]
    for name, rows in variants.items():
        (tmp_path / name).mkdir()
        prints[name] = open_corpus(save(tmp_path / name, rows)).fingerprint()
    assert prints.pop("elsewhere") == prints["same"]
    assert len(set(prints.values())) == len(prints)


def test_describe_names_what_a_person_asks_for(tmp_path, save):
    path = save(tmp_path, tokens())
    (path.parent / "tokenizer.json").write_text("{}")
    (path / "tokenizer.json").write_text("{}") if path.is_dir() else None
    there = open_corpus(path).describe()
    assert (there["samples"], there["seq_length"], there["tokens"], there["dtype"]) == (11, 4, 55, "uint16")
    assert there["tokenizer"].endswith("tokenizer.json")


def test_the_row_width_must_be_that_of_the_model(tmp_path, save):
    corpus = open_corpus(save(tmp_path, tokens()))
    check_row_width(corpus, 4)
    with pytest.raises(
        CuratorError, match=r"5 tokens wide \(seq_length 4\), but seq_length 8 needs rows of 9"
    ):
        check_row_width(corpus, 8)


@pytest.mark.parametrize("bad", [100, -1])
def test_a_token_outside_the_vocabulary_is_found_and_named(tmp_path, save, monkeypatch, bad):
    monkeypatch.setattr(checks, "CHUNK_TOKENS", 3 * WIDTH)
    rows = tokens(dtype="int32")
    rows[7, 3] = rows[7, 4] = rows[9, 0] = bad
    corpus = open_corpus(save(tmp_path, rows))
    expected = rf"{corpus.file_of(7)}: sample 7, column 3: token id {bad} is outside the vocabulary of 100"
    with pytest.raises(CuratorError, match=expected):
        check_tokens(corpus, 100, 0, 11)
    check_tokens(corpus, 100, 0, 7)
    check_tokens(corpus, 100, 10, 11)
    with pytest.raises(CuratorError, match="sample 9, column 0"):
        check_tokens(corpus, 100, 8)
    with pytest.raises(CuratorError, match="samples 0 to 12 asked for"):
        check_tokens(corpus, 100, 0, 12)


def test_a_big_token_check_shows_its_progress(tmp_path, monkeypatch, capsys):
    corpus = open_corpus(save_npy(tmp_path, tokens()))
    check_tokens(corpus, 100)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(checks, "PROGRESS_TOKENS", 10)
    check_tokens(corpus, 100)
    assert "checking token ids: 11/11 samples" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.zeros(6, np.int64), r"has shape \(6,\), a corpus has two dimensions"),
        (np.zeros((2, 3), np.float32), "holds float32, but tokens are integers"),
        (np.zeros((0, 3), np.int32), "the corpus is empty"),
        (np.zeros((3, 0), np.int32), "the corpus is empty"),
    ],
)
def test_an_npy_that_is_no_corpus_is_refused(tmp_path, array, expected):
    with pytest.raises(CuratorError, match=rf"rows\.npy: {expected}"):
        open_corpus(save_npy(tmp_path, array))


def test_a_cut_npy_names_the_first_cut_row(tmp_path):
    path = save_npy(tmp_path, tokens())
    os.truncate(path, 128 + 4 * 10 + 3)
    with pytest.raises(
        CuratorError, match=r"says 238 bytes, the file has 171; row 4 is the first that is cut"
    ):
        open_corpus(path)
    os.truncate(path, 20)
    with pytest.raises(CuratorError, match=r"not a \.npy array, or cut within its header"):
        open_corpus(path)


def test_a_fortran_ordered_npy_has_the_same_rows(tmp_path):
    corpus = open_corpus(save_npy(tmp_path, np.asfortranarray(tokens())))
    np.testing.assert_array_equal(corpus.rows(slice(2, 5)), tokens()[2:5])


def test_ragged_rows_of_different_widths_are_refused(tmp_path):
    rows = [np.arange(4), np.arange(4), np.arange(3)]
    mmap_ninja.RaggedMmap.from_lists(tmp_path / "r", rows)
    with pytest.raises(CuratorError, match="row 0 has 4 tokens, row 2 has 3"):
        open_corpus(tmp_path / "r")


def test_a_damaged_ninja_folder_names_the_part(tmp_path):
    fixed, ragged = save_fixed(tmp_path, tokens()), save_ragged(tmp_path, tokens())
    os.truncate(ragged / "starts" / "data.ninja", 50)
    with pytest.raises(CuratorError, match=r"starts/data\.ninja: cut short: shape \(11,\) of int64 takes 88"):
        open_corpus(ragged)
    os.truncate(fixed / "data.ninja", 99)
    with pytest.raises(
        CuratorError, match=r"takes 110 bytes, the file has 99; row 9 is the first that is cut"
    ):
        open_corpus(fixed)
    (fixed / "shape.ninja").unlink()
    with pytest.raises(CuratorError, match=r"shape\.ninja: no such file: expected a part of an mmap-ninja"):
        open_corpus(fixed)
    (fixed / "type.ninja").write_text("string")
    with pytest.raises(CuratorError, match="an array of kind 'string'"):
        open_corpus(fixed)


OLD_FOLDERS = json.loads((Path(__file__).parent / "old_mmap_ninja.json").read_text())
OLD_VERSIONS = [version for version in OLD_FOLDERS if version != "how"]


def old_folder(folder: Path, version: str, kind: str) -> Path:
    """A folder that mmap-ninja of this version wrote."""
    for name, content in OLD_FOLDERS[version].items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(bytes.fromhex(content))
    return folder / kind


@pytest.mark.parametrize("kind", ["fixed", "ragged"])
@pytest.mark.parametrize("version", OLD_VERSIONS)
def test_folders_of_old_mmap_ninja_are_read(tmp_path, version, kind):
    folder = old_folder(tmp_path, version, kind)
    assert not (folder / "type.ninja").exists()
    rows = np.arange(60, dtype=np.uint16).reshape(6, 10)
    corpus = open_corpus(folder)
    np.testing.assert_array_equal(corpus.rows(slice(None)), rows)
    np.testing.assert_array_equal(corpus.rows(np.array([5, 0])), rows[[5, 0]])
    os.truncate(folder / "data.ninja", 99)
    with pytest.raises(CuratorError, match=r"data\.ninja: cut short: .*120 bytes.* 99"):
        open_corpus(folder)


def shorten(folder: Path) -> Path:
    """Shapes of 4 bytes each, as versions up to 0.2.2 wrote them."""
    for file in folder.rglob("shape.ninja"):
        file.write_bytes(np.frombuffer(file.read_bytes(), "<u8").astype("<u4").tobytes())
    return folder


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int64"])
@pytest.mark.parametrize("write", [save_fixed, save_ragged])
def test_lengths_of_four_bytes_are_told_from_eight(tmp_path, write, dtype):
    rows = tokens(dtype=dtype)
    np.testing.assert_array_equal(open_corpus(shorten(write(tmp_path, rows))).rows(slice(None)), rows)


def test_what_four_byte_lengths_cannot_be_is_refused(tmp_path):
    flat = mmap_ninja.np_from_ndarray(
        tmp_path / "flat", np.arange(7, dtype=np.uint16)
    )  # one length of 8 bytes
    assert len(flat) == 7
    with pytest.raises(CuratorError, match=r"has shape \(7,\), a corpus has two dimensions"):
        open_corpus(tmp_path / "flat")
    (tmp_path / "flat" / "shape.ninja").write_bytes(bytes(6))
    with pytest.raises(CuratorError, match=r"shape\.ninja: 6 bytes, expected 8 per dimension"):
        open_corpus(tmp_path / "flat")
    folder = old_folder(tmp_path, "0.2.0", "fixed")
    (folder / "manifest.json").write_text("{}")  # a folder of something else, half written
    with pytest.raises(CuratorError, match="no corpus found"):
        open_corpus(folder)


def test_a_missing_path_lists_what_was_looked_for_and_near_names(tmp_path):
    save_npy(tmp_path, tokens())
    with pytest.raises(CuratorError, match=r"row\.npy: no such file: .*holds rows\.npy"):
        open_corpus(tmp_path / "row.npy")
    with pytest.raises(CuratorError, match=r"corpus\.bin and corpus\.idx, or pieces .*mmap-ninja.*embedded"):
        open_corpus(tmp_path / "corpus")
    with pytest.raises(CuratorError, match=r"no folder .*nowhere; .* holds rows\.npy"):
        open_corpus(tmp_path / "nowhere" / "at" / "all.npy")


def test_a_folder_or_file_that_is_no_corpus_lists_what_there_is(tmp_path):
    assert len(open_corpus(save_npy(tmp_path, tokens()).parent)) == 11
    np.save(tmp_path / "second.npy", tokens())
    (tmp_path / "notes.txt").touch()
    with pytest.raises(
        CuratorError, match=r"exactly one \.npy \(found 2\).*notes\.txt, rows\.npy, second\.npy"
    ):
        open_corpus(tmp_path)
    with pytest.raises(CuratorError, match=r"notes\.txt: not a corpus this tool reads"):
        open_corpus(tmp_path / "notes.txt")
