"""`curator rank --queries-of`: other rows are scored exactly as the samples of a ranking were, and nothing else is."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import done, refused
from engine_parts import relative_error
from forked import finish
from rank_runs import CORPUS, UNITS, request, start

from curator.artifacts.files import load_json, save_json
from curator.errors import CuratorError, UsageError
from curator.ranking.given_queries import GivenQueries
from curator.ranking.ranking import Ranking
from curator.ranking.run import prepare_queries, rank
from curator.ranking.settings import RankSettings

LAYOUT: dict[str, Any] = {"samples": (3, 40), "micro_batch": 4, "shard_size": 8}


def asked(whole: Path, **changes: Any) -> RankSettings:
    given = {"corpus": CORPUS, **LAYOUT, **changes}
    return GivenQueries.open(whole).request(**given)


@pytest.fixture
def copied(whole: Ranking, tmp_path: Path) -> Path:
    """The ranking's folder, to be damaged."""
    return shutil.copytree(whole.path, tmp_path / "copied")


def test_the_corpus_scored_again_with_its_own_queries_gives_the_same_bits(
    whole: Ranking, tmp_path: Path
) -> None:
    """Law 2, and nothing is fitted: a ranking of the same rows is the same, without factors."""
    again = rank(asked(whole.path), tmp_path / "again")
    for name in ("scores", "blocks", "losses"):
        np.testing.assert_array_equal(getattr(again, name), getattr(whole, name))
    assert not (tmp_path / "again" / "factors").exists()
    given = again.manifest["settings"]["queries_of"]
    assert given["corpus"] == whole.corpus_fingerprint and given["samples"] == [3, 40]
    ours = {key: value for key, value in again.manifest["settings"].items() if key != "queries_of"}
    assert ours == whole.manifest["settings"]


def test_other_rows_have_the_scores_they_have_within_the_ranking(whole: Ranking, tmp_path: Path) -> None:
    """Sample by sample: rows 3 to 39 alone in a corpus of their own, in reverse order, for one unit."""
    np.save(tmp_path / "rows.npy", np.load(CORPUS)[3:40][::-1])
    again = rank(
        asked(whole.path, corpus=tmp_path / "rows.npy", samples=None, units=UNITS[1:]), tmp_path / "again"
    )
    assert again.units == [UNITS[1]] and again.first_sample == 0
    assert relative_error(again.scores[0][::-1], whole.scores[1]) < 1e-9


def test_it_stands_alone_and_its_queries_can_be_given_on(
    whole: Ranking, copied: Path, tmp_path: Path
) -> None:
    rank(asked(copied), tmp_path / "again")
    shutil.rmtree(copied)
    chained = rank(asked(tmp_path / "again"), tmp_path / "chained")
    np.testing.assert_array_equal(chained.scores, whole.scores)


def test_queries_alone_are_enough(tmp_path: Path) -> None:
    prepare_queries(request(), tmp_path / "queries")
    again = rank(asked(tmp_path / "queries"), tmp_path / "again")
    complete = rank(request(), tmp_path / "queries")
    np.testing.assert_array_equal(again.scores, complete.scores)


def test_it_is_resumed_after_a_kill_and_other_queries_are_refused(
    whole: Ranking, others: dict[str, Any], tmp_path: Path
) -> None:
    out = tmp_path / "again"
    assert finish(start(asked(whole.path), out, die_at=("shards/000002", "after"))) == -9
    other = rank(request(factor_samples=10), tmp_path / "other")
    with pytest.raises(CuratorError, match=r"settings\.") as refusal:
        rank(asked(other.path), out)
    assert "factor_samples: there 18, asked for 10" in str(refusal.value)
    assert "queries_of.fingerprint" in str(refusal.value)
    assert finish(start(asked(whole.path), out)) == 0
    np.testing.assert_array_equal(Ranking.open(out).scores, whole.scores)


def test_another_model_is_refused_with_both_fingerprints(
    whole: Ranking, others: dict[str, Any], tmp_path: Path, no_pass: None
) -> None:
    there = whole.manifest["fingerprints"]["model"]
    with pytest.raises(CuratorError, match=f"fingerprint {there}.*but .* has [0-9a-f]{{16}}"):
        rank(asked(whole.path, model=others["model"]), tmp_path / "again")
    assert not (tmp_path / "again" / "manifest.json").exists()


def test_an_edited_query_is_noticed(copied: Path, tmp_path: Path, no_pass: None) -> None:
    query = np.load(copied / "queries" / "0001.npy")
    query[0, 0] += 1
    np.save(copied / "queries" / "0001.npy", query)
    with pytest.raises(CuratorError, match=r"0001\.npy: has fingerprint .* was written"):
        rank(asked(copied), tmp_path / "again")


@pytest.mark.parametrize(
    ("before", "said"),
    [(("content", "fingerprint"), "made for another run"), ((), "was edited, or is of another ranking")],
)
def test_queries_of_another_run_than_the_manifests_are_refused(
    copied: Path, before: tuple[str, ...], said: str
) -> None:
    """Also beside a manifest that has no fingerprint of its own: a running ranking's, or an older version's."""
    manifest = load_json(copied / "manifest.json")
    manifest["settings"]["damping"]["alpha"] = 0.2
    save_json(copied / "manifest.json", {key: value for key, value in manifest.items() if key not in before})
    with pytest.raises(CuratorError, match=said):
        GivenQueries.open(copied)


def test_a_unit_that_was_not_ranked_is_refused_with_those_that_were(
    whole: Ranking, tmp_path: Path, no_pass: None
) -> None:
    with pytest.raises(UsageError, match=r"no queries of induction:0\.0; there are induction:1\.2, previous"):
        rank(asked(whole.path, units=("induction:0.0",)), tmp_path / "again")


def test_settings_other_than_the_rankings_are_refused(whole: Ranking, tmp_path: Path, no_pass: None) -> None:
    with pytest.raises(UsageError, match=r"^'fisher' cannot stand beside 'queries_of'"):
        rank(request(queries_of=whole.path, fisher="empirical"), tmp_path / "again")


def test_a_ranking_without_queries_is_refused(copied: Path) -> None:
    shutil.rmtree(copied / "queries")
    with pytest.raises(CuratorError, match="has no queries"):
        GivenQueries.open(copied)


def test_the_command_takes_model_and_units_from_the_ranking(whole: Ranking, tmp_path: Path) -> None:
    words = ["rank", "--queries-of", whole.path, "--corpus", CORPUS, "--samples", "3:40"]
    done(*words, "--micro-batch", 4, "--shard-size", 8, "--out", tmp_path / "again")
    again = Ranking.open(tmp_path / "again")
    np.testing.assert_array_equal(again.scores, whole.scores)
    command = again.manifest["request"]["command"]
    assert f"--queries-of {whole.path}" in command and "--fisher" not in command


@pytest.mark.parametrize(
    "flags",
    [("--fisher", "empirical"), ("--probe-seed", 1), ("--probe-lengths", "4:8"), ("--dtype", "float32"),
     ("--window", "0:2"), ("--queries-only",)],
)  # fmt: skip
def test_flags_that_the_queries_have_decided_are_refused(
    whole: Ranking, tmp_path: Path, flags: tuple[Any, ...]
) -> None:
    words = ["rank", "--queries-of", whole.path, "--corpus", CORPUS, "--out", tmp_path / "x"]
    said = refused(2, *words, *flags)
    assert flags[0] in said and "--queries-of" in said
    assert not (tmp_path / "x").exists()
