"""GPT-NeoX's order and blends, against maps and choices made here from their description, row by row.

``lay`` writes a data set and its three maps as GPT-NeoX would; the oracle then lays the documents end to end and
cuts rows out of the stream. ``test_neox_order.py`` compares with GPT-NeoX itself.
"""

import json
import os
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from laid import SEQ, lay, write_data

from curator.corpus import blend_choices, check_row_width, neox_order, open_corpus, whole
from curator.corpus.blend_choices import choose, effective_weights
from curator.corpus.neox_blend import Part, write_blend
from curator.errors import CuratorError, UsageError

SIZES = [3, 20, 1, 8, 9, 1, 1, 40, 7, 2]


def refusal(path: Path) -> str:
    with pytest.raises(CuratorError) as caught:
        open_corpus(path)
    return str(caught.value)


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


def greedy(weights: np.ndarray, samples: int) -> list[tuple[int, int]]:
    """The rule, one sample after the other: (part, index within it)."""
    counts, chosen = [0] * len(weights), []
    for sample in range(samples):
        behind = [float(w) * float(max(sample, 1)) - float(count) for w, count in zip(weights, counts)]
        part = behind.index(max(behind))
        chosen.append((part, counts[part]))
        counts[part] += 1
    return chosen


WEIGHTS = [[0.7, 0.3], [1, 1], [1, 1, 1], [0.5, 0.3, 0.2], [0, 1, 2], [1, 0], [0.25, 0.25, 0.5], [1e-9, 3, 5]]


