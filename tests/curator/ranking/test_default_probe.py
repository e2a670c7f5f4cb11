"""What an induction head is asked where nothing is said: copy gain. Folders from before keep the paper's probe.

Specs that say no probe mean their kind's default, recorded names that say none the paper's: what was written by either
version opens, and is gone on with, as what it is.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import done, rank_golden, refused
from engine_parts import GOLDEN, relative_error
from rank_runs import small_request
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

import curator
from curator.artifacts.conditions import laid_over
from curator.artifacts.files import load_json, save_json
from curator.artifacts.unit_names import units_called
from curator.errors import CuratorError, UsageError
from curator.influence.emission import Emission
from curator.ranking.given_queries import GivenQueries
from curator.ranking.ranking import Ranking
from curator.ranking.run import prepare_queries, rank
from curator.ranking.settings import RankSettings

TODAY = GOLDEN / "today"
HEAD, GAIN = "induction:1.2", "induction:1.2:gain"


def unsaid(**changes: Any) -> RankSettings:
    """8 golden samples; nothing says a probe."""
    given: dict[str, Any] = {"model": str(GOLDEN / "model"), "corpus": GOLDEN / "rows.npy", "units": (HEAD,)}
    given |= {"samples": (0, 8), "probe": curator.Probe(sequences=6), "micro_batch": 4, "factor_samples": 8}
    return RankSettings(**laid_over(RankSettings, given, changes))


@pytest.fixture(scope="module")
def by_gain(tmp_path_factory: pytest.TempPathFactory) -> Ranking:
    """Asked for by name."""
    asked = unsaid(units=(f"{HEAD}:gain", f"{HEAD}:paper"))
    return rank(asked, tmp_path_factory.mktemp("gain") / "ranking")


def test_the_library_asks_induction_heads_by_gain_and_others_by_the_papers(
    by_gain: Ranking, tmp_path: Path
) -> None:
    ranking = curator.rank(unsaid(units=(HEAD, "previous-token:0.0"), out=tmp_path / "ranking"))
    assert ranking.units == [GAIN, "previous-token:0.0"] and by_gain.units == [GAIN, HEAD]
    np.testing.assert_allclose(ranking.unit_scores(GAIN), by_gain.unit_scores(GAIN), rtol=1e-5)
    assert np.abs(by_gain.unit_scores(GAIN) - by_gain.unit_scores(HEAD)).max() > 0.1
    np.testing.assert_array_equal(ranking.unit_scores(HEAD), ranking.unit_scores(GAIN))


def test_the_command_and_its_file_ask_by_gain_and_by_the_papers_where_they_say_so(tmp_path: Path) -> None:
    words = [word for word in rank_golden(tmp_path / "a") if word not in ("--probe", "paper")]
    assert GAIN in done(*words, "--unit", HEAD)
    shown = ["show", tmp_path / "a", "--unit", HEAD, "--top", 2]
    assert f"top 2 of {GAIN}" in done(*shown)
    where = {"model": str(GOLDEN / "model"), "corpus": str(GOLDEN / "rows.npy"), "units": [HEAD]}
    small = {"rank": {"factor_samples": 8, "samples": [0, 8]}}
    for name, probe in ((GAIN, {"sequences": 4}), (HEAD, {"sequences": 4, "name": "paper"})):
        (tmp_path / "e.yml").write_text(json.dumps({**where, **small, "probe": probe}))
        done("rank", "-e", tmp_path / "e.yml", "--out", tmp_path / name)
        assert Ranking.open(tmp_path / name).units == [name]
    again = Ranking.open(tmp_path / HEAD).manifest["request"]["command"].split()
    done(*again[1:], "--out", tmp_path / "again")
    assert Ranking.open(tmp_path / "again").units == [HEAD]


def test_given_tokens_are_asked_the_papers_question(others: dict[str, Any], tmp_path: Path) -> None:
    """Nothing is drawn, so that there is no other first copy; asked for by name, gain says so."""
    tokens = {"probe": curator.Probe(tokens=others["probe_tokens"])}
    assert rank(unsaid(**tokens), tmp_path / "ranking").units == [HEAD]
    with pytest.raises(CuratorError, match=r"'gain' draws sequences of its own.*on given tokens ask 'paper'"):
        rank(unsaid(**tokens, units=(GAIN,)), tmp_path / "other")


def test_names_of_rankings_mean_what_they_say() -> None:
    both = [HEAD, GAIN, "previous-token:0.0"]
    assert units_called(HEAD, both) == [HEAD] == units_called(f"{HEAD}:paper", both)
    assert units_called(HEAD, [GAIN, f"{HEAD}:natural"]) == [GAIN, f"{HEAD}:natural"]
    assert units_called(f"{HEAD}:paper", [GAIN]) == [] == units_called("induction:1", both)


# -- folders of before ----------------------------------------------------------------------------------------


def old_ranking(tmp_path: Path) -> tuple[Path, list[str]]:
    """A copy of a ranking that version 0.1 wrote, stopped before its scores; the command it was made by."""
    for name in ("corpus", "rank64"):
        shutil.copytree(TODAY / name, tmp_path / name)
    shutil.copytree(TODAY / "base" / "step20", tmp_path / "base" / "step20")
    manifest = load_json(TODAY / "rank64" / "manifest.json")
    running = {key: value for key, value in manifest.items() if key not in ("content", "fingerprint")}
    save_json(tmp_path / "rank64" / "manifest.json", {**running, "status": "running"})
    for name in ("scores", "blocks", "losses"):
        (tmp_path / "rank64" / f"{name}.npy").unlink()
    words = manifest["request"]["command"].replace("'", "").split()
    return tmp_path / "rank64", [word if word != "curator" else "rank" for word in words][1:]


def test_an_old_ranking_is_resumed_by_its_own_command_as_the_papers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, words = old_ranking(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert words[0] == "rank" and "--probe" not in words
    said = refused(1, *words, "--probe", "gain", "--out", out)
    assert "there ['induction:1.0', 'induction:1.1'], asked for ['induction:1.0:gain'" in said
    done(*words, "--out", out)
    resumed, before = Ranking.open(out), Ranking.open(TODAY / "rank64")
    assert resumed.units == before.units == ["induction:1.0", "induction:1.1"]
    assert relative_error(resumed.scores, before.scores) < 1e-9
    assert resumed.manifest["settings"] == before.manifest["settings"]
    assert "--probe paper" in resumed.manifest["request"]["command"]
    done(*words, "--out", tmp_path / "new")
    assert Ranking.open(tmp_path / "new").units == ["induction:1.0:gain", "induction:1.1:gain"]


def test_a_ranking_of_today_by_the_papers_probe_is_not_gone_on_with_unasked(tmp_path: Path) -> None:
    rank(small_request(), tmp_path / "ranking")
    with pytest.raises(
        CuratorError, match=r"units: there \['induction:1.2'\], asked for \['induction:1.2:gain'\]"
    ):
        rank(unsaid(factor_samples=100_000), tmp_path / "ranking")


# -- queries and emissions ------------------------------------------------------------------------------------


def test_given_queries_are_those_of_the_named_units_whichever_probe_made_them(tmp_path: Path) -> None:
    for place, asked in (("gain", unsaid()), ("paper", small_request(factor_samples=8))):
        prepare_queries(asked, tmp_path / place)
    words = ["rank", "--corpus", GOLDEN / "rows.npy", "--samples", "8:12", "--queries-of"]
    for n, (place, more, name) in enumerate(
        [("gain", (), GAIN), ("gain", (HEAD,), GAIN), ("gain", ("induction:1.*",), ""), ("gain", (GAIN,), GAIN),
         ("gain", (f"{HEAD}:paper",), ""), ("paper", (), HEAD), ("paper", (HEAD,), HEAD), ("paper", (GAIN,), "")]
    ):  # fmt: skip
        asked = [
            *words,
            tmp_path / place,
            "--out",
            tmp_path / str(n),
            *(w for u in more for w in ("--unit", u)),
        ]
        if name:
            done(*asked)
            assert Ranking.open(tmp_path / str(n)).units == [name]
        else:
            there = GAIN if place == "gain" else HEAD
            assert f"; there are {there}" in refused(2, *asked)
    asked = GivenQueries.open(tmp_path / "gain").request(GOLDEN / "rows.npy", samples=(8, 12))
    np.testing.assert_array_equal(
        rank(asked, tmp_path / "library").scores, Ranking.open(tmp_path / "0").scores
    )


def test_an_emission_of_a_head_answers_whatever_it_is_asked(tmp_path: Path) -> None:
    """Version 0.1's: its labels are of the component. Without its corpus, what to do is said."""
    rows = np.random.default_rng(5).integers(32, 127, (64, 33)).astype(np.uint16)  # those of golden/freeze.py
    np.save(tmp_path / "chars.npy", rows)
    config = GPTNeoXConfig(
        vocab_size=512, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=32,
    )  # fmt: skip
    GPTNeoXForCausalLM(config).save_pretrained(tmp_path / "model")
    words = [
        "rank",
        "--emitted",
        TODAY / "emission",
        "--model",
        tmp_path / "model",
        "--unit",
        "induction:1.0",
    ]
    words += ["--samples", "20:28", "--probe-lengths", "4:8", "--probe-ids", "all", "--out"]
    assert {
        block["label"].partition("/")[0] for block in Emission.open(TODAY / "emission").manifest["blocks"]
    } == {f"induction:1.{head}" for head in range(4)}
    said = refused(2, *words, tmp_path / "none")
    assert "needs the corpus" in said and "--corpus" in said and "--probe paper" in said
    done(*words, tmp_path / "gain", "--corpus", tmp_path / "chars.npy")
    assert list(map(str, Ranking.open(tmp_path / "gain").block_keys)) == [
        f"induction:1.0:gain/{block}" for block in ("qk", "v", "o")
    ]
    done(*words, tmp_path / "paper", "--probe", "paper")
    np.save(tmp_path / "tokens.npy", np.array([[1, 2, 3, 1, 2, 3]]))
    drawn = words.index("--probe-lengths")
    done(*words[:drawn], "--probe-tokens", tmp_path / "tokens.npy", "--out", tmp_path / "tokens")
    for place in ("paper", "tokens"):
        assert Ranking.open(tmp_path / place).units == ["induction:1.0"]


def test_curves_without_a_corpus_say_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "step7").symlink_to(GOLDEN / "model")
    words = ["curves", tmp_path / "run", "--measure", "probe", "--unit", HEAD, "--out"]
    said = refused(2, *words, tmp_path / "a")
    assert "needs the corpus" in said and "--probe paper" in said
    assert GAIN in done(*words, tmp_path / "b", "--corpus", GOLDEN / "rows.npy")
    assert HEAD in done(*words, tmp_path / "c", "--probe", "paper")
    with pytest.raises(UsageError, match=r"needs the corpus.*give it \('corpus'\)"):
        curator.curves(
            curator.CurvesSettings(
                runs=(str(tmp_path / "run"),), measure=("probe",), units=(HEAD,), out=tmp_path / "d"
            )
        )
