"""Rendering: exact counts, rows as stated, no row twice, the same rows whoever makes them, and a corpus like any."""

import json
import shutil
from collections import namedtuple
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path
from typing import Any

import mmap_ninja
import numpy as np
import pytest
from generator_folders import EMPTY, FEW, LINES, RAISES, SETS, SHORT, rendering, write_generators
from rankings import TOKENIZER, tokenizer

from curator.artifacts.files import load_json, save_json
from curator.artifacts.fingerprints import fingerprint
from curator.corpus import open_corpus
from curator.errors import CuratorError, UsageError
from synth.cli import render as commands
from synth.generate.generators import Generators
from synth.render.folder import Rows
from synth.render.run import AHEAD, render
from synth.render.settings import RenderSettings, kept_alone, read_weights
from synth.render.verify import render_rows, verify
from synth.sandbox import Sandbox

SEPARATOR, PAD = 1, 2


def make(generators: Generators, out: Path, workers: int = 1, **given: Any) -> Rows:
    given = {"separator_id": SEPARATOR, "workers": workers, **given}
    return render(RenderSettings(generators=generators.path, out=out, **given))


def tokens(rows: Rows) -> np.ndarray:
    return np.array(rows.corpus.rows(slice(None)))


def of_pattern(rows: Rows, pattern_id: str) -> dict[str, Any]:
    return next(one for one in rows.manifest["patterns"] if one["pattern_id"] == pattern_id)


@pytest.fixture(scope="module")
def generators(tmp_path_factory: pytest.TempPathFactory) -> Generators:
    return write_generators(tmp_path_factory.mktemp("generators"), {"p001": LINES, "p002": SHORT})


@pytest.fixture(scope="module")
def rendered(generators: Generators, tmp_path_factory: pytest.TempPathFactory) -> Rows:
    """150 rows of 33 tokens in tasks of 32; p002 with a third of the weight. Do not change it."""
    out = tmp_path_factory.mktemp("rendered") / "rows"
    return make(generators, out, count=150, weights={"p001": 2.0}, task_size=32)


# -- the rows ---------------------------------------------------------------------------------------------------


def test_the_count_is_exact_and_shared_by_weight(rendered: Rows) -> None:
    assert tokens(rendered).shape == (150, 33) and tokens(rendered).dtype == np.uint16
    assert rendered.patterns == ["p001", "p002"]
    assert np.bincount(rendered.row_patterns).tolist() == [100, 50]
    assert len(np.unique(tokens(rendered), axis=0)) == 150
    assert not (rendered.path / "parts").exists()


def test_a_row_is_its_seeds_texts_packed(generators: Generators, rendered: Rows) -> None:
    """Law: row k of a pattern is its texts of the seeds {seed}/{pattern}/{k}/{part}, separated, the last one cut."""
    short = generators.generators[1]
    for row in np.flatnonzero(rendered.row_patterns == 1)[:5]:
        k = rendered.row_candidates[row]
        with Sandbox().load(short.source, short.function) as generator:
            texts = generator.texts([(f"0/p002/{k}/{part}", 99) for part in range(10)])
            encoded = [tokenizer().encode(text, add_special_tokens=False).ids for text in texts]
        packed = [token for ids in encoded for token in [*ids, SEPARATOR]]
        assert tokens(rendered)[row].tolist() == packed[:33]


