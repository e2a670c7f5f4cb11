"""The audit of rendered rows: scores as `curator rank` gives them, percentiles by hand, verdicts, exhaustion."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine_parts import GOLDEN
from generator_folders import FEW, LINES, write_generators
from rankings import write_ranking

from curator.artifacts.fields import Probe
from curator.artifacts.files import load_json
from curator.corpus import open_corpus
from curator.errors import CuratorError
from curator.influence.taps import Taps
from curator.ranking.ranking import Ranking
from curator.ranking.run import rank
from curator.ranking.settings import RankSettings
from synth.audit.diversity import MOST_TOKENS, diversity, doublings
from synth.audit.rows import audit_data, describe, draw, is_kept, median_interval, percentiles
from synth.audit.settings import AuditDataSettings
from synth.cli import audit as commands
from synth.cli.audit import print_audit
from synth.render.folder import Rows
from synth.render.run import render
from synth.render.settings import RenderSettings

UNIT = "induction:1.2"
SETTINGS = AuditDataSettings(rows="rows", ranking="ranking", out="audit", unit=UNIT, sample=12, random=50)


@pytest.fixture(scope="module")
def ranking(tmp_path_factory: pytest.TempPathFactory) -> Ranking:
    """64 golden samples, two units."""
    request = RankSettings(
        model=str(GOLDEN / "model"),
        corpus=GOLDEN / "rows.npy",
        units=(UNIT, "previous-token:0.0"),
        samples=(10, 74),
        probe=Probe(name="paper", sequences=6),
    )
    return rank(request, tmp_path_factory.mktemp("natural") / "ranking")


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Rows:
    """40 rows of lines, and ten that are nearly alike."""
    folder = tmp_path_factory.mktemp("rendered")
    generators = write_generators(folder / "generators", {"p001": LINES, "p002": FEW}, seq_length=128)
    return render(RenderSettings(generators=generators.path, out=folder / "rows", count=50, workers=1))


@pytest.fixture(scope="module")
def audited(ranking: Ranking, rows: Rows, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("audited") / "audit"
    audit_data(rows, ranking, open_corpus(GOLDEN / "rows.npy"), SETTINGS.changed(out=out))
    return out


def pattern(out: Path, pattern_id: str) -> dict[str, Any]:
    return next(one for one in load_json(out / "audit.json")["patterns"] if one["pattern_id"] == pattern_id)


def test_rows_have_the_scores_that_the_same_rows_would_have_in_the_natural_corpus(
    ranking: Ranking, rows: Rows, audited: Path
) -> None:
    """Scored within one corpus of natural and rendered rows, by the same queries, sample by sample."""
    chosen = np.concatenate(draw(rows, 12, 0))
    scored = Ranking.open(audited / "ranking")
    assert scored.units == [UNIT] and len(scored) == 2 * len(chosen) == 44
    np.testing.assert_array_equal(np.load(audited / "scored.npy")[:22], rows.corpus.rows(chosen))
    one = pattern(audited, "p001")
    own = np.asarray(scored.scores[0, :12], np.float64)
    assert one["scored"] == 12 and one["rows"] == 40
    assert one["mean_score"] == pytest.approx(own.mean())
    natural = ranking.unit_scores(UNIT)
    by_hand = [100 * np.mean(natural < score) for score in own]
    assert one["percentile"]["median"] == pytest.approx(np.median(by_hand))
    assert one["above_90"] == pytest.approx(np.mean(np.array(by_hand) >= 90))
    assert one["loss"] == pytest.approx(float(np.mean(scored.losses[:12])) / 128, rel=1e-5)


def test_natural_samples_rescored_as_if_rendered_have_uniform_percentiles(
    ranking: Ranking, rows: Rows, tmp_path: Path
) -> None:
    """The control that must come out by construction: natural rows in place of rendered ones keep their scores."""
    natural = np.load(GOLDEN / "rows.npy")[10:74]
    same = Rows(
        path=rows.path,
        manifest={**rows.manifest, "fingerprint": "natural"},
        corpus=_corpus(natural, tmp_path),
        patterns=["natural"],
        row_patterns=np.zeros(64, np.uint16),
        row_candidates=np.arange(64),
    )
    result = audit_data(
        same,
        ranking,
        open_corpus(GOLDEN / "rows.npy"),
        SETTINGS.changed(out=tmp_path / "audit", sample=0, random=1000),
    )
    (one,) = result["patterns"]
    scored = Ranking.open(tmp_path / "audit" / "ranking")
    np.testing.assert_allclose(scored.scores[0, :64], ranking.unit_scores(UNIT), rtol=1e-3, atol=1e-3)
    assert one["percentile"]["low"] < 50 < one["percentile"]["high"] and not one["kept"]
    assert abs(one["percentile"]["median"] - result["natural"]["percentile"]["median"]) < 5


def _corpus(rows: np.ndarray, folder: Path) -> Any:
    np.save(folder / "natural.npy", rows)
    return open_corpus(folder / "natural.npy")


def test_shuffled_rows_hold_the_same_tokens_in_another_order(audited: Path) -> None:
    own, shuffled = np.split(np.load(audited / "scored.npy"), 2)
    np.testing.assert_array_equal(np.sort(own, 1), np.sort(shuffled, 1))
    assert (own != shuffled).any(1).all()


def test_random_natural_samples_lie_in_the_middle(audited: Path) -> None:
    natural = load_json(audited / "audit.json")["natural"]
    assert natural["samples"] == 64 and natural["drawn"] == 50
    assert natural["percentile"]["low"] < 50 < natural["percentile"]["high"]
    assert natural["above_90"] == pytest.approx(0.1, abs=0.06)


def test_kept_patterns_are_those_of_the_rule_and_are_written_for_render(audited: Path) -> None:
    result = load_json(audited / "audit.json")
    kept = {one["pattern_id"] for one in result["patterns"] if is_kept(one, 50.0)}
    assert set(result["kept"]) == kept == set(load_json(audited / "kept.json"))
    assert "95 % bootstrap" in result["rule"] and "above 50" in result["rule"]
    assert (audited / "audit.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("scores", "shuffled", "kept"),
    [
        (np.linspace(60, 90, 20), np.linspace(0, 10, 20), True),
        (np.linspace(10, 70, 20), np.linspace(0, 5, 20), False),  # below the natural median
        (np.linspace(60, 90, 20), np.linspace(70, 99, 20), False),  # no better than their own tokens
        (np.linspace(60, 90, 9), np.linspace(0, 10, 9), False),  # too few to tell
        (np.linspace(40, 70, 20), np.linspace(0, 10, 20), False),  # above, but not beyond the interval
    ],
)
def test_the_verdict(scores: np.ndarray, shuffled: np.ndarray, kept: bool) -> None:
    """Natural scores 0 to 99, so that a score is nearly its percentile."""
    one = describe(scores, shuffled, scores, np.arange(100.0), np.random.default_rng(0))
    assert is_kept(one, 50.0) is kept


def test_percentiles_count_lower_scores_alone() -> None:
    ordered = np.array([1.0, 2.0, 2.0, 3.0])
    assert percentiles(ordered, np.array([0.0, 2.0, 2.5, 9.0])).tolist() == [0, 25, 75, 100]


def test_the_interval_of_the_median_holds_it_in_95_of_100_draws() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(200):
        interval = median_interval(rng.normal(size=60), rng)
        hits += interval["low"] <= 0 <= interval["high"]
    assert 0.90 <= hits / 200 <= 0.99


def test_the_same_command_does_nothing_again_and_another_is_refused(
    ranking: Ranking,
    rows: Rows,
    audited: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("work was begun")

    monkeypatch.setattr(Taps, "run", refuse)
    before = (audited / "audit.json").stat().st_mtime_ns
    given = SETTINGS.changed(rows=rows.path, ranking=ranking.path, out=audited)
    commands.audit_data(given)
    assert (audited / "audit.json").stat().st_mtime_ns == before
    said = capsys.readouterr().out
    assert "p001" in said and "random natural" in said and "Next:" in said
    with pytest.raises(CuratorError, match="sample: there 12, asked for 13"):
        commands.audit_data(given.changed(sample=13))


def test_a_run_that_was_cut_off_goes_on(
    ranking: Ranking, rows: Rows, audited: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the scores, and between scores and result: the same numbers in the end."""
    corpus, settings = open_corpus(GOLDEN / "rows.npy"), SETTINGS.changed(out=tmp_path / "audit")
    for place in ("synth.audit.rows.rank", "synth.audit.rows.plot_audit"):
        with monkeypatch.context() as patched:
            patched.setattr(place, _interrupt)
            with pytest.raises(KeyboardInterrupt):
                audit_data(rows, ranking, corpus, settings)
        assert not (tmp_path / "audit" / "audit.json").exists()
    assert audit_data(rows, ranking, corpus, settings) == load_json(audited / "audit.json")


