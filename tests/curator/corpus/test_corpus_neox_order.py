"""GPT-NeoX's order and blends, against maps and choices made here from their description, row by row.

``lay`` writes a data set and its three maps as GPT-NeoX would; the oracle then lays the documents end to end and
cuts rows out of the stream. ``test_neox_order.py`` compares with GPT-NeoX itself.
"""

import os
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from laid import SEQ, SIZES, lay, refusal, two_parts, write_data

from curator.corpus import check_row_width, neox_order, open_corpus, whole
from curator.corpus.neox_blend import write_blend
from curator.errors import CuratorError


@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=12),
    st.integers(1, 3),
    st.integers(2, 17),
    st.lists(st.integers(0, 400), max_size=3),
    st.data(),
)
@settings(max_examples=80, deadline=None)
def test_rows_run_over_document_epoch_and_file_boundaries(tmp_path_factory, sizes, epochs, seq, cuts, data):
    if (sum(sizes) * epochs - 1) // seq < 2:
        return
    laid = lay(tmp_path_factory.mktemp("laid"), sizes, epochs=epochs, seq=seq)
    whole = laid.folder / "pile_0.87.bin"
    if cuts:  # pieces may be empty, and may begin within a token
        content = whole.read_bytes()
        whole.unlink()
        bounds = [0, *sorted(min(cut, len(content)) for cut in cuts), len(content)]
        for k, (start, stop) in enumerate(pairwise(bounds)):
            (laid.folder / f"pile_0.87-{k:05}-of-{len(cuts):05}.bin").write_bytes(content[start:stop])
    corpus = open_corpus(laid.map())
    n = len(laid.rows) - 1
    assert (len(corpus), corpus.row_width, corpus.dtype) == (n, seq + 1, np.dtype("uint16"))
    np.testing.assert_array_equal(corpus.rows(slice(None)), laid.rows[:n])
    start, stop = sorted(data.draw(st.tuples(st.integers(0, n), st.integers(0, n))))
    np.testing.assert_array_equal(corpus.rows(slice(start, stop)), laid.rows[start:stop])
    samples = np.array(data.draw(st.lists(st.integers(0, n - 1), max_size=9)), dtype=int)
    np.testing.assert_array_equal(corpus.rows(samples), laid.rows[samples])


@pytest.mark.parametrize(
    "changes",
    [
        {"packing": ""},
        {"packing": "_packedpi"},
        {"split": "train", "packing": ""},
        {"split": "valid_12"},
        {"asked": "None"},
        {"types": ("int64", "int64")},
        {"dtype": "int32"},
        {"name": "a_train_0_indexmap_1ns_b"},
    ],
    ids=str,
)
def test_every_generations_names_and_types_are_read_from_any_map_or_their_stem(tmp_path, changes):
    laid = lay(tmp_path, SIZES, **changes)
    paths = [laid.map(kind) for kind in ("shuffle_idx", "sample_idx", "doc_idx")]
    for path in [*paths, tmp_path / laid.stem, str(laid.map())]:
        np.testing.assert_array_equal(open_corpus(path).rows(slice(None)), laid.rows[:-1])


def test_it_says_what_it_is_and_where_a_sample_comes_from(tmp_path):
    laid = lay(tmp_path, SIZES, epochs=3)
    (tmp_path / "tokenizer.json").write_text("{}")
    corpus = open_corpus(laid.map())
    shown = corpus.describe()
    assert (shown["samples"], shown["seq_length"], shown["epochs"], shown["seed"]) == (33, SEQ, 3, 0)
    assert shown["documents"] == "0 to 9 of 10" and shown["tokenizer"].endswith("tokenizer.json")
    order, begins = np.load(laid.map("doc_idx")), np.load(laid.map("sample_idx"))
    row = np.load(laid.map())[5]
    assert corpus.provenance(5) == {
        "document": order[begins[row, 0]],
        "offset": begins[row, 1],
        "documents": begins[row + 1, 0] - begins[row, 0] + 1,
    }
    assert corpus.file_of(5).name == "pile_0.87.bin"
    np.save(tmp_path / "rows.npy", laid.rows[:-1])
    assert open_corpus(tmp_path / "rows.npy").fingerprint() == corpus.fingerprint()
    check_row_width(corpus, SEQ)
    with pytest.raises(CuratorError, match="holds samples 0 to 32"):
        corpus.rows(np.array([33]))


