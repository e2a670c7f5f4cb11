"""What rows keep of their samples: statistics by hand and by the slow way, the audit's table, and the goal itself."""

import importlib.util
import random
import sys
import time
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from engine_parts import ROOT
from generator_folders import LINES, write_generators
from hypothesis import given
from hypothesis import strategies as st
from pattern_samples import run_trusted
from rankings import TOKENIZER, rows_of, tokenizer, top_of, write_ranking

from curator.artifacts.files import load_json, save_json
from curator.corpus import open_corpus
from synth.audit.fidelity import audit_fidelity, fidelity, origins
from synth.audit.patterns import count
from synth.audit.token_statistics import copyable, copyable_share, found_share, gram_keys, repeated_share
from synth.cli.audit import print_fidelity
from synth.distill.miner import mine
from synth.distill.run import Top
from synth.patterns.matcher import Matcher
from synth.patterns.pattern import Pattern
from synth.render.folder import Rows
from synth.render.run import render
from synth.render.settings import RenderSettings

BENCHMARKS = ROOT / "benchmarks"


# -- statistics -------------------------------------------------------------------------------------------------------


def slow_repeated(row: list[int]) -> float:
    grams = [tuple(row[k : k + 4]) for k in range(len(row) - 3)]
    inside = {k + n for k, gram in enumerate(grams) if grams.count(gram) > 1 for n in range(4)}
    return len(inside) / len(row)


def slow_copyable(row: list[int]) -> list[bool]:
    right = []
    for place, token in enumerate(row):
        before = [k for k in range(2, place) if row[k - 2 : k] == row[place - 2 : place]] if place > 1 else []
        right.append(bool(before) and row[before[-1]] == token)
    return right


@given(st.lists(st.lists(st.integers(0, 2), min_size=12, max_size=12), min_size=1, max_size=5), st.booleans())
def test_statistics_are_those_of_the_slow_way(some: list[list[int]], large: bool) -> None:
    rows = np.array(some) + (70_000 if large else 0)
    np.testing.assert_allclose(repeated_share(rows), [slow_repeated(row) for row in rows.tolist()])
    np.testing.assert_array_equal(copyable(rows), [slow_copyable(row) for row in rows.tolist()])


def test_statistics_of_a_row_by_hand() -> None:
    """1 2 3 4 stands twice; behind it, 3 and 4 follow what they followed before."""
    row = np.array([[1, 2, 3, 4, 9, 1, 2, 3, 4, 8]])
    assert repeated_share(row) == pytest.approx(0.8)
    assert copyable(row)[0].tolist() == [False] * 7 + [True, True, False]
    assert copyable_share(row) == pytest.approx(0.2)


def test_found_is_the_share_of_long_spans_that_stand_in_other_rows() -> None:
    rng = np.random.default_rng(0)
    others = rng.integers(0, 60_000, (20, 64))
    rows = rng.integers(0, 60_000, (3, 64))
    rows[1] = others[7]
    rows[2, :32] = others[3, 20:52]
    shares = found_share(rows, others)
    assert shares[0] == 0 and shares[1] == 1
    assert shares[2] == pytest.approx((32 - 12) / (64 - 12))


def test_short_rows_have_no_grams() -> None:
    short = np.array([[1, 2], [2, 2]])
    assert repeated_share(short).tolist() == copyable_share(short).tolist() == [0, 0]
    assert found_share(short, short).tolist() == [0, 0] and gram_keys(short, 4).shape == (2, 0)


def test_rows_are_held_beside_their_own_samples() -> None:
    rng = np.random.default_rng(0)
    tiled = np.stack([np.tile(rng.integers(0, 500, 16), 4) for _ in range(30)])
    fresh = rng.integers(0, 500, (40, 64))
    same = fidelity(tiled, tiled)
    assert same["rendered"]["found"] == 1 and same["natural"]["found"] == 0
    lost = fidelity(fresh, tiled)
    assert lost["rows"] == 40 and lost["samples"] == 30
    assert lost["natural"]["repeated"] == 1 and lost["rendered"]["repeated"] < 0.1
    assert lost["natural"]["copyable"] > 0.7 > 0.1 > lost["rendered"]["copyable"]
    assert lost["natural"]["compression"] > 2 * lost["rendered"]["compression"]
    assert fidelity(fresh, tiled[:1])["natural"]["found"] is None


# -- in the audit -----------------------------------------------------------------------------------------------------


@pytest.fixture
def study(tmp_path: Path) -> tuple[Rows, Top]:
    """Rows of lines, said to be distilled from samples 30 to 39 of a corpus of words."""
    rng = random.Random(0)
    texts = [" ".join(rng.choices(["alpha", "beta", "river", "stone"], k=40)) for _ in range(40)]
    write_ranking(tmp_path, rows_of(texts, 33), np.linspace(-1, 1, 40))
    top = top_of(tmp_path / "ranking", top=10)
    generators = write_generators(tmp_path / "generators", {"p001": LINES, "p002": LINES})
    manifest = load_json(tmp_path / "generators" / "manifest.json")
    manifest["generators"][0]["distilled_from"] = list(range(30, 40))
    manifest["generators"][1]["distilled_from"] = []
    manifest["corpus_fingerprint"] = top.ranking.corpus_fingerprint
    save_json(tmp_path / "generators" / "manifest.json", manifest)
    return render(RenderSettings(generators=generators.path, out=tmp_path / "rows", count=30, workers=1)), top


