"""The demo's machinery at a size that forms no head: every stage, every arm, every promise of the report.

What the demo shows about attribution is the full demo's business; here a formation is put in its place, so that
the arms run in seconds.
"""

import copy
import json
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from engine_parts import relative_error
from safetensors.torch import load_file

from curator.cli import demo
from curator.cli.study import print_study
from curator.corpus import open_corpus
from curator.models import load_model
from curator.plan.plan import Plan
from curator.ranking.ranking import Ranking
from curator.ranking.selection import Selection
from curator.study import run as study_run
from curator.study.replicate import Replicate
from curator.study.result import Result
from curator.study.study import Study, load_study
from curator.units.induction import InductionHead

DEMO = load_study("demo", Study)
STUDY = DEMO.changed(
    train=DEMO.train.changed(steps=60, d_model=32, d_mlp=32),
    stop_step=40,
    drill_fraction=0.7,
    window=DEMO.window.changed(start=20),
    checkpoint_every=10,
    rank=DEMO.rank.changed(factor_samples=64),
)
ARMS = [run for run, _ in STUDY.runs]
MASKED = [run for run, arm in STUDY.runs if arm.mask]
REPEATED = [run for run, arm in STUDY.runs if arm.repeat]
FORMATION = {"final_score": 0.5, "attribution_step": 30, "window": [20, 40], "last_step": STUDY.last_step}


@pytest.fixture(scope="module")
def replicate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], list[str]]:
    """Seed 0 in ``seed0``, its result and the stages it named."""
    folder = tmp_path_factory.mktemp("demo") / "seed0"
    stages: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Replicate, "_formation", lambda self, scan, unit: dict(FORMATION))
        result = Replicate(STUDY, 0, folder, stages.append).run()
    return folder, result, stages


Made = tuple[Path, dict[str, Any], list[str]]


def ramp(result: dict[str, Any], arm: str, reaches: float) -> None:
    """Give the ranked head a score in ``arm`` that rises by 0.4 in 10 steps and is 0.4 at step ``reaches``."""
    curve = result["curves"][arm]
    for step, scores in zip(curve["steps"], curve["scores"]):
        value = 0.4 + 0.04 * (step - reaches)
        scores[result["layer"]][result["head"]] = min(max(value, 0.0), 0.9)


def test_every_stage_is_named_once_and_leaves_its_result(replicate: Made) -> None:
    folder, result, stages = replicate
    assert stages == ["corpus", "baseline", "scan", "ranking", *ARMS]
    assert json.loads((folder / "result.json").read_text()) == result
    assert set(result["curves"]) == {"baseline", *ARMS}
    assert {path.name for path in (folder / "baseline").glob("step*")} == {
        f"step{n}" for n in range(0, 61, 10)
    }
    assert len(ARMS) == 8 and sorted(MASKED + REPEATED) == sorted(ARMS)
    for arm in ARMS:
        assert (folder / "plans" / arm / "plan.json").is_file() and (folder / arm / "step40").is_dir()
        assert result["curves"][arm]["steps"] == [20, 30, 40]


def test_the_ranking_is_of_the_window_at_the_attribution_step(replicate: Made) -> None:
    folder, result, _ = replicate
    ranking = Ranking.open(folder / "ranking")
    assert ranking.samples.tolist() == list(range(20 * 32, 40 * 32)) and ranking.units == [result["unit"]]
    assert ranking.manifest["request"]["model"].endswith("step30")
    model = load_model(folder / "baseline" / "step30")
    sequences = Replicate(STUDY, 0, folder, print).sequences
    measured = result["curves"]["baseline"]["scores"][3]
    assert relative_error(InductionHead.all_heads(model, sequences), np.array(measured)) < 1e-4


