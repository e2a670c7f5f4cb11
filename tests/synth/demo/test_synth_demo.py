"""The demo of synth at a size that forms no head: every command, every arm, every promise of the report.

Whether rendered rows speed a head up is the full demo's business (docs/results.md); here a formation is put in its
place, so that the arms run in seconds.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from curator.plan.plan import Plan
from curator.ranking.ranking import Ranking
from curator.study.arm import Arm
from curator.study.replicate import Replicate
from curator.study.result import Result
from curator.study.study import load_study
from synth.cli.demo import print_demo
from synth.demo.rows import STAGES, make_rows
from synth.demo.study import KINDS, Distill, InsertStudy
from synth.generate.generators import Generators
from synth.patterns.registry import Registry
from synth.render.folder import Rows

DEMO = load_study("synth-demo", InsertStudy)
ARMS = [
    (f"{kind}-{count}-{schedule}", kind, count, schedule)
    for schedule, count in (("burst", 32), ("burst", 64), ("spread", 64))
    for kind in ("random", "top", "synthetic")
]
WORDS = {kind: word for word, kind in KINDS.items()}
STUDY = DEMO.changed(
    train=DEMO.train.changed(steps=60, d_model=32, d_mlp=32),
    stop_step=40,
    window=DEMO.window.changed(start=20),
    checkpoint_every=10,
    rank=DEMO.rank.changed(factor_samples=64),
    distill=Distill(top=200),
    quick=DEMO.quick.changed(arms=()),
    arms=[
        Arm(name=name, insert=WORDS[kind], count=count, spread=10 if schedule == "spread" else None)
        for name, kind, count, schedule in ARMS
    ],
)
FORMATION = {"final_score": 0.5, "attribution_step": 30, "window": [20, 40], "last_step": STUDY.last_step}
Made = tuple[Path, dict[str, Any], list[str]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Seed 0's folder, its result and the stages it named."""
    folder = tmp_path_factory.mktemp("synth-demo") / "seed0"
    stages: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Replicate, "_formation", lambda self, scan, unit: dict(FORMATION))
        result = Replicate(STUDY, 0, folder, stages.append, make_rows).run()
    return folder, result, stages


def test_every_step_is_named_once_and_leaves_the_commands_folder(made: Made) -> None:
    folder, result, stages = made
    arms = [arm for arm, *_ in ARMS]
    assert stages == ["corpus", "baseline", "scan", "ranking", *STAGES, *arms]
    assert set(result["curves"]) == {"baseline", *arms} and len(arms) == 9
    assert json.loads((folder / "result.json").read_text()) == result
    rows = Rows.open(folder / "rows")
    assert len(rows.corpus) == 64 and sum(result["pipeline"]["rows"].values()) == 64
    kept = result["pipeline"]["kept"]
    assert set(rows.patterns) == set(kept) if kept else len(rows.patterns) > 0
    assert Generators.open(folder / "generators").manifest["registry"] == str(
        folder / "patterns" / "registry.json"
    )
    assert len(Rows.open(folder / "trial").corpus) == 100 * result["pipeline"]["generators"]


def test_the_miner_finds_the_drills_that_the_corpus_was_built_with(made: Made) -> None:
    folder, _, _ = made
    spans = [e.pattern for e in Registry.open(folder / "patterns").entries if e.pattern.template == "{span}"]
    assert spans and all(p.field("span").scope == "text" for p in spans)
    assert (
        min(p.field("span").span[0] for p in spans) >= 8 and max(p.field("span").span[1] for p in spans) <= 16
    )


def held(plan: Plan) -> tuple[np.ndarray, np.ndarray]:
    """[n_slots] source and sample of every slot."""
    lengths = np.diff([*np.asarray(plan.slot_start), plan.n_slots])
    within = np.arange(plan.n_slots) - np.repeat(np.asarray(plan.slot_start), lengths)
    return np.repeat(np.asarray(plan.source), lengths), np.repeat(
        np.asarray(plan.sample_start), lengths
    ) + within


