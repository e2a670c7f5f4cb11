"""A whole study on planted rows: two seeds, killed at every stage, and what it says of a ranking that must be found.

Drill rows make the head, so that without the top tenth it comes later than without a random one: the smallest study
that can fail for the right reason.
"""

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from commands import done, process
from engine_parts import ROOT
from pyarrow import parquet

from curator.artifacts.files import load_json
from curator.study.replicate import Replicate
from curator.study.result import Result
from curator.study.study import Study, load_study

SEEDS = 2
KILLED_AFTER = (
    "curves/baseline.json",
    "scan/scan.json",
    "ranking/queries/index.json",
    "curves/mask-top.json",
)
"""What a stage leaves behind in a seed's folder, in order."""


def planted(folder: Path) -> Path:
    """The demo's study, at the size of its `--quick`, with two arms."""
    study: dict[str, Any] = yaml.safe_load((ROOT / "configs" / "studies" / "demo.yml").read_text())
    study["train"]["steps"] = study["quick"]["steps"]
    study["window"]["start"] = study["quick"]["start"]
    study |= {
        "drill_fraction": study["quick"]["drill_fraction"],
        "quick": {},
        "rank": {"factor_samples": 1000},
    }
    study["arms"] = [
        {"name": "mask-top", "mask": "top", "against": ["mask-random"]},
        {"name": "mask-random", "mask": "random"},
    ]
    (folder / "planted.yml").write_text(yaml.safe_dump(study))
    return folder / "planted.yml"


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study that was killed after every stage of one of its seeds, with all its processes, and ended at last."""
    folder = tmp_path_factory.mktemp("planted")
    words = ["study", "run", planted(folder), "--out", folder / "out", "--seeds", SEEDS]
    for mark in KILLED_AFTER:
        running = process(*words, start_new_session=True)
        while running.poll() is None and not list((folder / "out").glob(f"seed*/{mark}")):
            time.sleep(0.02)
        assert running.poll() is None, mark
        os.killpg(running.pid, signal.SIGKILL)
        running.communicate()
    finished = {file: file.stat().st_mtime_ns for file in (folder / "out").glob("seed*/curves/*.json")}
    (folder / "said.txt").write_text(done(*words))
    assert finished and all(file.stat().st_mtime_ns == when for file, when in finished.items())
    return folder


@pytest.mark.kill
def test_a_study_that_was_killed_at_every_stage_ends_as_one_that_was_not(
    killed: Path, tmp_path: Path
) -> None:
    study = load_study(killed / "planted.yml", Study)
    whole = Replicate(study, 0, tmp_path / "seed0").run()
    assert load_json(killed / "out" / "seed0" / "result.json") == whole


@pytest.mark.kill
def test_what_makes_the_head_is_found_and_told_with_its_interval(killed: Path) -> None:
    results = [Result(load_json(killed / "out" / f"seed{seed}" / "result.json")) for seed in range(SEEDS)]
    for result in results:
        top, window = result.content["top_drill_share"]
        assert result.has_formed and top > window
        assert result.area("mask-top") < result.area("mask-random")
    said = load_json(killed / "out" / "results.json")
    [difference] = said["differences"]
    by_hand = [result.area("mask-top") - result.area("mask-random") for result in results]
    assert (
        difference["area"]["mean"] == pytest.approx(sum(by_hand) / SEEDS) and difference["area"]["n"] == SEEDS
    )
    table = parquet.read_table(killed / "out" / "curves.parquet")
    assert set(table.column("seed").to_pylist()) == set(range(SEEDS))
    assert set(table.column("arm").to_pylist()) == {"baseline", "mask-top", "mask-random"}
    assert "Δ score" in (killed / "said.txt").read_text()
    assert (killed / "out" / "differences.png").read_bytes()[1:4] == b"PNG"