def test_documents_without_tokens_are_passed_over(tmp_path):
    laid = lay(tmp_path, [0, 5, 0, 0, 9, 13, 0])
    np.testing.assert_array_equal(open_corpus(laid.map()).rows(slice(None)), laid.rows[:-1])


def test_a_data_set_of_documents_points_to_the_maps_beside_it(tmp_path):
    laid = lay(tmp_path, SIZES)
    for path in (laid.prefix, tmp_path):
        assert f"GPT-NeoX trained on these documents: {laid.map()}" in refusal(path)
    lay(tmp_path, SIZES, seed=4, split="valid_0")
    lay(tmp_path, SIZES, seed=5, split="train")
    assert "(or another of 2 such maps there)" in refusal(tmp_path)
    for file in tmp_path.glob("*.npy"):
        file.unlink()
    assert "or open the ..._shuffle_idx.npy that GPT-NeoX writes" in refusal(tmp_path)


def change(path: Path, edit) -> None:
    array = np.load(path)
    array = edit(array)
    np.save(path, array)


def put(place, value):
    def edit(array):
        array[place] = value
        return array

    return edit


@pytest.mark.parametrize(
    ("kind", "edit", "expected"),
    [
        (
            "shuffle_idx",
            lambda a: a[:-1],
            ["orders 21 rows, but", "sample_idx.npy has 23 entries", "22 rows"],
        ),
        ("sample_idx", lambda a: a[:-2], ["orders 22 rows", "21 entries"]),
        ("sample_idx", lambda a: a[:, 0], ["holds int32 of shape (23,)", "[rows + 1, 2]"]),
        ("doc_idx", lambda a: a.astype(float), ["doc_idx.npy: holds float64"]),
        (
            "shuffle_idx",
            put(3, 99),
            ["shuffle_idx.npy: entry 3 is row 99", "sample_idx.npy has rows 0 to 21"],
        ),
        (
            "doc_idx",
            put(4, 10),
            ["doc_idx.npy: entry 4 is document 10", "pile_0.87.idx has documents 0 to 9"],
        ),
        ("doc_idx", put(4, -1), ["entry 4 is document -1"]),
        ("doc_idx", lambda a: a[:5], ["sample_idx.npy: row", "doc_idx.npy has entries 0 to 4"]),
        ("sample_idx", put((0, 0), -1), ["row 0 runs from [-1, 0]"]),
        ("sample_idx", put((2, 1), 1000), ["row 2 begins at token 1000 of document", "pile_0.87.idx"]),
        (
            "sample_idx",
            lambda a: a + (np.arange(len(a)) == 2)[:, None] * np.array([0, 1]),
            ["sample_idx.npy: row 1 takes 10 tokens of pile_0.87.idx", f"{SEQ}sl, rows of {SEQ + 1}"],
        ),
    ],
)
def test_maps_that_cannot_be_right_are_refused_naming_both_sides(tmp_path, kind, edit, expected):
    laid = lay(tmp_path, SIZES)
    change(laid.map(kind), edit)
    message = refusal(laid.map())
    assert all(words in message for words in expected), message


def test_maps_of_other_data_are_refused(tmp_path):
    laid = lay(tmp_path, SIZES)
    rng = np.random.default_rng(3)
    write_data(laid.prefix, [rng.integers(0, 9, size) for size in SIZES[::-1]])
    assert "the maps were" in refusal(laid.map()) and "other data" in refusal(laid.map())


def test_large_maps_are_looked_at_in_places_and_every_row_as_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(neox_order, "PROBED_ROWS", 8)
    monkeypatch.setattr(neox_order, "PROBED_BLOCKS", 2)
    laid = lay(tmp_path, SIZES)
    np.testing.assert_array_equal(open_corpus(laid.map()).rows(slice(None)), laid.rows[:-1])
    order = np.load(laid.map())
    change(laid.map("sample_idx"), put((10, 1), 1000))  # between the blocks
    corpus = open_corpus(laid.map())
    sample = int(np.flatnonzero(order == 10)[0])
    with pytest.raises(CuratorError, match="row 10 begins at token 1000"):
        corpus.rows(np.array([sample]))
    change(laid.map("sample_idx"), put((22, 1), 1000))  # within the last
    assert "row 21 ends at token 1000" in refusal(laid.map())


TOY = [30] * 33  # 990 tokens, 123 rows
STEPS = 32  # rows or entries at a time, so that what is wrong lies in the last of several chunks and windows