def _interrupt(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


def test_rows_of_another_width_and_rankings_without_queries_are_refused(
    ranking: Ranking, rows: Rows, tmp_path: Path
) -> None:
    settings = SETTINGS.changed(unit=None, out=tmp_path / "a")
    narrow = np.load(GOLDEN / "rows.npy")[:64, :33]
    other = write_ranking(tmp_path / "other", narrow, np.arange(64.0))
    with pytest.raises(CuratorError, match=r"rows have 129 tokens.*33; .*--seq-length 32"):
        audit_data(rows, other, open_corpus(tmp_path / "other" / "rows.npy"), settings)
    wide = write_ranking(tmp_path / "wide", np.load(GOLDEN / "rows.npy"), np.arange(256.0))
    with pytest.raises(CuratorError, match="has no queries"):
        audit_data(rows, wide, open_corpus(tmp_path / "wide" / "rows.npy"), settings)


Given = dict[str, tuple[int, int]]


@pytest.mark.parametrize(
    ("given", "exhausted", "says", "verdicts"),
    [
        (
            {"p001": (6, 6), "p002": (6, 6)},
            [],
            "Next: synth render generators --weights equal --count 200 --out rows-2\n",
            ["too few rows", "too few rows"],
        ),
        (
            {"p001": (40, 40), "p002": (6, 6)},
            [],
            "Next: synth render generators --weights equal --count 200 --out rows-2\n",
            ["no", "too few rows"],
        ),
        ({"p001": (40, 6), "p002": (6, 6)}, ["p002"], "--sample 100 --out audit-2\n", ["too few rows"] * 2),
        (
            {"p001": (6, 6), "p002": (0, 0)},
            ["p001", "p002"],
            "none of these gives 10 dis",
            ["too few rows"] * 2,
        ),
        ({"p001": (40, 40), "p002": (6, 6)}, ["p002"], "these rows are not what", ["no", "too few rows"]),
        ({"p001": (40, 40), "p002": (40, 10)}, [], "these rows are not what", ["no", "no"]),
    ],
)
def test_too_few_rows_are_no_verdict_and_the_next_step_is_more_of_them(
    audited: Path,
    given: Given,
    exhausted: list[str],
    says: str,
    verdicts: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """(rows, scored) by pattern; nothing is kept."""
    result = load_json(audited / "audit.json")
    filled = pattern(audited, "p001")
    result["patterns"] = [
        {**(filled if scored else {}), "pattern_id": name, "rows": rows, "scored": scored, "kept": False}
        for name, (rows, scored) in given.items()
    ]
    result |= {"kept": [], "rows": "/somewhere/rows"}
    manifest = {
        "patterns": [{"pattern_id": name, "exhausted": name in exhausted} for name in given],
        "request": {"generators": "generators"},
        "rows": 12,
    }
    print_audit(result, Path("audit"), manifest)
    said = capsys.readouterr().out
    assert says in said
    lines = [next(line for line in said.splitlines() if line.strip(" │|").startswith(name)) for name in given]
    assert [line.strip(" │|").endswith(verdict) for line, verdict in zip(lines, verdicts)] == [True, True], (
        lines
    )
    few = [name for name, (_, scored) in given.items() if scored < 10]
    assert (f"rows were scored of {', '.join(few)}: too few to tell" in said) == bool(few)


# -- diversity ----------------------------------------------------------------------------------------------------


def test_counts_double_up_to_all_rows_and_to_the_bound() -> None:
    assert doublings(100, 10) == [16, 32, 64, 100]
    assert doublings(64, 10) == [16, 32, 64]
    assert doublings(5, 10) == [5]
    assert doublings(10**9, 2049)[-1] == MOST_TOKENS // 2049


def test_distinct_and_new_grams_are_counted_by_hand() -> None:
    """Rows 0 and 1 hold 1 2 3 4 5 (two 4-grams each), row 2 one more."""
    rows = np.array([[1, 2, 3, 4, 5], [1, 2, 3, 4, 5], [2, 3, 4, 5, 6], [2, 3, 4, 5, 6]])
    (point,) = diversity(lambda n: rows[:n], [4])
    assert point["distinct"] == pytest.approx(3 / 8)  # 1234, 2345, 3456
    assert point["new"] == pytest.approx(1 / 4)  # 3456 of four


@pytest.mark.parametrize("base", [0, 100_000])
def test_exhaustion_shows_where_rows_repeat_and_not_where_they_do_not(base: int) -> None:
    """Twenty rows again and again, a thousand rows apart, against rows that never repeat; also for large ids."""
    rng = np.random.default_rng(0)
    fresh = base + rng.integers(0, 50_000, (2048, 64))
    again = fresh[np.arange(2048) % 20]
    counts = doublings(2048, 64)
    fresh_points, again_points = (diversity(lambda n, rows=rows: rows[:n], counts) for rows in (fresh, again))
    assert fresh_points[-1]["new"] > 0.99 and again_points[-1]["new"] == 0
    assert again_points[-1]["compression"] > 20 * fresh_points[-1]["compression"]
    assert again_points[-1]["compression"] > 10 * again_points[0]["compression"]


def test_the_audit_shows_the_exhausted_pattern_beside_natural_rows(audited: Path) -> None:
    curves = load_json(audited / "audit.json")["diversity"]
    assert [point["rows"] for point in curves["rendered"]] == [16, 32, 50]
    assert [point["rows"] for point in curves["natural_top"]] == [16, 32, 50]
    assert set(curves["patterns"]) == {"p001", "p002"}
    natural, few = curves["natural_random"][-1], curves["patterns"]["p002"][-1]
    assert few["distinct"] < 0.2 < natural["distinct"]