def test_masked_arms_mask_a_tenth_and_the_treatment_exactly_the_top(replicate: Made) -> None:
    folder, _, _ = replicate
    ranking = Ranking.open(folder / "ranking")
    n = round(0.1 * len(ranking))
    top = set((np.argsort(-ranking.scores[0], kind="stable")[:n] + ranking.first_sample).tolist())
    assert set(Selection.open(folder / "top").samples.tolist()) == top
    for arm in MASKED:
        plan = Plan.load(folder / "plans" / arm)
        slots = set(np.asarray(plan.weight_slots)[np.asarray(plan.weights) == 0].tolist())
        assert len(slots) == n and slots <= set(ranking.samples.tolist())
        assert (slots == top) == (arm == "mask-top")
        if "category" in arm:
            drill = open_corpus(folder / "corpus").categories() == "drill"
            assert not slots & top and drill[sorted(slots)].sum() == drill[sorted(top)].sum()


def sample_of_slot(plan: Plan) -> np.ndarray:
    """[n_slots] the sample that each slot trains on, from the plan's runs."""
    starts = np.asarray(plan.slot_start)
    lengths = np.diff([*starts, plan.n_slots])
    within = np.arange(plan.n_slots) - np.repeat(starts, lengths)
    return np.repeat(np.asarray(plan.sample_start), lengths) + within


def test_repeated_samples_replace_others_and_never_the_top(replicate: Made) -> None:
    folder, _, _ = replicate
    window = set(Ranking.open(folder / "ranking").samples.tolist())
    top = set(Selection.open(folder / "top").samples.tolist())
    for arm in REPEATED:
        plan = Plan.load(folder / "plans" / arm)
        held = sample_of_slot(plan)
        changed = np.flatnonzero(held != np.arange(plan.n_slots))
        assert 0.8 * len(top) <= len(changed) <= len(top) and not len(plan.weight_slots)
        assert set(changed.tolist()) <= window - top
        if arm == "repeat-top":
            assert len(changed) == len(top) and set(held[changed].tolist()) == top


def test_every_arm_starts_from_the_baseline_of_the_windows_start(replicate: Made) -> None:
    folder, result, _ = replicate
    baseline = result["curves"]["baseline"]
    at = baseline["steps"].index(20)
    finals = []
    for arm in ARMS:
        assert result["curves"][arm]["scores"][0] == baseline["scores"][at]
        assert result["curves"][arm]["copy_log_probability"][0] == baseline["copy_log_probability"][at]
        run = json.loads((folder / arm / "step40" / "trainer.json").read_text())
        assert run["started_from"]["step"] == 20
        assert np.isnan(np.load(folder / arm / "losses.npy")[:20]).all()
        finals.append(load_file(folder / arm / "step40" / "model.safetensors"))
    finals.append(load_file(folder / "baseline" / "step40" / "model.safetensors"))
    name = next(name for name in finals[0] if name.endswith("query_key_value.weight"))
    for number, one in enumerate(finals):
        assert not any(torch.equal(one[name], other[name]) for other in finals[:number])


