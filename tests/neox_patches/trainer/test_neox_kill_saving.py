"""A run stopped at any moment of saving a checkpoint goes on, and ends bit-identically to one that was left alone."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from neox_runs import MICRO, PP1_ZERO1, Trainer, assert_same_checkpoint
from plans import plan_study

from curator.influence.emission import RECORD, Emission
from curator.neox.records import checkpoint_folder, latest_step, read_record, read_run, recorded_checkpoints


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 8 MB where one can be mounted, else a folder (stops.py then only plays a full disk)."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "none", str(folder)]
    mounted = os.geteuid() == 0 and subprocess.run(mount, capture_output=True).returncode == 0
    yield folder
    if mounted:
        subprocess.run(["umount", str(folder)], check=True)


def stopped_and_resumed(
    trainer: Trainer,
    tmp_path: Path,
    study: dict[str, Any],
    config: dict[str, Any],
    moments: list[str],
    ranks: int,
    filler: Path,
) -> list[str]:
    """Stop at each moment of saving step 4 in turn, then let the run end; returns what was logged each time."""
    save = tmp_path / "save"
    config = {**config, "save": str(save), "load": str(save)}
    logs = []
    for number, moment in enumerate(moments):
        environment = {"NEOX_STOP": f"{moment}:4"}
        run = trainer.run(
            tmp_path / f"{number}-{moment}",
            config,
            study,
            ranks=ranks,
            check=False,
            environment=environment,
        )
        assert run.returncode == (1 if moment.endswith("full") else -9), run.output[-3000:]
        assert latest_step(save) == (4 if moment == "named" else 2), moment
        logs.append(run.output)
        filler.unlink(missing_ok=True)  # the user makes room
        (named,) = [step for step in recorded_checkpoints(save) if step == latest_step(save)]
        assert read_record(checkpoint_folder(save, named)).run == read_run(save).run  # type: ignore[union-attr]
    rest = trainer.run(tmp_path / "rest", config, study, ranks=ranks)
    assert "from step 4" in rest.output
    return [*logs, rest.output]


def test_stopped_between_sums_files_record_and_latest(
    head: Trainer, tmp_path: Path, small_disk: Path
) -> None:
    """Two data-parallel ranks, pipeline engine, ZeRO-1, a plan with a burst, gradients and factors."""
    batch = 2 * MICRO
    study, _, _ = plan_study(tmp_path, batch, 5, extra_steps=2)  # steps 2 and 3
    config = head.config(**PP1_ZERO1, train_iters=7, lr_decay_iters=7, checkpoint_factor=2)
    emit = {"steps": [1, 2, 3, 4, 5], "units": ["induction:*"], "factors": {}, "gradients": {}}
    study["emit"] = {**emit, "out": str(small_disk / "out")}
    moments = ["latest", "record", "record-full", "files", "disk-full", "named"]

    logs = stopped_and_resumed(head, tmp_path, study, config, moments, 2, small_disk / "filler")
    full = logs[moments.index("disk-full")]
    assert "could not be saved (No space left on device)" in full and "start the same command again" in full
    full = logs[moments.index("record-full")]
    record = checkpoint_folder(tmp_path / "save", 4) / RECORD
    said = f"error: {record} could not be saved (No space left on device), so that no checkpoint of this step is named"
    assert full.count(said) == 2 and "Traceback" not in full, "both ranks stop, in one line"

    whole = {**study, "emit": {**emit, "out": str(tmp_path / "out-whole")}}
    head.run(tmp_path / "whole", {**config, "save": str(tmp_path / "whole" / "save")}, whole, ranks=2)
    for step in (4, 6, 7):
        assert_same_checkpoint(tmp_path / "save", tmp_path / "whole" / "save", step)
    emissions = [Emission.open(path) for path in (small_disk / "out", tmp_path / "out-whole")]
    for left, right in zip(*(emission.ranks for emission in emissions)):
        names = ["flags", "losses", *(f"gradients/{number}" for number in range(len(left.blocks)))]
        names += [f"sums/6/{path.stem}" for path in sorted((left.path / "sums" / "6").glob("*.npy"))]
        assert len(names) > 10
        for name in names:
            assert np.array_equal(left.array(name), right.array(name), equal_nan=True), name
    starts = read_run(tmp_path / "save").starts  # type: ignore[union-attr]
    assert [start.from_ for start in starts] == [0, 2, 2, 2, 2, 2, 4]


def test_stopped_before_the_record_and_before_latest_in_v1(trainer_for: Any, tmp_path: Path) -> None:
    trainer = trainer_for("v1.0")
    study, _, _ = plan_study(tmp_path, MICRO, 5)
    config = trainer.config(train_iters=6, lr_decay_iters=6, checkpoint_factor=2)
    config["extra-save-iters"] = [6]  # and once more when training ends
    stopped_and_resumed(
        trainer, tmp_path, study, config, ["latest", "record", "named"], 1, tmp_path / "filler"
    )
    save, latest = str(tmp_path / "save"), tmp_path / "save" / "latest"
    assert latest.read_text() == "global_step6"
    latest.write_text("global_step4")
    again = {**config, "load": save, "save": save}
    run = trainer.run(tmp_path / "again", again, study, check=False, environment={"NEOX_STOP": "again:6"})
    assert run.returncode == -9 and latest.read_text() == "global_step4", "while step 6 is saved again"
    trainer.run(tmp_path / "rest-again", again, study)
    trainer.run(tmp_path / "whole", {**config, "save": str(tmp_path / "whole" / "save")}, study)
    assert_same_checkpoint(tmp_path / "save", tmp_path / "whole" / "save", 6)


def test_while_the_only_recorded_checkpoint_is_written_over_latest_does_not_name_it(
    trainer_for: Any, tmp_path: Path
) -> None:
    """Behind a plain baseline's, which the record of the start alone vouches for; then behind none."""
    trainer = trainer_for("v1.0")
    study, corpus, _ = plan_study(tmp_path, MICRO, 5)
    save, environment = tmp_path / "save", {"NEOX_STOP": "again:6"}
    latest = save / "latest"
    config = trainer.config(train_iters=6, lr_decay_iters=6, checkpoint_factor=3, save=str(save))
    config["extra-save-iters"] = [6]
    trainer.run(tmp_path / "plain", {**config, "exit-interval": 3})
    config["load"], behind = str(save), {"corpus": str(corpus), "epochs": 2}
    run = trainer.run(tmp_path / "arm", config, behind, check=False, environment=environment)
    assert run.returncode == -9 and "saved without patches" in run.output
    assert latest.read_text() == "global_step3" and not (save / "global_step3" / RECORD).exists()
    rest = trainer.run(tmp_path / "rest-arm", config, behind)
    assert "from step 3, no plan" in rest.output and latest.read_text() == "global_step6"

    shutil.rmtree(save)
    config["checkpoint-factor"] = 1000
    run = trainer.run(tmp_path / "alone", config, study, check=False, environment=environment)
    assert run.returncode == -9 and not latest.exists()
    rest = trainer.run(tmp_path / "rest-alone", config, study)
    assert "from step 0, plan" in rest.output and latest.read_text() == "global_step6"
