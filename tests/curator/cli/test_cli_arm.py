"""`curator arm` as a user meets it; the trainer that then runs is in test_neox_arm.py."""

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from commands import done, refused
from neox_save_folders import PATCHED, saved, started
from neox_save_folders import start as start_of

from curator.corpus import open_corpus
from curator.neox.digests import describe_files
from curator.neox.records import Stretch, checkpoint_folder, latest_step, read_record, read_run
from curator.neox.standing import needs_patches, standing_of
from curator.plan.plan import Plan
from neox_patches.settings import load_patch_file

SETTINGS = {
    "train_iters": 8,
    "lr_decay_style": "cosine",
    "seq_length": 32,
    "num_layers": 2,
    "train_batch_size": 4,
    "optimizer": {"type": "Adam", "params": {"lr": "1e-3", "betas": [0.9, 0.95]}},
    "attention_config": [[["flash"], 2]],
    "keep_last_n_checkpoints": 2,
    "finetune": True,
    "tensorboard_dir": "tensorboard",
    "extra-save-iters": [0, 1, 4],
}
PATHS = {
    "save": "checkpoints/run",
    "load": "checkpoints/run",
    "train_data_paths": ["data/text"],
    "vocab-file": "v.json",
}


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A corpus of 12 steps, and a baseline in SAVE whose checkpoints 2 and 4 know that they were served its rows."""
    rows = np.random.default_rng(0).integers(0, 50, (48, 33)).astype(np.uint16)
    np.save(tmp_path / "rows.npy", rows)
    corpus = open_corpus(tmp_path / "rows.npy").fingerprint()
    stretch = PATCHED.changed(plan_fingerprint=None, first_edited_step=None, corpus_fingerprint=corpus)
    save = tmp_path / "save"
    for step in (2, 4):
        folder = saved(save, step, stretch)
        shutil.rmtree(folder / "configs")
        (folder / "configs").mkdir()
        (folder / "configs" / "model.yml").write_text(yaml.safe_dump(SETTINGS, sort_keys=False))
        (folder / "configs" / "data.yml").write_text(yaml.safe_dump(PATHS))
    (save / "latest").write_text("global_step4")
    where = {"corpus": str(tmp_path / "rows.npy"), "folder": str(tmp_path)}
    started(save, start_of(0, stretch, **where))
    return tmp_path


def plan_of(base: Path, name: str, *, mask: int | None = None, extra: tuple[int, ...] = ()) -> Path:
    corpus = open_corpus(base / "rows.npy")
    plan = Plan.identity(48, 4, corpus.fingerprint())
    if mask is not None:
        plan = plan.mask(np.array([mask]))
    plan.insert(np.array(extra, np.int64), np.arange(4 * len(extra))).save(base / name)
    return base / name


def settings_of(arm: Path) -> dict[str, Any]:
    return dict(yaml.safe_load((arm / "train.yml").read_text()))


def test_a_masked_arm_is_one_folder_that_goes_on_with_the_same_command(base: Path) -> None:
    plan, arm = plan_of(base, "plan", mask=30), base / "arms" / "masked arm"
    said = done("arm", "--plan", plan, "--from", base / "save" / "global_step4", "--out", arm)
    patch = load_patch_file(arm / "patch.yml")
    assert (patch.corpus, patch.plan, patch.neox) == (base / "rows.npy", plan, None)
    settings = settings_of(arm)
    changed = {
        "save": str(arm),
        "load": str(arm),
        "train_iters": 8,
        "lr_decay_iters": 8,
        "finetune": False,
        "tensorboard_dir": str(arm / "tensorboard"),
    }
    original = {key.replace("-", "_"): value for key, value in {**SETTINGS, **PATHS}.items()}
    assert settings == {**original, **changed}
    assert "lr: 1e-3" in (arm / "train.yml").read_text(), "as the trainer read it before"

    assert latest_step(arm) == 4
    start = checkpoint_folder(arm, 4)
    assert not start.is_symlink() and not any(path.is_symlink() for path in start.rglob("*"))
    for path in start.rglob("*.pt"):
        assert path.stat().st_nlink == 1 and path.stat().st_ino != (base / "save").stat().st_ino
    assert describe_files(start) == describe_files(checkpoint_folder(base / "save", 4))
    assert read_record(start) == read_record(checkpoint_folder(base / "save", 4))
    shutil.rmtree(base / "save")  # the arm needs the baseline no longer
    assert standing_of(arm, 4, arm).notes == ()
    assert f"with the plan {Plan.load(plan).fingerprint()}" in str(needs_patches(arm, arm, 4))

    command = (
        f"cd {base} && python -m neox_patches --patch '{arm}/patch.yml' deepy.py train.py '{arm}/train.yml'\n"
    )
    assert said.endswith(f"Next: {command}")
    arm_json = json.loads((arm / "arm.json").read_text())
    assert arm_json["command"] + "\n" == command and arm_json["step"] == 4
    assert "note: train_data_paths: data/text is not there" in said and "note: vocab_file: v.json" in said
    assert "is not empty" in refused(1, "arm", "--from", arm, "--out", arm)


def test_extra_steps_are_trained_and_the_learning_rate_stays(base: Path) -> None:
    plan = plan_of(base, "plan", extra=(5, 5, 8, 11))  # the last stands behind the run's eight steps
    said = done("arm", "--plan", plan, "--from", base / "save", "--out", base / "arm")
    assert settings_of(base / "arm")["train_iters"] == 11
    assert settings_of(base / "arm")["lr_decay_iters"] == 8
    assert "note: train_iters is 8 and the 3 extra steps of the plan" in said
    assert "HEAD's cosine rises again" in said
    folder = checkpoint_folder(base / "arm", 4) / "configs"  # the trainer copies the settings of the arm
    for there in folder.iterdir():
        there.unlink()
    (folder / "train.yml").write_text((base / "arm" / "train.yml").read_text())
    done("arm", "--plan", plan, "--from", base / "arm", "--out", base / "arm-of-an-arm")
    assert settings_of(base / "arm-of-an-arm")["train_iters"] == 11, "extra steps count once"
    (base / "arm2").mkdir()  # an empty folder will do
    more = ("--set", "train-iters=6", "--set", "exit_interval=5", "--set", "extra_save_iters=[5]")
    done("arm", "--plan", plan, "--from", base / "save", "--out", base / "arm2", *more)
    settings = settings_of(base / "arm2")
    assert (settings["train_iters"], settings["exit_interval"], settings["extra_save_iters"]) == (6, 5, [5])


def test_the_baseline_continued_and_an_arm_from_the_beginning(base: Path) -> None:
    done("arm", "--from", base / "save" / "global_step2", "--out", base / "on")
    assert load_patch_file(base / "on" / "patch.yml").plan is None
    assert load_patch_file(base / "on" / "patch.yml").corpus == base / "rows.npy"
    assert load_patch_file(base / "on" / "patch.yml").epochs == 1
    done("arm", "--from", base / "save", "--out", base / "longer", "--set", "train_iters=20")
    assert load_patch_file(base / "longer" / "patch.yml").epochs == 2, "80 samples of a corpus of 48"
    configs = [base / "save" / "global_step2" / "configs" / name for name in ("model.yml", "data.yml")]
    plan = plan_of(base, "plan", mask=1)
    words = [word for config in configs for word in ("--config", config)]
    said = done("arm", "--plan", plan, *words, "--corpus", base / "rows.npy", "--out", base / "anew")
    assert latest_step(base / "anew") is None and "anew, from step 0" in said
    assert settings_of(base / "anew")["extra_save_iters"] == [1, 4] and "step 0 is not saved" in said
    run = read_run(base / "anew")
    assert run is not None and [(start.from_, start.checkpoint) for start in run.starts] == [(0, None)]


def test_a_baseline_that_was_trained_without_patches(base: Path) -> None:
    """Known at every further start as what it was at the first."""
    for record in (base / "save").rglob("neox_patches.json"):
        record.unlink()
    plan = plan_of(base, "plan", mask=30)
    words = ("--plan", plan, "--from", base / "save", "--corpus", base / "rows.npy")
    said = done("arm", *words, "--out", base / "arm")
    assert "was saved without patches" in said and f"cd {os.getcwd()}" in said
    assert standing_of(base / "arm", 4, base / "arm").stretches == (Stretch(trained="unpatched"),)
    done("arm", "--from", base / "save", "--out", base / "plain")
    assert load_patch_file(base / "plain" / "patch.yml").is_empty


def test_an_unknown_checkpoint_is_refused_and_can_be_insisted_on(base: Path) -> None:
    (checkpoint_folder(base / "save", 4) / "neox_patches.json").unlink()
    words = ("arm", "--plan", plan_of(base, "plan", mask=2), "--from", base / "save", "--out", base / "arm")
    said = refused(1, *words)
    assert (
        "is not known" in said and "curator arm --insist unrecorded" in said and not (base / "arm").exists()
    )
    done(*words, "--insist", "unrecorded")
    run = read_run(base / "arm")
    assert run is not None and run.starts[0].insisted == ("unrecorded",)
    assert standing_of(base / "arm", 4, base / "arm").stretches == (Stretch(trained="unknown"),)


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (
            "--plan PLAN --from SAVE/global_step4",
            1,
            "4 steps were trained with no plan, but the plan .* edits step 0",
        ),
        ("--plan OTHER --from SAVE", 1, "batch_size: there 2, asked for 4"),
        (
            "--plan LATE --from SAVE --set seq-length=5",
            1,
            "seq-length of 32, but this run is configured with 5",
        ),
        ("--from SAVE/global_step6", 1, "no such folder"),
        ("--from BASE", 1, "no checkpoint of GPT-NeoX"),
        ("--from SAVE/global_step0", 1, "v1.0 cannot load a checkpoint of step 0; leave --from out"),
        ("--plan LATE", 2, "config files are missing"),
        ("--config BASE/plan/plan.json", 1, "train_iters is None, expected a whole number"),
        ("--config BASE/nothing.yml", 2, "no such file"),
        ("--from SAVE --set save=elsewhere", 2, "choose it with --out"),
        ("--from SAVE --set exit_interval", 2, "--set takes KEY=VALUE"),
        ("--from SAVE --set train_iters=many", 2, "many: expected a whole number"),
        ("--from SAVE --set train_iters=13 --plan LATE", 1, "set train_iters to at most 12"),
        ("--from SAVE --corpus BASE/other.npy", 1, "trained on the corpus .*, but this run's corpus is"),
        ("--from SAVE --insist unpatched", 2, "--insist: unknown value 'unpatched'; known: unrecorded"),
    ],
)
def test_wrong_inputs_name_both_sides_and_leave_nothing(base: Path, words: str, code: int, says: str) -> None:
    plan_of(base, "plan", mask=1)
    plan_of(base, "late", mask=30)
    corpus = open_corpus(base / "rows.npy")
    Plan.identity(48, 2, corpus.fingerprint()).mask(np.array([30])).save(base / "other")
    np.save(base / "other.npy", np.zeros((48, 33), np.uint16))
    saved(base / "save", 0, recorded=False)
    places = {"PLAN": "plan", "LATE": "late", "OTHER": "other", "SAVE": "save"}
    text = words
    for name, place in places.items():
        text = text.replace(name, str(base / place))
    given = text.replace("BASE", str(base)).split()
    assert re.search(says, refused(code, "arm", *given, "--out", base / "arm"))
    assert not (base / "arm").exists() and not list(base.glob(".*.tmp"))
