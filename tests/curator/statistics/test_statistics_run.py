"""Statistics as a ranking on disk: the shards, a kill, what is refused, and every reader of rankings."""

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import done, refused
from engine_parts import GOLDEN
from rank_runs import CORPUS, UNITS, files, finish, request, results, small_request

import curator
from curator.artifacts.conditions import laid_over
from curator.artifacts.files import load_json
from curator.corpus import open_corpus
from curator.errors import CuratorError, UsageError
from curator.plan.plan import Plan
from curator.ranking.candidates import gather_candidates, sources_of
from curator.ranking.queries import Queries
from curator.ranking.ranking import Ranking
from curator.ranking.run import rank
from curator.ranking.selection import Select, loss_bins, select
from curator.statistics import stage
from curator.statistics.copyable import Copyable
from curator.statistics.settings import StatisticsSettings
from curator.statistics.stage import statistics

NAMES = ["statistic:copyable", "statistic:compression", "statistic:length", "statistic:loss"]


def asked(out: Path, **changes: Any) -> StatisticsSettings:
    """The golden rows that `rank_runs.request` ranks, with the same model and batches, float64."""
    given: dict[str, Any] = {
        "model": str(GOLDEN / "model"),
        "corpus": CORPUS,
        "samples": (3, 40),
        "dtype": "float64",
        "micro_batch": 4,
        "padding": 10,
        "out": out,
    }
    return StatisticsSettings(**laid_over(StatisticsSettings, given, changes))


def tokens(out: Path, **changes: Any) -> StatisticsSettings:
    """Statistics that ask no model."""
    return asked(out, model=None, micro_batch=None, dtype="float32", **changes)


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Ranking:
    """All four statistics; do not change it."""
    return statistics(asked(tmp_path_factory.mktemp("full") / "statistics"))


@pytest.fixture(scope="module")
def without(tmp_path_factory: pytest.TempPathFactory) -> Ranking:
    """The statistics of tokens, of all golden rows; do not change it."""
    return statistics(tokens(tmp_path_factory.mktemp("without") / "statistics", samples=None))


# -- what the folder says -------------------------------------------------------------------------------------------


def test_the_folder_is_a_ranking_without_blocks_whose_units_are_statistics(full: Ranking) -> None:
    assert full.units == NAMES and full.blocks.shape == (0, 37) and full.block_keys == []
    assert (full.first_sample, full.end, full.model) == (3, 40, str((GOLDEN / "model").absolute()))
    assert full.corpus_fingerprint == open_corpus(CORPUS).fingerprint()
    rows = np.load(CORPUS)[3:40]
    assert full.unit_scores("statistic:copyable").tolist() == Copyable()(rows).tolist()
    assert sorted(path.name for path in full.path.iterdir()) == [
        "blocks.npy",
        "losses.npy",
        "manifest.json",
        "scores.npy",
    ]
    manifest = full.manifest
    assert set(manifest["versions"]) == {"curator", "numpy", "python", "torch", "transformers", "zlib"}
    assert manifest["settings"]["statistics"] == {
        "copyable": {},
        "compression": {"codec": "deflate", "level": 9, "token_bytes": 2},
        "length": {"padding": [10]},
        "loss": {"dtype": "float64"},
    }
    assert "gradient" in manifest["settings"]["method"] and "influence" in manifest["sign_convention"]
    assert list(full.statistics) == NAMES and full.statistics[NAMES[0]]["higher"]


def test_no_model_is_named_where_none_was_asked(without: Ranking) -> None:
    assert without.model is None and without.manifest["fingerprints"]["model"] is None
    assert set(without.manifest["versions"]) == {"curator", "numpy", "python", "zlib"}
    assert without.units == NAMES[:3] and not without.has_losses and np.isnan(without.losses).all()


def test_statistics_of_tokens_import_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from curator.statistics.stage import StatisticsSettings, statistics\n"
        f"found = statistics(StatisticsSettings(corpus={str(GOLDEN / 'rows.npy')!r}, out={str(tmp_path / 'out')!r}))\n"
        "print(found.units, {'torch', 'transformers'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "['statistic:copyable', 'statistic:compression'] set()\n"


