"""Wrong inputs stop the run before the first step, with a message that names both sides."""

import re
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from laid import data_set
from neox_runs import MICRO, SEQ, Trainer
from plans import refused, write_rows

from curator.corpus import open_corpus
from curator.plan.plan import Plan


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "rows.npy", 12)


def plan_of(path: Path, tmp_path: Path, n_slots: int = 12) -> Plan:
    return Plan.identity(n_slots, MICRO, open_corpus(path).fingerprint())


def test_a_plan_of_another_corpus(trainer: Trainer, tmp_path: Path, rows: Path) -> None:
    other = write_rows(tmp_path / "other.npy", 12, 5)
    plan_of(other, tmp_path).mask(np.array([1])).save(tmp_path / "plan")
    there, here = open_corpus(other).fingerprint(), open_corpus(rows).fingerprint()
    refused(trainer, tmp_path, {"corpus": str(rows), "plan": str(tmp_path / "plan")}, there, here)


def test_a_plan_shorter_than_the_run(head: Trainer, tmp_path: Path, rows: Path) -> None:
    plan_of(rows, tmp_path, 8).save(tmp_path / "plan")
    study = {"corpus": str(rows), "plan": str(tmp_path / "plan")}
    refused(head, tmp_path, study, "has 2 steps of 4 samples", "trains 3 (train-iters)", "at most 2")


def test_a_plan_of_another_batch_size(head: Trainer, tmp_path: Path, rows: Path) -> None:
    plan_of(rows, tmp_path).save(tmp_path / "plan")
    study = {"corpus": str(rows), "plan": str(tmp_path / "plan")}
    refused(head, tmp_path, study, "batch_size: there 4, asked for 2", train_micro_batch_size_per_gpu=2)


def test_rows_shorter_than_the_run_and_of_another_width(head: Trainer, tmp_path: Path, rows: Path) -> None:
    refused(head, tmp_path / "a", {"corpus": str(rows)}, "sample 15", "sample 11", "epochs: 2", train_iters=4)
    np.save(tmp_path / "wide.npy", np.zeros((12, SEQ + 5), np.uint16))
    refused(head, tmp_path / "b", {"corpus": str(tmp_path / "wide.npy")}, str(SEQ + 5), str(SEQ + 1))


def test_injected_rows_of_another_width_or_beyond_the_vocabulary(
    head: Trainer, tmp_path: Path, rows: Path
) -> None:
    for name, array, says in (
        ("wide", np.zeros((4, SEQ + 5), np.uint16), (str(SEQ + 5), str(SEQ + 1))),
        ("beyond", np.full((4, SEQ + 1), 600, np.uint16), ("600", "512")),
    ):
        np.save(tmp_path / f"{name}.npy", array)
        plan, source = plan_of(rows, tmp_path).with_source(
            name, str(tmp_path / f"{name}.npy"), open_corpus(tmp_path / f"{name}.npy").fingerprint()
        )
        plan.insert(np.array([1]), np.arange(4), source).save(tmp_path / f"plan-{name}")
        study = {"corpus": str(rows), "plan": str(tmp_path / f"plan-{name}")}
        refused(head, tmp_path / name, study, *says, train_iters=4)


def test_tokens_of_the_corpus_beyond_the_vocabulary(head: Trainer, tmp_path: Path) -> None:
    array = np.full((12, SEQ + 1), 40, np.uint16)
    array[0, 3] = 513
    np.save(tmp_path / "rows.npy", array)
    refused(head, tmp_path / "a", {"corpus": str(tmp_path / "rows.npy")}, "sample 0, column 3", "513", "512")


def test_an_index_that_is_possible_and_wrong(head: Trainer, tmp_path: Path) -> None:
    """Every row of it can be read; two are at one place."""
    prefix = data_set(tmp_path, np.random.default_rng(0).integers(0, 500, (40, SEQ + 1)))
    says = "row 0 begins at 0 and row 30 at 0, so that they lie over each other"
    refused(head, tmp_path / "a", {"corpus": str(prefix)}, "data.idx", says)


def test_an_error_in_a_loaders_worker_is_one_sentence(head: Trainer, tmp_path: Path) -> None:
    """The row is changed while training runs: the ids before the first step were as they should be."""
    rows = write_rows(tmp_path / "rows.npy", 1000)
    config = head.config(train_iters=250, num_workers=2)
    (process,) = head.start(tmp_path / "run", config, {"corpus": str(rows)})
    log, deadline = tmp_path / "run" / "log-0.txt", time.monotonic() + 120
    while "iteration        2/" not in log.read_text(errors="replace"):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    np.load(rows, mmap_mode="r+")[400:, 3] = 513
    assert process.wait(120) == 1
    (error,) = [line for line in log.read_text().splitlines() if line.startswith("error: ")]
    assert "column 3: token id 513" in error and "Traceback" not in error