@pytest.fixture
def many_chunks(monkeypatch) -> None:
    """Small chunks and windows, and maps that opening looks at in places alone: the ends, here."""
    monkeypatch.setattr(whole, "CHUNK", STEPS)
    monkeypatch.setattr(whole, "WINDOW", 50)
    monkeypatch.setattr(neox_order, "CHECKED_ROWS", STEPS)
    monkeypatch.setattr(neox_order, "PROBED_ROWS", 8)
    monkeypatch.setattr(neox_order, "PROBED_BLOCKS", 2)


def zeroed(array):
    array[21:] = 0
    return array


def test_a_shuffle_that_is_mostly_zeros_is_refused_at_opening(tmp_path):
    laid = lay(tmp_path, TOY, epochs=1)
    assert len(laid.rows) == 123
    row = int(np.flatnonzero(np.load(laid.map()) == 0)[0])
    change(laid.map(), zeroed)
    second, first = (22, 21) if row > 21 else (21, row)
    expected = (
        f"no permutation: entry {second} is row 0, and so is entry {first}; 101 of 123 rows are missing"
    )
    message = refusal(laid.map())
    assert expected in message or expected.replace("101", "102") in message, message
    assert "shuffle_idx.npy" in message and "fetch the maps again" in message


@pytest.mark.parametrize(
    ("kind", "edit", "expected"),
    [
        (
            "shuffle_idx",
            lambda a: put(100, a[7])(a),
            "entry 100 is row {value}, and so is entry 7; 1 of 123 rows",
        ),
        (
            "shuffle_idx",
            lambda a: put(41, a[40])(a),
            "entry 41 is row {value}, and so is entry 40; 1 of 123 rows",
        ),
        (
            "shuffle_idx",
            lambda a: put(99, -9)(a.astype("int64")),
            "entry 99 is row -9, but .*has rows 0 to 122",
        ),
        ("shuffle_idx", put(99, 4294967295), "entry 99 is row 4294967295, but .*has rows 0 to 122"),
        ("doc_idx", put(20, -1), "entry 20 is document -1, but pile_0.87.idx has documents 0 to 32"),
        (
            "doc_idx",
            lambda a: put(20, a[25])(a),
            "document .* is there 0 times, document .* 2 times; all documents",
        ),
        ("sample_idx", put((90, 0), -2), "row 89 runs from .* to .-2, "),
        ("sample_idx", put((90, 1), -4), "row 89 runs from .* to .[0-9]*, -4"),
        ("sample_idx", lambda a: a + (np.arange(124) == 90)[:, None] * [0, 1], "row 89 takes 10 tokens"),
        ("sample_idx", put((90, 1), 30), "row 90 begins at token 30 of document"),
    ],
)
def test_one_wrong_entry_late_in_a_long_map_is_found_before_long_work(
    tmp_path, many_chunks, kind, edit, expected
):
    laid = lay(tmp_path, TOY, epochs=1)
    open_corpus(laid.map()).check_index()
    change(laid.map(kind), edit)
    value = np.load(laid.map())[100 if "entry 100" in expected else 41]
    corpus = open_corpus(laid.map())  # the ends of the maps are sound
    with pytest.raises(CuratorError, match=rf"{kind}\.npy: .*{expected.format(value=value)}"):
        corpus.check_index()


def test_a_repeat_among_the_rows_that_opening_looks_at_is_found_at_opening(tmp_path, many_chunks):
    laid = lay(tmp_path, TOY, epochs=1)
    value = np.load(laid.map())[1]
    change(laid.map(), put(121, value))
    assert f"no permutation: entry 121 is row {value}, and so is entry 1; fetch" in refusal(laid.map())


def test_documents_of_several_epochs_are_there_equally_often(tmp_path, many_chunks):
    laid = lay(tmp_path, [30] * 7, epochs=300)  # counts beyond a byte
    open_corpus(laid.map()).check_index()
    order = np.load(laid.map("doc_idx"))
    other = int(np.flatnonzero(order != order[1000])[500])
    change(laid.map("doc_idx"), put(1000, order[other]))
    with pytest.raises(
        CuratorError, match=rf"document {order[1000]} is there 299 times, document {order[other]} 301"
    ):
        open_corpus(laid.map()).check_index()