def test_the_audit_compares_rows_with_the_samples_they_were_distilled_from(
    study: tuple[Rows, Top], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows, top = study
    found = audit_fidelity(rows, top.ranking, open_corpus(tmp_path / "rows.npy"), np.arange(40))
    assert set(found["patterns"]) == {"p001"} and found["note"] == ""
    one = found["patterns"]["p001"]
    own = np.load(tmp_path / "rows.npy")[30:40]
    made = rows.corpus.rows(np.flatnonzero(rows.row_patterns == 0))
    assert one["natural"]["repeated"] == pytest.approx(repeated_share(own).mean())
    assert one["rendered"]["copyable"] == pytest.approx(copyable_share(made).mean())
    assert one["samples"] == 10 and one["rows"] == len(made)
    print_fidelity(found, ["p002", "p001"])
    said = capsys.readouterr().out
    ratio = one["rendered"]["repeated"] / one["natural"]["repeated"]
    assert "p001" in said and f"{ratio:.2f}" in said and "random natural" in said and "p002" not in said


def test_rows_of_an_earlier_version_or_of_another_corpus_say_why_they_are_not_compared(
    study: tuple[Rows, Top], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows, top = study
    file = rows.path / "generators" / "manifest.json"
    whole = load_json(file)
    save_json(file, {**whole, "corpus_fingerprint": "another"})
    assert origins(rows.path, top.ranking)[1].startswith("the patterns were distilled from another corpus")
    for one in whole["generators"]:
        one.pop("distilled_from")
    save_json(file, whole)
    found = audit_fidelity(rows, top.ranking, open_corpus(tmp_path / "rows.npy"), np.arange(40))
    assert found["patterns"] == {} and "generate and render again" in found["note"]
    print_fidelity(found, ["p001"])
    assert "No samples to compare with: the rows do not say" in capsys.readouterr().out


# -- the goal ---------------------------------------------------------------------------------------------------------


def corpus_module() -> ModuleType:
    """``benchmarks/natural_corpus.py``, which imports its neighbour."""
    sys.path.insert(0, str(BENCHMARKS))
    try:
        spec = importlib.util.spec_from_file_location("natural_corpus", BENCHMARKS / "natural_corpus.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules["natural_corpus"] = module
        spec.loader.exec_module(module)
        return module
    finally:
        sys.path.remove(str(BENCHMARKS))


def test_patterns_of_a_natural_corpus_keep_nine_tenths_of_what_their_samples_repeat(tmp_path: Path) -> None:
    """Real text of eight kinds; the larger patterns together, and what they would keep by their fields alone."""
    natural = corpus_module().natural(rows=2000, width=257)
    top = top_of(natural.ranking(tmp_path).path, top=500, holdout=0.2)
    samples = top.samples()
    found, set_aside = mine(samples, top.tokenizer)
    texts = {sample.sample: sample.text for sample in samples}
    assert all("occurs in" in item["reason"] for item in set_aside)

    def rows(pattern: Pattern) -> np.ndarray:
        texts = [run_trusted(pattern, seed, 3 * 257) for seed in range(24)]
        encoded = top.tokenizer.encode_batch(texts, add_special_tokens=False)
        return np.stack([np.resize(np.array(one.ids), 257) for one in encoded])

    begun = time.process_time()
    counts = [count(one.pattern, {"top": list(texts.values())})["top"] for one in found]
    pace = (time.process_time() - begun) / (len(found) * len(texts))
    assert pace < 2 * 120 / (74 * 2200), "74 patterns in 2 200 texts take more than two minutes on two cores"
    assert not sum(given_up for _, given_up in counts)

    numbers = []
    for one in found:
        assert all(Matcher(one.pattern).occurs(texts[sample]) for sample in one.samples), one.pattern.template
        if len(one.samples) < 8:
            continue
        kept = fidelity(rows(one.pattern), natural.rows[list(one.samples)])
        lost = fidelity(rows(Pattern.from_json(one.pattern.brief())), natural.rows[list(one.samples)])
        for key in ("repeated", "copyable"):
            ratios = [one["rendered"][key] / one["natural"][key] for one in (kept, lost)]
            numbers.append([len(one.samples), *ratios])
            assert ratios[0] > 0.6, (one.pattern.template, key)
        assert kept["rendered"]["found"] < kept["natural"]["found"] + 0.3, one.pattern.template
    assert len(numbers) >= 8
    weights, kept_ratios, lost_ratios = np.array(numbers).T
    assert np.average(kept_ratios, weights=weights) >= 0.9
    assert np.median(kept_ratios) >= 0.9
    assert np.average(lost_ratios, weights=weights) < 0.9, "fields alone keep as much: this shows nothing"


def test_the_fidelity_tokenizer_is_the_golden_one_where_one_is_given() -> None:
    made = corpus_module().natural(rows=80, width=65, tokenizer=TOKENIZER)
    assert made.rows.shape == (80, 65) and made.rows.max() < tokenizer().get_vocab_size()
    assert set(made.kinds) == set(corpus_module().KINDS)