def test_the_command_in_the_manifest_makes_it_again(without: Ranking, tmp_path: Path) -> None:
    words = without.manifest["request"]["command"].split()
    done(*words[1:], "--out", tmp_path / "again")
    again = Ranking.open(tmp_path / "again")
    assert again.manifest["fingerprint"] == without.manifest["fingerprint"]
    assert files(again.path) == files(without.path)


def test_the_losses_are_those_of_an_influence_ranking_to_the_bit(full: Ranking, whole: Ranking) -> None:
    assert np.array_equal(full.losses, whole.losses) and full.losses.dtype == whole.losses.dtype
    assert full.unit_scores("statistic:loss").tolist() == (whole.losses / 32).tolist()


def test_in_float32_too(tmp_path: Path) -> None:
    ranked = rank(small_request(corpus=CORPUS, samples=(0, 16)), tmp_path / "ranking")
    full = statistics(asked(tmp_path / "full", samples=(0, 16), dtype="float32", statistics=["loss"]))
    assert np.array_equal(full.losses, ranked.losses) and full.losses.dtype == np.float32


# -- shards, and a kill ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 3, 10])
def test_law_2_no_cut_into_shards_changes_a_score(
    full: Ranking, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(stage, "SHARD_TOKENS", size * 33)
    monkeypatch.setattr(stage, "SHARD_PASSES", size)
    again = statistics(asked(tmp_path / "all"))
    assert again.manifest["layout"]["shard_size"] == 4 * -(-size // 4)
    assert np.array_equal(again.scores, full.scores) and np.array_equal(again.losses, full.losses)
    light = statistics(tokens(tmp_path / "tokens"))
    assert light.manifest["layout"]["shard_size"] == size
    assert np.array_equal(light.scores, full.scores[:3])


def test_another_range_gives_the_same_scores(full: Ranking, without: Ranking) -> None:
    assert np.array_equal(without.scores[:, 3:40], full.scores[:3])


_PROCESSES = multiprocessing.get_context("forkserver")


def _die_at(settings: StatisticsSettings, place: str, before: bool) -> None:
    """In another process, with shards of 4 samples: SIGKILL before or after the file ``place`` appears."""
    stage.SHARD_TOKENS, stage.SHARD_PASSES = 4 * 129, 4
    replace = os.replace

    def dying(source: Any, target: Any) -> None:
        hit = str(target).endswith(place)
        if hit and before:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target)
        if hit:
            os.kill(os.getpid(), signal.SIGKILL)

    os.replace = dying  # type: ignore[assignment]
    with open(os.devnull, "w") as sys.stderr:
        statistics(settings)


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("place", ["manifest.json", "000000.npy", "000003.npy", "scores.npy", "losses.npy"])
def test_a_killed_run_leaves_nothing_half_and_goes_on(
    full: Ranking, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, before: bool
) -> None:
    out = tmp_path / "statistics"
    child = _PROCESSES.Process(target=_die_at, args=(asked(out), place, before), daemon=True)
    child.start()
    assert finish(child) == -signal.SIGKILL
    with pytest.raises(CuratorError, match=r"unfinished; run the same `curator statistics`|not a ranking"):
        Ranking.open(out)
    finished = len(list(out.glob("shards/*.npy")))
    assert finished == {"000003.npy": 3 + (not before), "000000.npy": int(not before)}.get(
        place, 0 if "manifest" in place else 10
    )
    monkeypatch.setattr(stage, "SHARD_TOKENS", 4 * 129)
    monkeypatch.setattr(stage, "SHARD_PASSES", 4)
    written: list[Path] = []
    save = stage.save_array
    monkeypatch.setattr(stage, "save_array", lambda path, array: (written.append(path), save(path, array)))
    again = statistics(asked(out))
    assert len(written) == 10 - finished  # what was done is not done again
    assert results(again.path) == results(full.path)
    assert not (out / "shards").exists() and len(list(out.iterdir())) == 4


def test_a_second_start_does_nothing_and_another_request_is_refused_with_both_sides(
    full: Ranking, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = shutil.copytree(full.path, tmp_path / "copy")
    before = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    statistics(asked(out, micro_batch=None))  # the first start chose
    assert "already complete" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in out.iterdir()} == before
    for changes, says in (
        ({"samples": (3, 41)}, r"samples: there \[3, 40\], asked for \[3, 41\]"),
        ({"padding": 11}, r"settings.statistics.length.padding: there \[10\], asked for \[11\]"),
        ({"statistics": ["copyable"]}, "units: there"),
        ({"micro_batch": 8}, "micro_batch: there 4, asked for 8"),
    ):
        with pytest.raises(CuratorError, match=says):
            statistics(asked(out, **changes))


def test_a_ranking_of_either_kind_is_not_written_into_the_other(
    full: Ranking, whole: Ranking, tmp_path: Path
) -> None:
    with pytest.raises(CuratorError, match=r"something else.*\n  blocks: there \[\], asked for"):
        rank(request(), shutil.copytree(full.path, tmp_path / "full"))
    with pytest.raises(CuratorError, match=r"other scores.*\n  blocks: there \['induction:1.2/qk'"):
        statistics(asked(shutil.copytree(whole.path, tmp_path / "whole")))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "note.txt").touch()
    with pytest.raises(CuratorError, match="not empty and holds no ranking"):
        statistics(asked(tmp_path / "other"))