@pytest.mark.parametrize("weights", [*WEIGHTS, list(np.random.default_rng(0).random(30) ** 5)], ids=str)
@pytest.mark.parametrize("samples", [1, 2, 1023, 1025, 12_000])
def test_choices_are_those_of_the_greedy_rule(weights, samples, monkeypatch):
    monkeypatch.setattr(blend_choices, "STEPS", 700)  # several chunks of several lanes
    monkeypatch.setattr(blend_choices, "LANES", 3)
    weights = effective_weights(weights)
    made, expected = choose(weights, samples), np.array(greedy(weights, samples))
    np.testing.assert_array_equal(np.stack(made.span(0, samples), 1), expected)
    some = np.random.default_rng(1).integers(0, samples, 300)
    np.testing.assert_array_equal(np.stack(made.lookup(some), 1), expected[some])
    for start, stop in ((samples // 3, samples // 2), (samples - 1, samples), (samples, samples)):
        np.testing.assert_array_equal(np.stack(made.span(start, stop), 1), expected[start:stop])


@given(st.lists(st.floats(0.001, 10), min_size=2, max_size=9), st.integers(0, 60), st.integers(1, 3000))
@settings(max_examples=30, deadline=None)
def test_choices_do_not_depend_on_how_long_the_lanes_warm_up(weights, warm_up, samples):
    """What lanes start from is a guess; what comes out is not."""
    weights = effective_weights(weights)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blend_choices, "WARM_UP", warm_up)
        patch.setattr(blend_choices, "BLOCK", 16)
        patch.setattr(blend_choices, "_guess", lambda weights, begin: np.zeros((len(weights), len(begin))))
        made = choose(weights, samples)
        np.testing.assert_array_equal(np.stack(made.span(0, samples), 1), np.array(greedy(weights, samples)))


def test_weights_are_normalised_twice():
    assert effective_weights([7, 3]).tolist() == [0.7, 0.3]
    thirds = np.array([0.1 / (0.1 + 0.2 + 0.7), 0.2 / (0.1 + 0.2 + 0.7), 0.7 / (0.1 + 0.2 + 0.7)])
    assert effective_weights([0.1, 0.2, 0.7]).tolist() == (thirds / thirds.sum()).tolist()


def two_parts(folder: Path) -> list[Part]:
    first = lay(folder / "a", SIZES, epochs=4)
    second = lay(folder / "b", [5, 6, 30], name="wiki", seed=1, split="train_1", dtype="int32", epochs=1)
    return [Part(maps=first.map(), weight=0.7), Part(maps=second.map(), weight=0.3)]


def expected_blend(folder: Path, samples: int) -> np.ndarray:
    """The rows, with what GPT-NeoX does past the end of a part: the row that its length leaves out, then modulo."""
    parts = [lay(folder / "a", SIZES, epochs=4).rows, None]
    parts[1] = lay(
        folder / "b", [5, 6, 30], name="wiki", seed=1, split="train_1", dtype="int32", epochs=1
    ).rows
    rows = []
    for part, index in greedy(effective_weights([0.7, 0.3]), samples):
        listed = len(parts[part])
        rows.append(parts[part][index if index < listed else index % (listed - 1)])
    return np.array(rows)


def test_a_blend_reads_the_rows_of_its_parts_also_past_their_ends(tmp_path):
    blend = write_blend(tmp_path / "blend.json", two_parts(tmp_path), 48)
    rows = expected_blend(tmp_path, 48)
    part, _ = blend.chosen(np.arange(48))
    assert (part == 1).sum() > 2 * len(blend.parts[1])  # five rows listed, fourteen asked for
    assert (len(blend), blend.row_width, blend.dtype) == (48, SEQ + 1, np.dtype("int32"))
    again = open_corpus(tmp_path / "blend.json")
    np.testing.assert_array_equal(again.rows(slice(None)), rows)
    np.testing.assert_array_equal(again.rows(slice(7, 31)), rows[7:31])
    np.testing.assert_array_equal(again.rows(np.array([40, 0, 0, 13])), rows[[40, 0, 0, 13]])
    assert again.rows(slice(4, 4)).shape == again.rows(np.array([], int)).shape == (0, SEQ + 1)
    shorter = write_blend(tmp_path / "shorter.json", two_parts(tmp_path), 20)
    np.testing.assert_array_equal(shorter.rows(slice(None)), rows[:20])
    sample = int(np.flatnonzero(part == 1)[0])
    assert again.provenance(sample)["data set"] == "wiki" and again.file_of(sample).name == "wiki.bin"
    assert "0.7 " in again.describe()["parts"] and "wiki_train_1" in again.describe()["parts"]


def test_a_blend_of_one_is_its_own_order(tmp_path):
    laid = lay(tmp_path, SIZES)
    blend = write_blend(tmp_path / "blend.json", [Part(maps=laid.map(), weight=3.0)], 21)
    np.testing.assert_array_equal(blend.rows(slice(None)), laid.rows[:-1])
    np.testing.assert_array_equal(blend.rows(np.array([20, 3])), laid.rows[[20, 3]])
    assert not list(tmp_path.glob("blend-*"))
    assert blend.fingerprint() == open_corpus(laid.map()).fingerprint()


def test_choices_are_kept_beside_the_blend_and_used_only_for_it(tmp_path, monkeypatch):
    parts = two_parts(tmp_path)
    write_blend(tmp_path / "blend.json", parts, 48)
    kept = sorted(file.name.rpartition("-")[0] for file in tmp_path.glob("blend-*.npy"))
    assert kept == ["blend-choices", "blend-counts"]
    monkeypatch.setattr(blend_choices, "choose", lambda *_: pytest.fail("made again"))
    rows = open_corpus(tmp_path / "blend.json").rows(slice(None))
    monkeypatch.undo()
    (tmp_path / "blend.json").write_text((tmp_path / "blend.json").read_text().replace("0.7", "0.2"))
    assert (open_corpus(tmp_path / "blend.json").rows(slice(None)) != rows).any()
    assert len(list(tmp_path.glob("blend-*.npy"))) == 4
    for file in tmp_path.glob("blend-choices-*.npy"):
        os.truncate(file, 140)
    np.testing.assert_array_equal(write_blend(tmp_path / "new.json", parts, 48).rows(slice(None)), rows)
    open_corpus(tmp_path / "blend.json").rows(slice(None))


def test_choices_that_cannot_be_kept_are_made_in_memory(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(blend_choices, "save_array", full)
    blend = write_blend(tmp_path / "blend.json", two_parts(tmp_path), 48)
    np.testing.assert_array_equal(blend.rows(slice(None)), expected_blend(tmp_path, 48))
    assert not list(tmp_path.glob("blend-*"))


def test_relative_maps_are_relative_to_the_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    parts = [Part(maps=part.maps.relative_to(tmp_path), weight=part.weight) for part in two_parts(tmp_path)]
    rows = write_blend(Path("out/blend.json"), parts, 30).rows(slice(None))
    written = json.loads((tmp_path / "out/blend.json").read_text())
    assert written["parts"][0]["maps"].startswith("../a/")
    monkeypatch.chdir("/")
    np.testing.assert_array_equal(open_corpus(tmp_path / "out/blend.json").rows(slice(None)), rows)


def edited(blend: dict, place: str, value) -> dict:
    """``blend`` with the field at this dotted place changed."""
    target = blend
    *outer, last = place.split(".")
    for key in outer:
        target = target[int(key)] if key.isdigit() else target[key]
    target[last] = value
    return blend


@pytest.mark.parametrize(
    ("place", "value", "expected"),
    [
        ("format", "other", "format: unknown value 'other'; "),
        ("version", 2, "version: unknown value '2'; known: 1"),
        ("samples", 0, "samples: 0 is not allowed; expected a whole number of at least 1"),
        ("samples", 61, "blend.json: samples: 61, but the parts hold"),
        ("samples", "48", "samples: expected a whole number of at least 1, not '48'"),
        ("seed", 3, "seed: unknown key; known: format, parts, samples, version"),
        ("parts", [], "0 parts; a blend has 1 to 254"),
        ("parts.0.weight", -0.1, "parts[0].weight: -0.1 is not allowed; expected a number of at least 0"),
        ("parts.0.weight", float("nan"), "parts[0].weight: nan is not allowed"),
        ("parts.0.weights", 1, "parts[0].weights: unknown key; did you mean 'weight'?"),
        ("parts.1.maps", "b/other_shuffle_idx.npy", "other_shuffle_idx.npy: not a name that GPT-NeoX gives"),
    ],
)
def test_a_blend_that_says_something_else_is_refused(tmp_path, place, value, expected):
    write_blend(tmp_path / "blend.json", two_parts(tmp_path), 48)
    blend = edited(json.loads((tmp_path / "blend.json").read_text()), place, value)
    (tmp_path / "blend.json").write_text(json.dumps(blend))
    message = refusal(tmp_path / "blend.json")
    assert expected in message, message


def test_what_cannot_be_blended_is_refused_before_anything_is_written(tmp_path):
    parts = two_parts(tmp_path)
    wide = Part(maps=lay(tmp_path / "c", SIZES, seq=5).map(), weight=1.0)
    out = tmp_path / "new.json"
    for blended, samples, expected in (
        ([*parts, wide], 10, "parts differ in row width: .* has rows of 9 tokens, .* of 6"),
        ([Part(maps=part.maps, weight=0.0) for part in parts], 10, "the weights of all parts are 0"),
        ([*parts, Part(maps=tmp_path / "no_train_0_indexmap_1ns_8sl_1s", weight=1.0)], 10, "no such file"),
        (parts, 1000, "where GPT-NeoX's blend ends"),
    ):
        with pytest.raises(CuratorError, match=expected):
            write_blend(out, blended, samples)
        assert not out.exists()
    with pytest.raises(CuratorError, match=r"name it blend\.json"):
        write_blend(tmp_path / "blend", parts, 10)
    write_blend(out, parts, 10)
    write_blend(out, parts, 10)
    with pytest.raises(CuratorError, match="holds something else already"):
        write_blend(out, parts, 11)
    assert "missing.json: no such file: expected a blend" in refusal(tmp_path / "missing.json")


def test_the_command_writes_a_blend_and_info_shows_it(tmp_path, monkeypatch, capsys):
    from curator.cli.app import main
    from curator.cli.options import weighted

    parts = two_parts(tmp_path)
    words = [word for part in parts for word in ("--part", f"{part.maps}={part.weight}")]
    out = tmp_path / "blend.json"
    for command in (["blend", *words, "--samples", "48", "--out", str(out)], ["info", str(out)]):
        monkeypatch.setattr("sys.argv", ["curator", "corpus", *command])
        with pytest.raises(SystemExit) as stop:
            main()
        assert not stop.value.code
        shown = capsys.readouterr().out
        assert "blend of index maps" in shown and "wiki_train_1" in shown
    np.testing.assert_array_equal(open_corpus(out).rows(slice(None)), expected_blend(tmp_path, 48))
    assert weighted(["a=b=0.5"], "--part") == [(Path("a=b"), 0.5)]
    for wrong in ("maps", "maps=", "=0.5", "maps=much"):
        with pytest.raises(UsageError, match="--part takes PATH=WEIGHT"):
            weighted([wrong], "--part")
