"""What a checkpoint was trained with: unknown where its record is lost or of other files, and never guessed."""

import shutil
from pathlib import Path
from typing import Any

from neox_runs import MICRO, PP1_ZERO1, Finished, Trainer
from plans import plan_study

from curator.influence.emission import RECORD
from curator.neox.records import checkpoint_folder, read_record, read_run


def error_of(run: Finished) -> str:
    """The message with which the run was refused before its first step."""
    assert run.returncode == 1 and "Traceback" not in run.output, run.output[-3000:]
    assert "iteration  " not in run.output
    return next(line for line in run.output.splitlines() if line.startswith("error: "))


def test_a_lost_record_is_unknown_and_can_be_insisted_on(trainer: Trainer, tmp_path: Path) -> None:
    """Ten steps with a plan that edits steps 0 and 2; the record of step 10 is lost."""
    save = tmp_path / "save"
    study, _, _ = plan_study(tmp_path, MICRO, 14)
    emit = {"out": str(tmp_path / "out"), "steps": [1, 7], "units": ["induction:0.0"], "gradients": {}}
    study["emit"] = emit
    changes = {"train_iters": 12, "lr_decay_iters": 12, "checkpoint_factor": 5, "save": str(save)}
    config = trainer.config(**PP1_ZERO1, **changes)
    trainer.run(tmp_path / "first", {**config, "exit-interval": 10}, study)
    config["load"] = str(save)
    kept = tmp_path / "kept"
    shutil.copytree(save, kept)
    (checkpoint_folder(save, 10) / RECORD).unlink()

    def start(name: str, *insist: str) -> Finished:
        environment = {"NEOX_PATCHES_INSIST": ",".join(insist)}
        return trainer.run(tmp_path / name, config, study, check=False, environment=environment)

    said = error_of(start("refused"))
    for words in (
        f"{checkpoint_folder(save, 10)}: with what its 10 steps were trained is not known: it has no record",
        "from step 0, with the plan",
        f"Go on from global_step5, the newest checkpoint with a record: printf global_step5 > {save}/latest",
        "python -m neox_patches --insist unrecorded",
    ):
        assert words in said, said
    assert "no plan" not in said

    insisted = start("insisted", "unrecorded")
    assert insisted.returncode == 0 and "it has no record" in insisted.output
    record, run = read_record(checkpoint_folder(save, 12)), read_run(save)
    assert record is not None and run is not None
    assert [(there.from_, there.trained) for there in record.stretches] == [(0, "unknown"), (10, "patched")]
    assert [there.insisted for there in run.starts] == [(), ("unrecorded",)]

    shutil.rmtree(save)
    shutil.copytree(kept, save)
    (checkpoint_folder(save, 10) / RECORD).unlink()
    run = read_run(save)
    (save / RECORD).unlink()  # the run's is lost as well: the other checkpoint's speaks
    said = error_of(start("both-lost"))
    assert "is not known: it has no record" in said and "Go on from global_step5" in said
    (checkpoint_folder(save, 10) / RECORD).write_text("{}")
    said = error_of(start("damaged"))
    assert f"{checkpoint_folder(save, 10) / RECORD}: cannot be read" in said and "global_step5" in said
    (save / "latest").write_text("global_step5")  # the other way on; the emission is still of this run
    back = start("back")
    assert back.returncode == 0 and "from step 5, plan" in back.output
    assert run is not None and read_run(save).run == run.run  # type: ignore[union-attr]
    record = read_record(checkpoint_folder(save, 10))
    assert record is not None and [there.from_ for there in record.stretches] == [0]


def test_a_forgotten_patch_file_and_a_stale_record_are_noticed(trainer: Trainer, tmp_path: Path) -> None:
    save = tmp_path / "save"
    study, _, _ = plan_study(tmp_path, MICRO, 14)
    config = trainer.config(train_iters=6, lr_decay_iters=6, checkpoint_factor=2, save=str(save))
    trainer.run(tmp_path / "first", {**config, "exit-interval": 2}, study)
    config["load"] = str(save)
    kept = tmp_path / "kept"
    shutil.copytree(save, kept)

    def start(name: str, *insist: str, study: dict[str, Any] | None = None, **changes: Any) -> Finished:
        environment = {"NEOX_PATCHES_INSIST": ",".join(insist)}
        made = {**config, **changes}
        return trainer.run(tmp_path / name, made, study, patched=True, check=False, environment=environment)

    cases: dict[
        str, dict[str, Any]
    ] = {  # in the folder itself; into another one; over it, from the beginning
        "same": {},
        "another": {"save": str(tmp_path / "elsewhere")},
        "over": {"load": None},
    }
    for name, changes in cases.items() if trainer.generation == "HEAD" else [("same", cases["same"])]:
        said = error_of(start(name, **changes))
        assert f"{save}" in said and "is trained with the plan" in said and "--insist unpatched" in said
    assert not (tmp_path / "elsewhere").exists()

    forgotten = start("insisted", "unpatched", **{"exit-interval": 4})
    assert forgotten.returncode == 0 and "from step" not in forgotten.output
    record, run = read_record(checkpoint_folder(save, 4)), read_run(save)
    assert record is not None and run is not None
    assert [(there.from_, there.trained) for there in record.stretches] == [(0, "patched"), (2, "unpatched")]
    assert run.starts[-1].insisted == ("unpatched",) and run.run == record.run
    said = error_of(start("patched-again", study=study))
    assert "steps 2 to 3 were trained with no plan, but the plan" in said and "edits step 2" in said

    def replaced(*arguments: Any) -> None:
        shutil.rmtree(save)
        shutil.copytree(kept, save)

    replaced()  # a trainer that knows nothing of us goes on ...
    trainer.run(tmp_path / "plain", {**config, "exit-interval": 4})
    said = error_of(start("after-plain", study=study))
    assert "global_step4: with what its 4 steps were trained is not known: it has no record" in said
    assert "Go on from global_step2" in said

    if trainer.generation != "HEAD":
        return  # what follows is of files alone
    replaced()  # ... or writes over a checkpoint, whose record is stale then
    (save / "latest").unlink()
    trainer.run(tmp_path / "over-it", {**config, "exit-interval": 2})
    said = error_of(start("after-over-it", study=study))
    assert (
        "global_step2: with what its 2 steps were trained is not known" in said and "its record says" in said
    )