# -- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"corpus": None}, "'corpus' is missing"),
        ({"statistics": ["loss"], "model": None}, "loss: the loss of which model. Give --model"),
        (
            {"statistics": ["length"], "model": None, "padding": None},
            "length: neither --padding nor a tokenizer",
        ),
        ({"samples": (3, 999)}, r"samples \[3, 999\) are not within the corpus"),
        ({"samples": None, "window": (1, 2)}, "'batch_size' is missing"),
        (
            {"samples": None, "window": (1, 99), "batch_size": 8, "epochs": 2},
            "2 epochs of 256 samples are 64 steps",
        ),
    ],
    ids=str,
)
def test_what_is_missing_is_named(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        statistics(asked(tmp_path / "out", **changes))
    assert not (tmp_path / "out").exists()


def test_an_unknown_statistic_is_refused_with_near_ones(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown value 'copyabel'; did you mean 'copyable'"):
        tokens(tmp_path, statistics=["copyabel"])
    words = ["statistics", "--corpus", CORPUS, "--out", tmp_path / "out"]
    assert "--statistic" in (said := refused(2, *words, "--statistic", "lenght")) and "'length'" in said
    assert "--padding: -1 is not allowed" in refused(2, *words, "--padding", -1)


@pytest.mark.parametrize("name", ["copyable", "compression"])
def test_a_token_id_that_cannot_be_is_refused_with_its_place(tmp_path: Path, name: str) -> None:
    rows = np.load(CORPUS).astype(np.int64)
    for wrong in (-1, 1 << 40):
        rows[7, 5] = wrong
        np.save(tmp_path / "rows.npy", rows)
        with pytest.raises(CuratorError, match=rf"rows\.npy: sample 7, column 5: token id {wrong}"):
            statistics(tokens(tmp_path / "out", corpus=tmp_path / "rows.npy", statistics=[name]))
    assert not (tmp_path / "out").exists()
    statistics(
        tokens(tmp_path / "out", corpus=tmp_path / "rows.npy", samples=(8, 20))
    )  # it is not among these


def test_a_token_id_that_the_model_does_not_have_is_refused(tmp_path: Path) -> None:
    rows = np.load(CORPUS)
    rows[7, 5] = 60000
    np.save(tmp_path / "rows.npy", rows)
    corpus = tmp_path / "rows.npy"
    with pytest.raises(
        CuratorError, match=r"sample 7, column 5: token id 60000 is outside the vocabulary of 512"
    ):
        statistics(asked(tmp_path / "out", corpus=corpus))
    statistics(asked(tmp_path / "out", corpus=corpus, statistics=["copyable"]))  # which asks no model


def test_wide_ids_take_four_bytes(tmp_path: Path) -> None:
    rows = np.load(CORPUS).astype(np.uint32)
    rows[7, 5] = 70000
    np.save(tmp_path / "rows.npy", rows)
    full = statistics(tokens(tmp_path / "out", corpus=tmp_path / "rows.npy", statistics=["compression"]))
    assert full.manifest["settings"]["statistics"]["compression"]["token_bytes"] == 4


def test_a_statistic_that_tells_no_samples_apart_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    statistics(tokens(tmp_path / "out", statistics=["length"], padding=511))
    assert "statistic:length is 33 for every sample" in capsys.readouterr().err


def test_a_window_names_its_samples(tmp_path: Path) -> None:
    full = statistics(tokens(tmp_path / "one", samples=None, window=(2, 5), batch_size=8))
    assert (full.first_sample, full.end, full.steps, full.batch_size) == (16, 40, (2, 5), 8)
    assert full.manifest["request"]["window"] == {"steps": [2, 5], "batch_size": 8, "epochs": 1}
    later = statistics(tokens(tmp_path / "two", samples=None, window=(34, 37), batch_size=8, epochs=2))
    assert np.array_equal(later.scores, full.scores)  # the same rows in the second epoch


def test_an_experiment_file_says_the_same(tmp_path: Path, without: Ranking) -> None:
    file = tmp_path / "study.yml"
    file.write_text(f"corpus: {CORPUS}\nstatistics: {{padding: 10, out: full}}\n")
    done("statistics", "-e", file)
    assert results(tmp_path / "full") == results(without.path)


# -- readers of rankings --------------------------------------------------------------------------------------------


def test_top_bottom_and_scores_are_by_the_statistic(without: Ranking) -> None:
    unit = "statistic:copyable"
    scores = without.unit_scores(unit)
    falling = np.argsort(-scores, kind="stable")
    assert without.top(5, unit).tolist() == falling[:5].tolist()
    assert without.scores_of(without.bottom(3, unit), unit).tolist() == np.sort(scores)[:3].tolist()
    with pytest.raises(
        UsageError, match="say which unit; this ranking has: statistic:copyable, statistic:comp"
    ):
        without.top(5)


def test_show_says_what_a_statistic_is_and_leaves_out_what_is_not_there(
    without: Ranking, full: Ranking, tmp_path: Path
) -> None:
    words = ["--unit", "statistic:copyable", "--top", 2, "--json", tmp_path / "shown.json"]
    said = done("show", without.path, *words, "--markdown", tmp_path / "shown.md")
    assert "statistic:copyable is a statistic: share of the tokens" in said and "higher = more of" in said
    assert "nats per token" not in said and "blocks" not in said and "nan" not in said
    shown = json.loads((tmp_path / "shown.json").read_text())
    assert [one["sample"] for one in shown] == without.top(2, "statistic:copyable").tolist()
    assert shown[0]["loss"] is None and shown[0]["block_scores"] == {}
    assert "curator mask --ranking" in said and "--unit statistic:copyable" in said
    assert "nats per token" in done("show", full.path, *words)


@pytest.mark.parametrize("how", ["top", "bottom", "random"])
def test_mask_and_inject_take_a_statistic_like_any_unit(without: Ranking, tmp_path: Path, how: str) -> None:
    given = ["--ranking", without.path, "--unit", "statistic:compression", "--select", how, "--batch-size", 8]
    done("mask", *given, "--percent", 10, "--out", tmp_path / "mask")
    masked = np.sort(Plan.load(tmp_path / "mask").masked_slots()).tolist()
    expected = {
        "top": without.top(26, "statistic:compression"),
        "bottom": without.bottom(26, "statistic:compression"),
    }
    if how in expected:
        assert masked == np.sort(expected[how]).tolist()
    else:
        assert len(masked) == 26 and not set(masked) & set(expected["top"].tolist())
    done("inject", *given, "--count", 8, "--after", 3, "--out", tmp_path / "inject")
    assert Plan.load(tmp_path / "inject").n_slots == 256 + 8


def test_several_statistics_are_averaged_only_where_they_are_named(without: Ranking, tmp_path: Path) -> None:
    words = [
        "mask",
        "--ranking",
        without.path,
        "--percent",
        10,
        "--batch-size",
        8,
        "--out",
        tmp_path / "plan",
    ]
    said = refused(2, *words)
    assert "statistics of different things" in said and "statistic:copyable, statistic:compression" in said
    done(*words, "--unit", "statistic:copyable", "--unit", "statistic:compression")
    one = statistics(tokens(tmp_path / "one", samples=None, statistics=["copyable"]))
    assert select(one, count=3).samples.tolist() == np.sort(without.top(3, "statistic:copyable")).tolist()


def test_a_statistic_and_an_influence_ranking_are_chosen_from_together(
    whole: Ranking, without: Ranking
) -> None:
    """Candidates are what both hold; losses come from the one that has them, in whatever order they are given."""
    units = ("statistic:copyable", UNITS[0])
    pool = gather_candidates(sources_of([without, whole], units))
    assert pool.samples.tolist() == list(range(3, 40)) and pool.losses is not None
    assert pool.losses.tolist() == np.asarray(whole.losses, np.float64).tolist()


@pytest.mark.parametrize("order", ["statistics first", "statistics last"])
def test_loss_matched_takes_losses_where_they_are(
    whole: Ranking, without: Ranking, full: Ranking, order: str
) -> None:
    """A control for the top of a statistic with the losses of its own model, or of a ranking beside it."""
    pair = [without, whole] if order == "statistics first" else [whole, without]
    units = ("statistic:copyable", UNITS[0])
    given: dict[str, Any] = {"count": 6, "bins": 3}
    for sources in (sources_of([full], ["statistic:copyable"]), sources_of(pair, units)):
        top, control = (set(select(sources, how, **given).samples.tolist()) for how in _TWO)
        bins = dict(zip(range(3, 40), loss_bins(np.asarray(whole.losses, np.float64), 3).tolist()))
        assert len(control) == 6 and not top & control
        assert sorted(bins[one] for one in control) == sorted(bins[one] for one in top)
    described = select(sources_of(pair, units), "loss-matched", **given).description
    assert described["losses"] == str(whole.path)


_TWO: tuple[Select, Select] = ("top", "loss-matched")


def test_loss_matched_without_losses_is_refused_with_the_mend(without: Ranking, tmp_path: Path) -> None:
    words = ["mask", "--ranking", without.path, "--unit", "statistic:copyable", "--percent", 10]
    words += ["--batch-size", 8, "--select", "loss-matched", "--out", tmp_path / "plan"]
    assert "statistics that asked no model have none: make them again with --model" in refused(2, *words)
    assert not (tmp_path / "plan").exists()


def test_what_needs_queries_says_that_statistics_have_none(without: Ranking, tmp_path: Path) -> None:
    with pytest.raises(
        CuratorError, match=r"has no queries: it is of statistics.*rank the corpus with `curator rank`"
    ):
        Queries.open(without.path)
    words = [
        "rank",
        "--queries-of",
        without.path,
        "--corpus",
        CORPUS,
        "--out",
        tmp_path / "ranking",
    ]
    assert "it is of statistics" in refused(1, *words)


def test_law_8_statistics_of_another_corpus_or_edited_ones_are_refused(
    without: Ranking, tmp_path: Path, others: dict[str, Any]
) -> None:
    with pytest.raises(CuratorError, match="give the same corpus"):
        without.open_corpus(others["corpus"])
    copied = shutil.copytree(without.path, tmp_path / "copied")
    scores = np.load(copied / "scores.npy")
    np.save(copied / "scores.npy", scores[::-1].copy())
    with pytest.raises(CuratorError, match=r"scores\.npy: has fingerprint \w+, but \w+ was written"):
        Ranking.open(copied)
    manifest = load_json(without.path / "manifest.json")
    manifest["settings"]["statistics"]["length"]["padding"] = [3]
    (copied / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CuratorError, match="it was edited"):
        Ranking.open(copied)


def test_the_library_gives_it_and_a_room_is_called_as_its_stage(tmp_path: Path, without: Ranking) -> None:
    found = curator.statistics(curator.StatisticsSettings(corpus=CORPUS, padding=10, out=tmp_path / "out"))
    assert np.array_equal(found.scores, without.scores)
    assert np.isnan(curator.Ranking.open(tmp_path / "out").losses).all()
    views = curator.show(found, "statistic:copyable", count=2)
    assert [view.sample for view in views] == found.top(2, "statistic:copyable").tolist() and views[
        0
    ].loss is None
