"""`curator mask` as a user meets it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import done, instead, refused
from engine_parts import GOLDEN

from curator.plan.plan import Plan
from curator.ranking.ranking import Ranking

# -- mask -----------------------------------------------------------------------------------------------------------


def masked(folder: Path) -> set[int]:
    """Slots that the plan trains on with weight 0."""
    plan = Plan.load(folder)
    slots = np.asarray(plan.weight_slots)[np.asarray(plan.weights) == 0]
    return set(slots.tolist())


def test_mask_selects_in_every_way(study: Path, tmp_path: Path) -> None:
    base = ["mask", "-e", study / "study.yml"]
    more: dict[str, list[Any]] = {"loss-matched": ["--loss-bins", 4]}
    chosen = {}
    for select in ("top", "bottom", "random", "loss-matched", "random-in-category"):
        done(*base, "--select", select, "--out", tmp_path / select, *more.get(select, []))
        chosen[select] = set(np.load(tmp_path / select / "samples.npy").tolist())
        assert len(chosen[select]) == 32 and chosen[select] <= set(range(160, 480))
        assert masked(tmp_path / select) == chosen[select]
        assert json.loads((tmp_path / select / "selection.json").read_text())["select"] == select
    falling = np.argsort(-Ranking.open(study / "ranking").unit_scores("induction:1.0"), kind="stable") + 160
    assert chosen["top"] == set(falling[:32].tolist()) and chosen["bottom"] == set(falling[-32:].tolist())
    for control in ("random", "loss-matched", "random-in-category"):
        assert not chosen[control] & chosen["top"]
    categories = np.load(study / "corpus" / "category_ids.npy")
    drills = [categories[sorted(chosen[select])].sum() for select in ("top", "random-in-category")]
    assert drills[0] == drills[1]


def test_mask_within_steps_and_of_several_rankings(study: Path, tmp_path: Path) -> None:
    rank = ["rank", "-e", study / "study.yml", "--samples", "320:480", "--out", tmp_path / "late"]
    done(*rank)
    rankings = ["--ranking", study / "ranking", "--ranking", tmp_path / "late", "--batch-size", 16]
    done("mask", *rankings, "--count", 20, "--steps", "22:26", "--out", tmp_path / "plan")
    assert len(masked(tmp_path / "plan")) == 20
    assert masked(tmp_path / "plan") <= set(range(22 * 16, 26 * 16))
    selection = json.loads((tmp_path / "plan" / "selection.json").read_text())
    assert len(selection["rankings"]) == 4  # two rankings of two units
    message = refused(2, "mask", *rankings, "--count", 20, "--steps", "12:26", "--out", tmp_path / "p")
    assert "hold samples 320 to 479" in message


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--count", 3, "--percent", 3], "exclude each other"),
        ([], "a count or a percent"),
        (["--percent", 0], "--percent: 0.0"),
        (["--percent", 101], "at most 100"),
        (["--count", 9999], "320 candidates"),
        (["--count", -1], "--count: -1"),
        (["--count", 3, "--select", "tpo"], "did you mean 'top'?"),
        (["--count", 3, "--unit", "induction:0.0"], "induction:1.0, previous-token:0.1"),
        (["--count", 3, "--divisor", "keep"], "kept, renormalised"),
        (["--count", 3, "--steps", "4"], "--steps takes FIRST:LAST"),
        (["--count", 3, "--batch-size", 1000], "has 480 samples"),
    ],
    ids=str,
)
def test_mask_refuses_and_says_what_is_allowed(
    study: Path, tmp_path: Path, flags: list[Any], says: str
) -> None:
    words = ["mask", "--ranking", study / "ranking", "--batch-size", 16, "--out", tmp_path / "plan"]
    assert says in refused(2, *instead(words, flags))
    assert not (tmp_path / "plan").exists()


def test_a_plan_or_any_other_folder_is_not_overwritten(study: Path, tmp_path: Path) -> None:
    words = ["mask", "--ranking", study / "ranking", "--batch-size", 16, "--count", 3]
    done(*words, "--out", tmp_path / "plan")
    before = masked(tmp_path / "plan")
    assert "holds a plan already" in refused(1, *words, "--select", "bottom", "--out", tmp_path / "plan")
    assert masked(tmp_path / "plan") == before
    assert "not empty" in refused(1, *words, "--out", study / "ranking")
    assert not (study / "ranking" / "plan.json").exists()


def test_mask_needs_the_ranked_corpus_where_it_has_moved(study: Path, tmp_path: Path) -> None:
    words = ["mask", "--ranking", study / "ranking", "--batch-size", 16, "--count", 3]
    words += ["--out", tmp_path / "plan", "--corpus"]
    assert "give the same corpus" in refused(1, *words, GOLDEN / "rows.npy")