def test_a_padded_row_is_one_text_cut_or_filled_up(generators: Generators, tmp_path: Path) -> None:
    rows = make(generators, tmp_path / "rows", count=40, fill="padded", separator_id=None, pad_id=PAD)
    long, short = (tokens(rows)[rows.row_patterns == number] for number in (0, 1))
    assert (long != PAD).all()
    lengths = (short != PAD).sum(1)
    assert (lengths < 20).all() and all((row[n:] == PAD).all() for row, n in zip(short, lengths))
    assert rows.manifest["padding_tokens"] == (short == PAD).sum()
    assert of_pattern(rows, "p002")["texts"] == 20


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A tokenizer without special tokens."""
    known = json.loads(TOKENIZER.read_text())
    (tmp_path / "bare.json").write_text(json.dumps({**known, "added_tokens": []}))
    return tmp_path / "bare.json"


def test_the_separator_is_the_tokenizers_end_of_text_and_none_without_one(
    generators: Generators, bare: Path
) -> None:
    end = tokenizer().token_to_id("<|endoftext|>")
    assert end is not None and rendering(generators, count=1).filling.separator == end
    known = json.loads(bare.read_text())
    known["model"]["vocab"].pop("<|endoftext|>", None)
    bare.write_text(json.dumps(known))
    assert rendering(generators, count=1, tokenizer=bare).filling.separator is None
    with pytest.raises(UsageError, match="give --pad-id"):
        rendering(generators, count=1, tokenizer=bare, fill="padded")


def test_the_order_is_drawn_by_seed_and_other_seeds_give_other_rows(
    generators: Generators, rendered: Rows, tmp_path: Path
) -> None:
    assert (np.diff(rendered.row_patterns.astype(int)) != 0).sum() > 20
    other = make(generators, tmp_path / "rows", count=150, weights={"p001": 2.0}, task_size=32, seed=1)
    both = np.concatenate([tokens(rendered), tokens(other)])
    assert len(np.unique(both, axis=0)) > 290
    assert rendered.row_candidates.tolist() != other.row_candidates.tolist()


def test_workers_change_no_bit(generators: Generators, rendered: Rows, tmp_path: Path) -> None:
    again = make(generators, tmp_path / "rows", workers=3, count=150, weights={"p001": 2.0}, task_size=32)
    np.testing.assert_array_equal(tokens(again), tokens(rendered))
    np.testing.assert_array_equal(again.row_candidates, rendered.row_candidates)


def test_the_order_of_a_set_is_the_same_in_every_process(tmp_path: Path) -> None:
    """A check refuses such a generator; one that was taken in by an older version gives rows that stay the same."""
    generators = write_generators(tmp_path / "generators", {"p001": SETS})
    one, many = (
        make(generators, tmp_path / f"rows-{workers}", workers=workers, count=64, task_size=8)
        for workers in (1, 4)
    )
    assert np.array_equal(tokens(one), tokens(many))
    assert verify(many).differ == []


def test_few_tasks_are_handed_out_at_once(
    generators: Generators, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that work begins at once, and memory does not grow with the count."""
    open_at_once: list[int] = []

    class Pool(ProcessPoolExecutor):
        def submit(self, *args: Any, **kwargs: Any) -> Future[Any]:
            futures.append(super().submit(*args, **kwargs))
            open_at_once.append(sum(not future.done() for future in futures))
            return futures[-1]

    futures: list[Future[Any]] = []
    monkeypatch.setattr("synth.render.run.ProcessPoolExecutor", Pool)
    rows = make(generators, tmp_path / "rows", workers=2, count=40, task_size=1)
    assert len(tokens(rows)) == len(futures) == 40 and 2 <= max(open_at_once) <= 2 * AHEAD