def test_a_rerun_is_a_no_op_and_other_settings_start_again(
    replicate: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, result, _ = replicate
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    stages: list[str] = []
    assert Replicate(STUDY, 0, folder, stages.append).run() == json.loads(json.dumps(result))
    assert not stages and {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    marker = folder.parent / "seed9" / "result.json"
    marker.parent.mkdir()
    marker.write_text(json.dumps({"identity": {"seed": 8}}))

    def stop(*_: Any) -> None:
        raise InterruptedError

    monkeypatch.setattr("curator.study.replicate.build_embedded", stop)

    def begin(study: Study) -> None:
        with pytest.raises(InterruptedError):
            Replicate(study, 9, marker.parent, print).run()

    begin(STUDY)
    assert not marker.exists()
    kept = marker.parent / "curves" / "mask-top.json"
    kept.parent.mkdir()
    kept.write_text("{}")
    begin(STUDY)
    assert kept.is_file()
    begin(STUDY.changed(percent=20.0))
    assert not kept.exists()


def test_a_killed_seed_goes_on_with_the_arms_that_are_missing(
    replicate: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, result, _ = replicate
    (folder / "result.json").rename(folder / "kept.json")
    (folder / "curves" / "mask-top.json").unlink()
    monkeypatch.setattr(Replicate, "_formation", lambda self, scan, unit: dict(FORMATION))
    other = (folder / "mask-random-1" / "step40" / "model.safetensors").stat().st_mtime_ns
    assert Replicate(STUDY, 0, folder, lambda stage: None).run() == result
    assert (folder / "mask-random-1" / "step40" / "model.safetensors").stat().st_mtime_ns == other
    (folder / "kept.json").unlink()


def test_the_report_pairs_every_arm_with_the_baseline_of_its_seed(
    replicate: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, result, _ = replicate
    first, second = copy.deepcopy(result), copy.deepcopy(result)
    second["identity"]["seed"] = 1
    for each, base in ((first, 30), (second, 34)):
        ramp(each, "baseline", base)
        for arm in ARMS:
            ramp(each, arm, base)
    ramp(first, "mask-top", 38)
    ramp(second, "mask-top", 36)
    ramp(second, "repeat-top", 200)
    second_folder = folder.parent / "seed1"
    shutil.copytree(folder / "scan", second_folder / "scan")
    print_study(folder.parent, STUDY, [Result(first), Result(second)], 1.0)
    shifts, _, areas = capsys.readouterr().out.partition("The head's mean score over the window")
    rows = {line.split("  ")[0]: line for line in shifts.splitlines() if line}
    assert "top 10 % masked − random masked" in areas
    assert "+5 ± 38 [+2 … +8]" in rows["top 10 % masked"]  # t of one degree of freedom: 12.7 · 3
    assert "+0 ± 0 [+0 … +0]" in rows["random masked"].replace("-0", "+0")
    assert "+0, 1 never" in rows["top 10 % in place of random"].replace("-0", "+0")
    assert "(1 never)" in rows["top 10 % in place of random"]
    assert "+5 ± 38 [+2 … +8]" in rows["top 10 % masked − random masked"]
    kept = rows["top 10 % in place of random − random in place of random"].replace("-0", "+0")
    assert "+0, 1 never" in kept and kept.endswith(" 1")
    written = json.loads((folder.parent / "results.json").read_text())
    assert [arm["seed"] for arm in written["arms"]] == [0, 1]
    assert written["arms"][0]["crossings"]["mask-top"]["0.4"] == pytest.approx(38)
    shifts = {one["arm"]: one["shift"] for one in written["effects"]}
    assert shifts["mask-top"]["mean"] == pytest.approx(5) and shifts["mask-random"]["runs"] == 4
    assert len(written["differences"]) == 4
    assert all((folder.parent / f"seed{n}" / "scan" / "scan.png").is_file() for n in (0, 1))
    assert (folder.parent / "curves.png").stat().st_size > 5000
    assert "# " in (folder.parent / "top-samples.md").read_text()


def test_without_a_head_the_demo_says_so_and_ends_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Natural text alone and few steps; threads take the place of the pool's processes."""
    monkeypatch.setattr(demo, "load_study", lambda *_: STUDY.changed(stop_step=None, checkpoint_every=20))
    monkeypatch.setattr(
        study_run, "ProcessPoolExecutor", lambda workers, context, **_: ThreadPoolExecutor(workers)
    )
    demo.run_demo(tmp_path / "demo", n_seeds=1, drill_fraction=0)
    said = " ".join(capsys.readouterr().err.split())
    assert "seed 0: no induction head formed" in said and "--drill-fraction" in said
    result = json.loads((tmp_path / "demo" / "seed0" / "result.json").read_text())
    assert result["attribution_step"] is None and set(result["curves"]) == {"baseline"}
    assert not (tmp_path / "demo" / "seed0" / "ranking").exists()


def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    """Else they would go on training for minutes, into a folder that a new run uses."""
    command = [
        sys.executable,
        "-m",
        "curator.cli",
        "demo",
        "--quick",
        "--seeds",
        "2",
        "--out",
        str(tmp_path / "demo"),
    ]
    parent = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 60
        while not list(tmp_path.glob("demo/seed*/corpus")) and time.monotonic() < end:
            time.sleep(0.1)
        workers = psutil.Process(parent.pid).children(recursive=True)
        assert len(workers) >= 2
    finally:
        parent.kill()
        parent.wait()
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert not alive