def test_documents_that_lie_over_each_other_are_refused(tmp_path, many_chunks):
    laid = lay(tmp_path, TOY, epochs=1)
    file = tmp_path / "pile_0.87.idx"
    index = np.frombuffer(file.read_bytes(), np.uint8).copy()
    pointers = index[34 + 4 * 33 : 34 + 12 * 33].view("<i8")
    for value, expected in (
        (0, "document 0 begins at 0 and document 29 at 0, so that they lie over each other"),
        (28 * 60 + 2, "document 28 begins at 1,680 and document 29 at 1,682"),  # in order, and too early
    ):
        pointers[29] = value
        file.write_bytes(index.tobytes())
        with pytest.raises(CuratorError, match=rf"\.idx: {expected}"):
            open_corpus(laid.map()).check_index()


def test_kept_choices_that_are_not_those_of_the_weights_are_refused(tmp_path):
    write_blend(tmp_path / "blend.json", two_parts(tmp_path), 48).check_index()
    [choices] = tmp_path.glob("blend-choices-*.npy")
    [counts] = tmp_path.glob("blend-counts-*.npy")
    right = np.load(choices)
    for file, edit, expected in (
        (
            choices,
            put(40, 1 - right[40]),
            f"entry 40 is {1 - right[40]}, but the weights of blend.json make it",
        ),
        (counts, put((0, 1), 5), "entry 0, 1 is 5, but the weights of blend.json make it 0"),
    ):
        before = file.read_bytes()
        change(file, edit)
        with pytest.raises(CuratorError, match=rf"{file.name}: {expected}"):
            open_corpus(tmp_path / "blend.json").check_index()
        file.write_bytes(before)
    rows = open_corpus(tmp_path / "blend.json").rows(slice(None))
    change(choices, put(40, 200))  # of no part: made again, as after a copy that was cut short
    np.testing.assert_array_equal(open_corpus(tmp_path / "blend.json").rows(slice(None)), rows)
    change(two_parts(tmp_path)[1].maps, put(slice(3, 5), 0))
    with pytest.raises(CuratorError, match=r"wiki_train_1.*no permutation: entry 4 is row 0"):
        open_corpus(tmp_path / "blend.json")


def test_names_that_say_something_else_are_refused(tmp_path):
    laid = lay(tmp_path, SIZES)
    for old, new, expected in (
        (f"_{SEQ}sl", "_9sl", "9sl, rows of 10"),
        ("_22ns", "_23ns", "orders 22 rows, but its name says that 23 were asked for"),
        ("_packedpi", "_unpackedpi", "maps of packing 'unpacked'"),
        ("_packedpi_ac", "_pack_until_overflowpi", "maps of packing 'pack_until_overflow'"),
        (
            "_indexmap",
            "_maps",
            "not a name that GPT-NeoX gives its index maps, which is PREFIX_train_0_indexmap",
        ),
        ("pile_0.87_", "other_", "other.idx: no such file"),
    ):
        for kind in ("doc_idx", "sample_idx", "shuffle_idx"):
            renamed = laid.map(kind).name.replace(old, new)
            (tmp_path / renamed).write_bytes(laid.map(kind).read_bytes())
        assert expected in refusal(tmp_path / laid.map().name.replace(old, new))


@pytest.mark.parametrize("kind", ["doc_idx", "sample_idx", "shuffle_idx"])
def test_a_missing_or_cut_sibling_is_named(tmp_path, kind):
    laid = lay(tmp_path, SIZES)
    os.truncate(laid.map(kind), laid.map(kind).stat().st_size - 3)
    assert f"{kind}.npy: not a whole .npy array" in refusal(laid.map())
    laid.map(kind).unlink()
    assert f"{kind}.npy: no such file: expected one of GPT-NeoX's three index maps" in refusal(laid.map())


def test_data_that_are_cut_or_too_long_are_refused(tmp_path):
    laid = lay(tmp_path, SIZES)  # 92 tokens, the last document has 2
    whole = tmp_path / "pile_0.87.bin"
    os.truncate(whole, 177)
    message = refusal(laid.map())
    assert "pile_0.87.idx says 184 bytes, there are 177; document 8 is the first that is cut" in message
    whole.write_bytes(bytes(190))
    assert "says 184 bytes; there are 190" in refusal(laid.map())
    whole.unlink()
    assert "pile_0.87.bin: no such file" in refusal(laid.map())


def test_one_row_is_not_a_corpus(tmp_path):
    assert "trains on one fewer than it lists" in refusal(lay(tmp_path, [12], epochs=1).map())
