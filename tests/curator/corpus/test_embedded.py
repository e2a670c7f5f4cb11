"""The embedded corpus: the same rows on every build, true provenance, and drills that are what they claim."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from copyable_by_hand import share_by_table
from engine_parts import ROOT
from tokenizers import Tokenizer

from curator.corpus import EmbeddedCorpus, EmbeddedSettings, build_embedded, library, open_corpus
from curator.errors import CuratorError

SETTINGS = EmbeddedSettings(n_samples=1_001, drill_fraction=0.3, seed=5)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> EmbeddedCorpus:
    return build_embedded(tmp_path_factory.mktemp("embedded") / "corpus", SETTINGS)


@pytest.fixture(scope="module")
def file_tokens(corpus):
    """Tokens of a library file, encoded here from its text."""
    tokenizer = Tokenizer.from_file(str(corpus.tokenizer_file))
    known: dict[str, np.ndarray] = {}

    def of(name: str) -> np.ndarray:
        if name not in known:
            text = (library.library_folder() / name).read_bytes().decode()
            known[name] = np.array(tokenizer.encode(text).ids)
        return known[name]

    return of


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_another_process_builds_the_same_bytes(corpus, tmp_path):
    code = (
        "import sys; from pathlib import Path; from curator.corpus import EmbeddedSettings, build_embedded;"
        "build_embedded(Path(sys.argv[1]), EmbeddedSettings(n_samples=1001, drill_fraction=0.3, seed=5))"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "again"], check=True, cwd=ROOT)
    assert bytes_of(tmp_path / "again") == bytes_of(corpus.path)


def test_the_composition_is_what_was_asked_for(corpus):
    assert (len(corpus), corpus.row_width, corpus.dtype, corpus.vocab_size) == (1_001, 33, np.uint16, 512)
    assert Counter(corpus.categories().tolist()) == {"drill": 300, "natural": 701}
    lengths = [corpus.provenance(sample)["drill_length"] for sample in range(1_001)]
    drills = [length for length in lengths if length]
    assert len(drills) == 300 and set(drills) == set(range(8, 17))
    halves = [(corpus.categories()[part] == "drill").mean() for part in (slice(500), slice(500, None))]
    assert all(0.2 < share < 0.4 for share in halves)
    assert corpus.rows(slice(None)).max() < 512
    assert len({corpus.provenance(sample)["file"] for sample in range(1_001)}) > 20


def test_natural_rows_are_the_text_their_provenance_names(corpus, file_tokens):
    for sample in np.flatnonzero(corpus.categories() == "natural").tolist():
        origin = corpus.provenance(sample)
        assert (origin["category"], origin["drill_length"]) == ("natural", 0)
        begin = origin["offset"]
        np.testing.assert_array_equal(
            corpus.rows(np.array([sample]))[0], file_tokens(origin["file"])[begin : begin + 33]
        )


def test_drill_rows_are_tiles_of_tokens_of_their_own_natural_row(corpus, file_tokens):
    unordered = 0
    for sample in np.flatnonzero(corpus.categories() == "drill").tolist():
        [row] = corpus.rows(slice(sample, sample + 1)).astype(int)
        origin = corpus.provenance(sample)
        length, begin = origin["drill_length"], origin["offset"]
        np.testing.assert_array_equal(row[length:], row[:-length])
        natural = file_tokens(origin["file"])[begin : begin + 33].tolist()
        assert not Counter(row[:length].tolist()) - Counter(natural)  # distinct positions: a sub-multiset
        unordered += row[:length].tolist() != natural[:length]
    assert unordered == 300


def test_no_window_is_used_twice(corpus):
    places = [(origin["file"], origin["offset"]) for origin in map(corpus.provenance, range(1_001))]
    assert len(set(places)) == 1_001


def test_without_drills_every_row_is_natural(tmp_path):
    settings = EmbeddedSettings(n_samples=50, drill_fraction=0, seq_length=10, vocab_size=300)
    corpus = build_embedded(tmp_path / "natural", settings)
    assert set(corpus.categories()) == {"natural"} and corpus.row_width == 11


def test_seeds_share_the_tokenizer_and_differ_in_rows(corpus, tmp_path):
    other = build_embedded(tmp_path / "other", EmbeddedSettings(n_samples=1_001, drill_fraction=0.3, seed=6))
    assert other.tokenizer_file.read_bytes() == corpus.tokenizer_file.read_bytes()
    assert other.fingerprint() != corpus.fingerprint()


def test_a_built_corpus_opens_by_its_folder_and_is_not_built_again(corpus, monkeypatch):
    def never(*_):
        raise AssertionError("built again")

    monkeypatch.setattr(library, "train_tokenizer", never)
    for opened in (open_corpus(corpus.path), build_embedded(corpus.path, SETTINGS)):
        assert isinstance(opened, EmbeddedCorpus)
        assert opened.fingerprint() == corpus.fingerprint() == corpus.manifest["fingerprint"]
    described = corpus.describe()
    assert described["settings"]["drill_fraction"] == 0.3 and described["vocab_size"] == 512


def test_a_folder_of_other_settings_or_another_python_is_refused(corpus, monkeypatch):
    with pytest.raises(CuratorError, match=r"settings\.seed: there 5, asked for 7"):
        build_embedded(corpus.path, EmbeddedSettings(n_samples=1_001, drill_fraction=0.3, seed=7))
    monkeypatch.setattr("platform.python_version", lambda: "3.99.0")
    with pytest.raises(CuratorError, match=r"python: there 'CPython .*', asked for 'CPython 3\.99\.0'"):
        build_embedded(corpus.path, SETTINGS)


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(CuratorError, match=r"not an embedded corpus .*holds thesis\.txt"):
        build_embedded(tmp_path, SETTINGS)
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_failed_build_leaves_nothing_behind(tmp_path, monkeypatch):
    def fail(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("curator.corpus.embedded.save_text", fail)
    with pytest.raises(KeyboardInterrupt):
        build_embedded(tmp_path / "out", EmbeddedSettings(n_samples=20))
    assert list(tmp_path.iterdir()) == []


def test_changed_rows_are_refused(tmp_path, tiny_library):
    corpus = build_embedded(tmp_path / "out", EmbeddedSettings(n_samples=9, vocab_size=260))
    rows = np.array(corpus.rows(slice(None)))
    rows[4, 4] ^= 1
    np.save(tmp_path / "out" / "rows.npy", rows)
    with pytest.raises(CuratorError, match=r"rows\.npy: the rows have fingerprint .* they were changed"):
        open_corpus(tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("file_ids", -1, r"entry 7 is place -1, but files\.json has places 0 to \d"),
        ("file_ids", 99, r"entry 7 is place 99, but files\.json has"),
        ("category_ids", 2, r"entry 7 is place 2, but \('natural', 'drill'\) has places 0 to 1"),
    ],
)
def test_provenance_that_points_nowhere_is_refused(tmp_path, tiny_library, name, value, expected):
    build_embedded(tmp_path / "out", EmbeddedSettings(n_samples=9, vocab_size=260))
    numbers = np.load(tmp_path / "out" / f"{name}.npy")
    numbers[7] = value
    np.save(tmp_path / "out" / f"{name}.npy", numbers)
    with pytest.raises(CuratorError, match=rf"{name}\.npy: {expected}"):
        open_corpus(tmp_path / "out")


@pytest.fixture
def tiny_library(tmp_path, monkeypatch) -> Path:
    """A library of two texts; everything else in it must be left out."""
    folder = tmp_path / "library"
    for name in ("site-packages", "test", "__pycache__", "package"):
        (folder / name).mkdir(parents=True)
    (folder / "site-packages" / "installed.py").write_text("installed " * 100)
    (folder / "test" / "test_it.py").write_text("test " * 100)
    (folder / "__pycache__" / "it.cpython-311.pyc").write_bytes(bytes(range(256)))
    (folder / "_sysconfigdata_linux.py").write_text("machine " * 100)
    (folder / "latin.py").write_bytes("café ".encode("latin-1") * 100)
    (folder / "package" / "b.py").write_text(
        "".join(f"def function_{k}(): return {k * k}\n" for k in range(40))
    )
    (folder / "a.txt").write_text("".join(f"The number {k} follows {k - 1}.\n" for k in range(60)))
    monkeypatch.setattr(library, "library_folder", lambda: folder)
    return folder


def test_packages_tests_bytecode_and_machine_files_are_left_out(tiny_library, tmp_path):
    corpus = build_embedded(tmp_path / "out", EmbeddedSettings(n_samples=20, vocab_size=260))
    assert json.loads((corpus.path / "files.json").read_text()) == ["a.txt", "latin.py", "package/b.py"]
    assert {corpus.provenance(sample)["file"] for sample in range(20)} == {"a.txt", "package/b.py"}


def test_a_small_library_is_gone_through_again_at_other_offsets(tiny_library, tmp_path):
    corpus = build_embedded(tmp_path / "out", EmbeddedSettings(n_samples=400, vocab_size=260))
    assert corpus.manifest["turns"] > 1 and "gone through" in corpus.manifest["note"]
    places = [(origin["file"], origin["offset"]) for origin in map(corpus.provenance, range(400))]
    assert len(set(places)) == 400
    assert len({offset % 33 for _, offset in places}) > 1


def test_what_the_library_cannot_give_is_refused(tiny_library, tmp_path):
    with pytest.raises(CuratorError, match="vocabulary of at most"):
        build_embedded(tmp_path / "a", EmbeddedSettings(vocab_size=60_000))
    with pytest.raises(CuratorError, match=r"no file holds 100001 tokens.*lower seq_length"):
        build_embedded(tmp_path / "b", EmbeddedSettings(vocab_size=260, seq_length=100_000))


@pytest.mark.parametrize(
    "field",
    [
        {"seq_length": 15},
        {"vocab_size": 256},
        {"vocab_size": 65_537},
        {"n_samples": 0},
        {"drill_fraction": 1.1},
    ],
)
def test_settings_out_of_range_name_the_field(field):
    with pytest.raises(
        CuratorError, match=f"{next(iter(field))}.* {next(iter(field.values()))}( is not allowed;|,) expected"
    ):
        EmbeddedSettings(**field)


def test_a_sample_outside_has_no_provenance(corpus):
    for sample in (-1, 1_001):
        with pytest.raises(
            CuratorError, match=f"sample {sample} asked for, but the corpus holds samples 0 to"
        ):
            corpus.provenance(sample)


def test_of_the_windows_those_that_repeat_most_are_kept_in_the_order_of_all(tmp_path):
    """A corpus of half the windows is a corpus of all of them, less the half that repeats least."""
    every = EmbeddedSettings(n_samples=400, drill_fraction=0, vocab_size=300, seq_length=40)
    half = every.changed(n_samples=200, copyable_fraction=0.5)
    everything, kept = build_embedded(tmp_path / "all", every), build_embedded(tmp_path / "half", half)
    shares = [share_by_table(row.tolist()) for row in everything.read_samples(np.arange(400))]
    best = sorted(sorted(range(400), key=lambda k: -shares[k])[:200])
    assert np.array_equal(kept.read_samples(np.arange(200)), everything.read_samples(np.array(best)))
    assert [kept.provenance(k) for k in range(200)] == [everything.provenance(k) for k in best]
    assert "copyable_fraction" not in everything.manifest["settings"]
    assert kept.manifest["settings"]["copyable_fraction"] == 0.5
