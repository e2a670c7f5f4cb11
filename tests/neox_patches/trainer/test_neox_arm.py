"""The folder that `curator arm` writes: trained as it is, requeued after a SIGKILL, by the real trainer."""

import re
import signal
import time
from pathlib import Path

import numpy as np
import nursery
import pytest
import yaml
from commands import done
from neox_runs import (
    HERE,
    MICRO,
    PP1_ZERO1,
    SEQ,
    Trainer,
    assert_same_checkpoint,
    rank_environment,
)
from plans import write_rows

from curator.corpus import open_corpus
from curator.neox.records import checkpoint_folder, read_record, read_run
from curator.plan.plan import Plan


def start_arm(trainer: Trainer, arm: Path, folder: Path, patched: bool = True) -> nursery.Child:
    """The arm's own files, given to the trainer; the witness' records and log.txt go to ``folder``."""
    folder.mkdir()
    words = ["--patch", arm / "patch.yml"] if patched else []
    command = ["-m", "neox_patches", *words, HERE / "train_direct.py", arm / "train.yml"]
    variables = rank_environment(trainer.home) | {"NEOX_WITNESS": str(folder)}
    return nursery.start(command, trainer.home, variables, folder / "log.txt")


def ended(process: nursery.Child, folder: Path) -> str:
    """What was logged, when the process has ended well."""
    code, log = process.wait(240), (folder / "log.txt").read_text(errors="replace")
    assert code == 0, log[-4000:]
    return log


@pytest.mark.parametrize(("generation", "layout"), [("HEAD", PP1_ZERO1), ("v1.0", {})])
def test_a_killed_arm_goes_on_with_the_same_command(
    trainer_for: object, tmp_path: Path, generation: str, layout: dict[str, object]
) -> None:
    """A mask and two extra steps behind step 4 of a baseline of six; the killed arm ends as one that was not."""
    trainer: Trainer = trainer_for(generation)  # type: ignore[operator]
    corpus = write_rows(tmp_path / "rows.npy", 6 * MICRO)
    injected = write_rows(tmp_path / "injected.npy", 2 * MICRO, 1)
    save = tmp_path / "baseline"
    config = trainer.config(**layout, train_iters=6, lr_decay_iters=None, checkpoint_factor=2, save=str(save))
    config["keep_last_n_checkpoints"] = 2
    trainer.run(tmp_path / "run", config, {"corpus": str(corpus)})

    plan = Plan.identity(6 * MICRO, MICRO, open_corpus(corpus).fingerprint()).mask(np.array([4 * MICRO + 1]))
    plan, source = plan.with_source("injected", str(injected), open_corpus(injected).fingerprint())
    plan.insert(np.array([4, 5]), np.arange(2 * MICRO), source).save(tmp_path / "plan")
    for name in ("whole", "killed"):
        words = ("--plan", tmp_path / "plan", "--from", save / "global_step4", "--out", tmp_path / name)
        said = done("arm", *words, "--set", "checkpoint_factor=1")
        assert f"cd {trainer.home}" in said, "where the baseline was started"
    arm = tmp_path / "killed"

    forgotten = start_arm(trainer, arm, tmp_path / "forgotten", patched=False)
    assert forgotten.wait(240) == 1
    assert f"is trained with the plan {Plan.load(tmp_path / 'plan').fingerprint()}" in (
        tmp_path / "forgotten" / "log.txt"
    ).read_text(errors="replace")

    latest = arm / "latest"
    for number, (typed, why) in enumerate(
        {"": "so that training would begin with new weights", "global_step40": "which is not there"}.items()
    ):
        latest.write_text(typed) if typed else latest.unlink()
        lost = start_arm(trainer, arm, tmp_path / f"lost-{number}")
        said = (tmp_path / f"lost-{number}" / "log.txt") if lost.wait(240) == 1 else Path("went on")
        text = said.read_text(errors="replace")
        assert why in text and f"printf global_step4 > {latest}" in text and "Traceback" not in text, text
    latest.write_text("global_step4")

    process, log = start_arm(trainer, arm, tmp_path / "1"), tmp_path / "1" / "log.txt"
    deadline = time.monotonic() + 240
    while not re.search(r"iteration +6/ +8 ", log.read_text(errors="replace")):
        assert process.poll() is None and time.monotonic() < deadline, log.read_text(errors="replace")[-3000:]
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL and "from step 4, plan" in log.read_text(errors="replace")
    rest = ended(start_arm(trainer, arm, tmp_path / "2"), tmp_path / "2")
    assert re.search("from step [56], plan", rest)

    ended(start_arm(trainer, tmp_path / "whole", tmp_path / "3"), tmp_path / "3")
    base, extra = np.load(corpus).reshape(6, MICRO, SEQ + 1), np.load(injected).reshape(2, MICRO, SEQ + 1)
    seen = np.load(tmp_path / "3" / "rows-0.npy").reshape(4, MICRO, SEQ + 1)
    assert np.array_equal(seen, np.stack([extra[0], base[4], extra[1], base[5]]))
    assert_same_checkpoint(arm, tmp_path / "whole", 8)
    record, run = read_record(checkpoint_folder(arm, 8)), read_run(arm)
    assert record is not None and run is not None
    assert [(there.from_, bool(there.plan_fingerprint)) for there in record.stretches] == [
        (0, False),
        (4, True),
    ]
    assert not checkpoint_folder(arm, 4).exists(), "keep_last_n_checkpoints removed the copy"
    assert (
        checkpoint_folder(save, 4).is_dir()
        and yaml.safe_load((arm / "train.yml").read_text())["train_iters"] == 8
    )