def test_a_token_far_ahead_stops_all_ranks_soon(head: Trainer, tmp_path: Path) -> None:
    """Four million rows, too many to read before the first step; the file is sparse, and takes no space."""
    n, bad = 4_300_000, 4_200_000
    rows = np.lib.format.open_memmap(tmp_path / "rows.npy", mode="w+", dtype=np.uint16, shape=(n, SEQ + 1))
    rows[bad, 5] = 600
    rows.flush()
    config = head.config(train_iters=n // (2 * MICRO), lr_decay_iters=1000)
    run = head.run(tmp_path / "run", config, {"corpus": str(tmp_path / "rows.npy")}, ranks=2, check=False)
    assert run.returncode == 1 and "Traceback" not in run.output
    assert "the rest are read while training runs" in run.output
    for rank in range(2):  # neither was ended by its peer
        log = (tmp_path / "run" / f"log-{rank}.txt").read_text()
        assert f"sample {bad}, column 5: token id 600" in log.splitlines()[-1], log[-1000:]
    steps = [int(step) for step in re.findall(r"iteration +(\d+)/", run.output)]
    assert max(steps, default=0) < bad // (2 * MICRO) // 10


def test_a_lost_rank_of_an_emission_stops_all_ranks(head: Trainer, tmp_path: Path) -> None:
    """One rank's folder is gone when the run goes on: it is not made anew, and the other rank does not wait."""
    rows, save = write_rows(tmp_path / "rows.npy", 4 * 2 * MICRO), str(tmp_path / "save")
    emit = {"out": str(tmp_path / "out"), "steps": [0, 1, 2, 3], "units": ["induction:1.0"], "factors": {}}
    study = {"corpus": str(rows), "emit": emit}
    config = head.config(train_iters=4, save=save, checkpoint_factor=2)
    head.run(tmp_path / "first", {**config, "exit-interval": 2}, study, ranks=2)
    shutil.rmtree(tmp_path / "out" / "rank-00001")
    run = head.run(tmp_path / "second", {**config, "load": save}, study, ranks=2, check=False)
    assert run.returncode == 1 and "Traceback" not in run.output
    logs = [(tmp_path / "second" / f"log-{rank}.txt").read_text().splitlines()[-1] for rank in range(2)]
    assert logs[0] == "error: rank 1 was refused; its own message says why"
    assert "2 of the chosen steps (0 to 1) are over" in logs[1] and "put it back" in logs[1]
    assert not (tmp_path / "out" / "rank-00001").exists()
    study["emit"] = {**emit, "out": str(tmp_path / "moved away"), "steps": [0, 1]}
    run = head.run(tmp_path / "third", {**config, "load": save}, study, ranks=2)
    assert "all of emit.steps are over at step 2: nothing is emitted" in run.output
    assert not (tmp_path / "moved away").exists()


def test_an_unknown_unit_and_steps_that_are_never_reached(head: Trainer, tmp_path: Path, rows: Path) -> None:
    def emit(**changes: Any) -> dict[str, Any]:
        base = {"out": str(tmp_path / "out"), "steps": [0], "units": ["induction:0.0"], "gradients": {}}
        return {"corpus": str(rows), "emit": {**base, **changes}}

    refused(head, tmp_path / "a", emit(units=["induction:7.1"]), "7.1", "layers 0 to 1", "heads 0 to 3")
    refused(head, tmp_path / "b", emit(units=["induktion:0.0"]), "induktion", "induction")
    refused(head, tmp_path / "c", emit(steps=[3, 4]), "step 3", "3 steps")


def test_settings_that_cannot_be_followed(head: Trainer, tmp_path: Path, rows: Path) -> None:
    """Some settings are in the way of emissions alone: test_neox_settings.py follows a plan under the first."""
    emit = {"out": str(tmp_path / "out"), "steps": [0], "units": ["induction:0.0"], "gradients": {}}
    study = {"corpus": str(rows), "emit": emit}
    refused(head, tmp_path / "a", study, "emissions cannot follow", "num_kv_heads is 2", num_kv_heads=2)
    mixed = {"attention-config": [[["gmlp", "global"], 1]]}
    refused(head, tmp_path / "b", study, "layer 0 (gmlp)", "units of other layers", **mixed)
    assert not (tmp_path / "out").exists()


def test_a_batch_size_or_plan_changed_on_resume(trainer: Trainer, tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "rows.npy", 24)
    plan = plan_of(rows, tmp_path, 24).mask(np.array([9]))
    plan.save(tmp_path / "plan")
    plan_of(rows, tmp_path, 24).mask(np.array([9, 1])).save(tmp_path / "early")
    save = str(tmp_path / "save")
    study = {"corpus": str(rows), "plan": str(tmp_path / "plan")}
    config = trainer.config(train_iters=6, save=save, checkpoint_factor=3)
    config["exit-interval"] = 3
    trainer.run(tmp_path / "first", config, study)
    early = {"corpus": str(rows), "plan": str(tmp_path / "early")}
    refused(trainer, tmp_path / "a", early, "edits step 0", "3 steps", load=save, train_iters=6)
    refused(trainer, tmp_path / "b", {"corpus": str(rows)}, "edits step 2", load=save, train_iters=6)
    batch = {"corpus": str(rows)}
    refused(
        trainer,
        tmp_path / "c",
        batch,
        "batch size of 4",
        "with 2",
        load=save,
        train_iters=6,
        train_micro_batch_size_per_gpu=2,
    )
    if trainer.generation == "HEAD":  # finetune counts from 0, so that nothing is over
        config = trainer.config(train_iters=2, load=save, finetune=True)
        run = trainer.run(tmp_path / "d", config, early)
        assert f"finetune: the weights of {save} are loaded, but steps are counted from 0" in run.output
        assert np.array_equal(run.rows().reshape(-1, SEQ + 1), np.load(rows)[:8])


def test_patch_files_and_commands_that_say_something_unknown(
    head: Trainer, tmp_path: Path, rows: Path
) -> None:
    refused(head, tmp_path / "a", {"corpsu": str(rows)}, "corpsu", "did you mean 'corpus'?")
    refused(head, tmp_path / "b", {"plan": str(tmp_path)}, "a plan needs the corpus")
    refused(head, tmp_path / "c", {"corpus": str(tmp_path / "nothing.npy")}, "no such file")