def test_rows_that_the_disk_cannot_hold_are_refused_before_anything_is_written(
    generators: Generators, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "new" / "rows"
    with pytest.raises(
        CuratorError, match=r"1,000,000,000,000 rows of 33 tokens take 132,000\.0 GB .*--count"
    ):
        make(generators, out, count=10**12)
    usage = namedtuple("usage", "free")
    monkeypatch.setattr("synth.render.run.shutil.disk_usage", lambda path: usage(39 * 132))
    with pytest.raises(CuratorError, match="there is room for 39 rows"):
        make(generators, out, count=40)
    assert not out.parent.exists()
    make(generators, out, count=39)
    monkeypatch.setattr("synth.render.run.shutil.disk_usage", lambda path: usage(0))
    assert len(tokens(make(generators, out, count=39))) == 39  # there already


def test_what_a_run_that_was_cut_off_has_made_counts_as_there(
    generators: Generators, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError("no space left")

    with monkeypatch.context() as patched, pytest.raises(OSError, match="no space"):
        patched.setattr("synth.render.run.assemble", full)
        make(generators, tmp_path / "rows", count=40)
    usage = namedtuple("usage", "free")
    monkeypatch.setattr("synth.render.run.shutil.disk_usage", lambda path: usage(40 * 66))
    assert len(tokens(make(generators, tmp_path / "rows", count=40))) == 40


def test_large_vocabularies_are_written_as_uint32(generators: Generators, tmp_path: Path) -> None:
    """And token ids above 65535 stay what they are."""
    known = json.loads(TOKENIZER.read_text())
    known["added_tokens"].append(
        {"id": 70000, "content": "river", "single_word": False, "lstrip": False, "rstrip": False,
         "normalized": False, "special": False}
    )  # fmt: skip
    (tmp_path / "tokenizer.json").write_text(json.dumps(known))
    try:
        rows = make(generators, tmp_path / "rows", count=8, tokenizer=tmp_path / "tokenizer.json")
    except CuratorError:
        pytest.skip("this tokenizers refuses holes in a vocabulary")
    if tokenizer().from_file(str(tmp_path / "tokenizer.json")).token_to_id("river") == 70000:
        assert tokens(rows).dtype == np.uint32 and tokens(rows).max() == 70000


# -- duplicates, exhaustion, failures -----------------------------------------------------------------------------


def test_duplicates_are_removed_and_an_exhausted_pattern_gives_its_share_to_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ten texts in all: ten rows, found by asking further, and said aloud."""
    given = write_generators(tmp_path / "generators", {"p001": FEW, "p002": LINES})
    commands.render(RenderSettings(generators=given.path, out=tmp_path / "rows", count=120, workers=1))
    rows = Rows.open(tmp_path / "rows")
    few = of_pattern(rows, "p001")
    assert few["rows"] == 10 and few["exhausted"] and few["duplicates"] == few["tried"] - 10
    assert of_pattern(rows, "p002")["rows"] == 110 and not of_pattern(rows, "p002")["exhausted"]
    assert len(np.unique(tokens(rows), axis=0)) == 120
    assert "Exhausted: p001 gave 10 distinct rows" in capsys.readouterr().out


def test_rows_of_two_patterns_that_are_equal_are_the_first_ones(tmp_path: Path) -> None:
    """Both generators write the same ten texts; those of the first pattern count."""
    same = FEW.replace("{mark}", "same")
    given = write_generators(tmp_path / "generators", {"p001": same, "p002": same, "p003": LINES})
    rows = make(given, tmp_path / "rows", count=60)
    assert [of_pattern(rows, name)["rows"] for name in ("p001", "p002", "p003")] == [10, 0, 50]
    assert of_pattern(rows, "p002")["duplicates"] == of_pattern(rows, "p002")["tried"]


def test_too_few_distinct_rows_are_an_error_that_says_how_many_there_are(tmp_path: Path) -> None:
    given = write_generators(tmp_path / "generators", {"p001": FEW, "p002": FEW})
    with pytest.raises(CuratorError, match=r"give 20 distinct rows in all, 50 were asked for.*--count"):
        make(given, tmp_path / "rows", count=50)
    with pytest.raises(CuratorError, match="no rendered rows"):
        Rows.open(tmp_path / "rows")


def test_a_candidate_that_fails_is_skipped_and_counted(tmp_path: Path) -> None:
    given = write_generators(tmp_path / "generators", {"p001": RAISES}, share=0.005)
    rows = make(given, tmp_path / "rows", count=400, task_size=400)
    one = of_pattern(rows, "p001")
    assert one["rows"] == 400 and 0 < one["failed"] <= 4 and one["dropped"] is None
    assert "no such river" in next(iter(one["failures"]))


@pytest.mark.parametrize("source", [RAISES, EMPTY, "def other(rng, target_tokens):\n    return ''\n"])
def test_a_generator_that_fails_often_is_dropped_with_its_reason(tmp_path: Path, source: str) -> None:
    given = write_generators(tmp_path / "generators", {"p001": source, "p002": LINES}, share=0.2)
    rows = make(given, tmp_path / "rows", count=80)
    assert rows.patterns == ["p002"] and of_pattern(rows, "p002")["rows"] == 80
    assert of_pattern(rows, "p001")["rows"] == 0 and of_pattern(rows, "p001")["dropped"]


def test_when_every_generator_is_dropped_the_reasons_are_said(tmp_path: Path) -> None:
    given = write_generators(tmp_path / "generators", {"p001": EMPTY})
    with pytest.raises(CuratorError, match="p001 was dropped, its generator fails: empty"):
        make(given, tmp_path / "rows", count=10)


def test_a_generator_that_kills_its_process_costs_its_candidate_alone(tmp_path: Path) -> None:
    """One seed in 300 asks for more memory than there is."""
    source = LINES.replace(
        "    words =", '    if rng.random() < 0.004:\n        rng = "x" * (1 << 40)\n    words ='
    )
    given = write_generators(tmp_path / "generators", {"p001": source})
    rows = make(given, tmp_path / "rows", count=300, task_size=300)
    assert of_pattern(rows, "p001")["rows"] == 300 and of_pattern(rows, "p001")["failed"] >= 1


# -- the folder ---------------------------------------------------------------------------------------------------


def test_the_folder_is_a_corpus_and_what_mmap_ninja_opens(rendered: Rows) -> None:
    corpus = open_corpus(rendered.path)
    assert corpus.fingerprint() == rendered.manifest["fingerprint"]
    assert corpus.tokenizer_file == rendered.path / "tokenizer.json"
    np.testing.assert_array_equal(mmap_ninja.np_open_existing(rendered.path), tokens(rendered))
    row = int(np.flatnonzero(rendered.row_patterns == 1)[0])
    assert corpus.provenance(row) == {"pattern": "p002", "candidate": int(rendered.row_candidates[row])}
    categories = corpus.categories()
    assert categories is not None and (categories == "p002").sum() == 50


def test_rows_are_made_again_from_the_folder_alone(
    rendered: Rows, capsys: pytest.CaptureFixture[str]
) -> None:
    assert verify(rendered).differ == [] and verify(rendered, 20).rows == 20
    ((row, made),) = render_rows(rendered, [7])
    assert row == 7 and made is not None
    np.testing.assert_array_equal(made, tokens(rendered)[7])
    commands.verify(RenderSettings(generators=rendered.path), 10)
    assert "10 rows" in capsys.readouterr().out


def test_verifying_finds_a_row_that_is_not_what_the_manifest_makes(
    generators: Generators, tmp_path: Path
) -> None:
    rows = make(generators, tmp_path / "rows", count=20)
    candidates = np.array(rows.row_candidates)
    candidates[4] += 100
    np.save(tmp_path / "rows" / "row_candidates.npy", candidates)
    with pytest.raises(CuratorError, match=r"row_candidates\.npy: has fingerprint .* it was changed"):
        Rows.open(tmp_path / "rows")
    said = {**rows.manifest["fingerprints"], "row_candidates": fingerprint(candidates)}
    save_json(tmp_path / "rows" / "manifest.json", {**rows.manifest, "fingerprints": said})
    assert verify(Rows.open(tmp_path / "rows")).differ == [4]
    with pytest.raises(CuratorError, match="1 of 20 rows came out otherwise: 4"):
        commands.verify(RenderSettings(generators=tmp_path / "rows"), 20)


def test_changed_rows_and_changed_copies_are_refused(generators: Generators, tmp_path: Path) -> None:
    rows = make(generators, tmp_path / "rows", count=20)
    manifest = load_json(rows.path / "generators" / "manifest.json")
    (rows.path / "generators" / "manifest.json").write_text(
        json.dumps({**manifest, "generators": manifest["generators"][:1]})
    )
    with pytest.raises(CuratorError, match="its generators have fingerprint"):
        verify(rows)
    data = np.memmap(rows.path / "data.ninja", np.uint16, "r+")
    data[3] ^= 1
    data.flush()
    with pytest.raises(CuratorError, match="the rows have fingerprint"):
        Rows.open(rows.path)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        (
            "patterns.json",
            ["p001"],
            r"patterns\.json: holds 1 names, row_patterns\.npy numbers from 0 to 1: .*copy",
        ),
        ("patterns.json", {"p001": 1}, r"patterns\.json: expected a list of names; copy the folder again"),
        ("row_patterns.npy", -np.ones(20, int), r"patterns\.json: holds 2 names, .* from -1 to -1"),
        ("row_patterns.npy", np.zeros(20), r"row_patterns\.npy: holds float64, not whole numbers; render"),
        ("row_candidates.npy", np.zeros(19, int), r"row_candidates\.npy: has shape \(19,\), for 20 rows"),
    ],
)
def test_a_corpus_whose_patterns_do_not_belong_to_its_rows_is_refused(
    generators: Generators, tmp_path: Path, name: str, content: Any, says: str
) -> None:
    """Without the manifest, whose fingerprints would tell at once."""
    rows = make(generators, tmp_path / "rows", count=20)
    (rows.path / "manifest.json").unlink()
    if name.endswith(".json"):
        save_json(rows.path / name, content)
    else:
        np.save(rows.path / name, content)
    with pytest.raises(CuratorError, match=says):
        open_corpus(rows.path)


def test_the_same_command_again_does_nothing_and_other_settings_are_refused(
    generators: Generators, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(generators, tmp_path / "rows", count=20)
    before = (tmp_path / "rows" / "manifest.json").stat().st_mtime_ns
    make(generators, tmp_path / "rows", count=20)
    assert (tmp_path / "rows" / "manifest.json").stat().st_mtime_ns == before
    with pytest.raises(CuratorError, match=r"seed: there 0, asked for 3"):
        make(generators, tmp_path / "rows", count=20, seed=3)
    with pytest.raises(CuratorError, match=r"weights\.p001: there 1\.0, asked for 2\.0"):
        make(generators, tmp_path / "rows", count=20, weights={"p001": 2.0})
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("x")
    with pytest.raises(CuratorError, match="not empty"):
        make(generators, tmp_path / "full", count=20)


# -- what is given ------------------------------------------------------------------------------------------------


def test_weights_come_from_words_and_files(tmp_path: Path) -> None:
    save_json(tmp_path / "w.json", {"p001": 3, "p002": 0.5})
    assert read_weights([str(tmp_path / "w.json"), "p002=2"]) == {"p001": 3.0, "p002": 2.0}
    for wrong in ("p001", "p001=x", "nowhere.json"):
        with pytest.raises(UsageError, match="expected PATTERN_ID=NUMBER"):
            read_weights([wrong])


def test_weights_that_are_too_large_are_refused_wherever_they_come_from(
    generators: Generators, tmp_path: Path
) -> None:
    (tmp_path / "w.json").write_text('{"p001": 1' + 400 * "0" + "}")
    assert read_weights([str(tmp_path / "w.json")]) == {"p001": float("inf")}
    (tmp_path / "w.json").write_text('{"p001": 1' + 5000 * "0" + "}")
    with pytest.raises(UsageError, match="expected a JSON object of pattern_id: number"):
        read_weights([str(tmp_path / "w.json")])
    shutil.copytree(generators.path, tmp_path / "generators")
    manifest = load_json(generators.path / "manifest.json")
    for samples, said in ((10**400, "not 1000"), (-3, "not -3")):
        manifest["generators"][0]["samples"] = samples
        save_json(tmp_path / "generators" / "manifest.json", manifest)
        told = Generators.open(tmp_path / "generators")
        with pytest.raises(
            UsageError, match=rf"the weight of p001 .*{said}.* \(its samples in .*manifest\.json\)"
        ):
            rendering(told, count=8)
        assert rendering(told, count=8, weights={"p001": 1e9}).weights["p001"] == 1e9
    manifest["generators"][0]["checks"]["length_low"] = 10**400
    save_json(tmp_path / "generators" / "manifest.json", manifest)
    with pytest.raises(CuratorError, match=r"generator 0: .*edited"):
        Generators.open(tmp_path / "generators")


def test_only_takes_the_patterns_that_an_audit_keeps(generators: Generators, tmp_path: Path) -> None:
    save_json(tmp_path / "audit.json", {"kept": ["p002"]})
    weights = kept_alone(generators, {}, tmp_path / "audit.json")
    assert make(generators, tmp_path / "rows", count=5, weights=weights).patterns == ["p002"]
    save_json(tmp_path / "kept.json", ["p009"])
    with pytest.raises(CuratorError, match="none of them"):
        kept_alone(generators, {}, tmp_path / "kept.json")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"weights": {"p009": 1.0}}, "no generator of p009; there are p001, p002"),
        ({"weights": {"p001": 0.0, "p002": 0.0}}, "all patterns weigh 0"),
        ({"weights": {"p001": -1.0}}, "at least 0"),
        ({"weights": {"p001": 1e308}}, "p001 must be a number of at least 0 and at most 1e.09, not 1e.308"),
        ({"weights": {"p001": 1e308, "p002": 1e308}}, "at most 1e.09, not 1e.308"),
        ({"weights": {"p001": float("nan")}}, "not nan"),
        ({"fill": "loose"}, "fill: unknown value 'loose'; known: packed, padded"),
        ({"pad_id": 3}, "'pad_id' says nothing beside 'fill' packed"),
        ({"separator_id": 999999}, "no such token"),
    ],
)
def test_what_makes_no_sense_is_refused(
    generators: Generators, tmp_path: Path, given: dict[str, Any], says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        make(generators, tmp_path / "rows", **{"count": 5, **given})
    assert not (tmp_path / "rows").exists()


def test_a_pattern_weighs_as_many_as_the_samples_it_was_distilled_from(
    generators: Generators, tmp_path: Path
) -> None:
    manifest = load_json(generators.path / "manifest.json")
    for entry, samples in zip(manifest["generators"], (30, 10)):
        entry["samples"] = samples
    shutil.copytree(generators.path, tmp_path / "generators")
    save_json(tmp_path / "generators" / "manifest.json", manifest)
    told = Generators.open(tmp_path / "generators")
    assert rendering(told, count=8).weights == {"p001": 30.0, "p002": 10.0}
    assert rendering(told, count=8, weights=["equal"]).weights == {"p001": 1.0, "p002": 1.0}
    assert rendering(told, count=8, weights={"p001": 5.0}).weights == {"p001": 5.0, "p002": 10.0}
    rows = make(told, tmp_path / "rows", count=40)
    assert np.bincount(rows.row_patterns).tolist() == [30, 10]
    words = rendering(told, count=8, weights=["equal"]).command(told)
    assert "--weights p001=1.0 --weights p002=1.0" in words  # the same again, whatever is usual


def test_rows_are_asked_for_by_what_a_short_text_holds(tmp_path: Path) -> None:
    sources = {"p001": LINES}
    by_low = make(
        write_generators(tmp_path / "low", sources, length_low=0.5), tmp_path / "a", count=40, seq_length=200
    )
    by_high = make(
        write_generators(tmp_path / "high", sources, length_low=2.0), tmp_path / "b", count=40, seq_length=200
    )
    assert 40 == by_low.manifest["patterns"][0]["texts"] < by_high.manifest["patterns"][0]["texts"]