@pytest.mark.parametrize("arm, kind, count, schedule", ARMS)
def test_an_arm_inserts_its_rows_once_each_at_its_schedules_steps(
    made: Made, arm: str, kind: str, count: int, schedule: str
) -> None:
    folder, result, _ = made
    plan = Plan.load(folder / "plans" / arm)
    assert plan.n_slots == 60 * 32 + count
    source, sample = held(plan)
    ranking = Ranking.open(folder / "ranking")
    natural = source == 0
    if kind == "synthetic":
        inserted = sample[~natural]
        assert sorted(inserted) == list(range(count))
        assert np.array_equal(sample[natural], np.arange(60 * 32))
        steps = sorted(set((np.flatnonzero(~natural) // 32).tolist()))
        last = 20 + (10 if schedule == "spread" else 0) + count // 32
        assert len(steps) == count // 32 and steps[0] >= 20 and steps[-1] < last
        assert (steps == list(range(20, 20 + count // 32))) == (schedule == "burst")
    else:
        assert natural.all()
        twice, times = np.unique(sample, return_counts=True)
        inserted = twice[times == 2]
        assert len(inserted) == count and times.max() == 2
        assert set(inserted) <= set(ranking.samples.tolist())
        if kind == "top":
            order = np.argsort(-ranking.unit_scores(), kind="stable")[:count]
            assert set(inserted) == set((ranking.first_sample + order).tolist())
    assert result["curves"][arm]["steps"][-1] == (40 + count // 32) // 10 * 10


def test_a_rerun_does_nothing_and_other_inserts_start_again(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, result, _ = made

    def forbidden(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("worked again")

    assert Replicate(STUDY, 0, folder, forbidden, forbidden).run() == result
    others = STUDY.changed(distill=Distill(top=100))
    copied = shutil.copytree(folder, tmp_path / "seed0")
    monkeypatch.setattr("curator.study.replicate.build_embedded", forbidden)
    with pytest.raises(AssertionError, match="worked again"):
        Replicate(others, 0, copied, forbidden, forbidden).run()
    assert {path.name for path in copied.iterdir()} == {"study.json"}


def test_the_report_says_both_tables_and_writes_numbers_and_curves(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, result, _ = made
    shutil.copytree(folder / "scan", tmp_path / "seed0" / "scan")
    for curve in result["curves"].values():
        for step, scores in zip(curve["steps"], curve["scores"]):
            scores[result["layer"]][result["head"]] = 0.03 * (step - 20)  # crosses 0.4 at step 33.3
    print_demo(tmp_path, STUDY, [Result(result)] * 3, 1.0)
    said = capsys.readouterr().out
    assert (
        "crosses 0.4" in said
        and "minus the baseline's" in said
        and "32 burst" in said
        and "64 spread" in said
    )
    numbers = json.loads((tmp_path / "results.json").read_text())
    assert len(numbers["inserted"]) == 3 and len(numbers["pipeline"]) == 3
    for entry in numbers["inserted"]:
        assert all(entry[kind]["shift"] == {"mean": 0.0, "half": 0.0, "n": 3} for kind in WORDS)
    for schedule in ("burst", "spread"):
        assert (tmp_path / f"curves-{schedule}.png").read_bytes()[1:4] == b"PNG"


def test_without_a_head_nothing_is_inserted_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    none = {**FORMATION, "attribution_step": None}
    monkeypatch.setattr(Replicate, "_formation", lambda self, scan, unit: dict(none))
    result = Replicate(STUDY, 1, tmp_path / "seed1", lambda stage: None, make_rows).run()
    assert set(result["curves"]) == {"baseline"}
    print_demo(tmp_path, STUDY, [Result(result)], 1.0)
    assert "No head formed" in capsys.readouterr().out
