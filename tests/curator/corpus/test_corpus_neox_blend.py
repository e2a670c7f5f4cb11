"""GPT-NeoX's blends: choices made here from their description, one by one, and the rows that they give."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from laid import SEQ, SIZES, lay, refusal, two_parts

from curator.corpus import blend_choices, open_corpus
from curator.corpus.blend_choices import choose, effective_weights
from curator.corpus.neox_blend import Part, write_blend
from curator.errors import CuratorError, UsageError


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
