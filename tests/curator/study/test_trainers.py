"""What a study says of its trainer, and what becomes of that for GPT-NeoX; the training itself: test_neox_study.py."""

import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import yaml
from engine_parts import ROOT

from curator.artifacts.workers import run_tied
from curator.corpus import open_corpus
from curator.errors import CuratorError, UsageError
from curator.neox.data_set import write_data_set
from curator.neox.recipe import DECIDED, decided, settings_of
from curator.study.replicate import Replicate
from curator.study.study import Study, load_study
from curator.training import TrainingConfig

DEMO: dict[str, Any] = yaml.safe_load((ROOT / "configs" / "studies" / "demo.yml").read_text())
NEOX: dict[str, Any] = {"trainer": "neox", "checkpoint_every": 10, "measure_every": 10}


def study_of(tmp_path: Path, **changes: Any) -> Study:
    (tmp_path / "study.yml").write_text(yaml.safe_dump(DEMO | changes))
    return load_study(tmp_path / "study.yml", Study)


def test_the_embedded_trainer_is_the_default_and_folders_of_before_are_its_own(tmp_path: Path) -> None:
    embedded = study_of(tmp_path)
    assert embedded.trainer == "embedded" and not {"trainer", "neox"} & embedded.decided().keys()
    assert study_of(tmp_path, trainer="embedded").decided() == embedded.decided()
    neox = study_of(tmp_path, **NEOX)
    assert neox.decided()["trainer"] == "neox"
    assert study_of(tmp_path, **NEOX, neox={"at_once": 3}).decided() == neox.decided(), "decides no number"
    assert study_of(tmp_path, **NEOX, neox={"set": {"precision": "fp16"}}).decided() != neox.decided()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"neox": {"home": "HEAD"}}, "'neox' says nothing beside 'trainer' embedded"),
        ({"trainer": "megatron"}, "trainer: unknown value 'megatron'"),
        (NEOX | {"measure_every": 15}, "'measure_every' is 15, 'checkpoint_every' 10"),
        (NEOX | {"train": DEMO["train"] | {"rotary_base": 10.5}}, "'train.rotary_base' is 10.5"),
        (NEOX | {"neox": {"set": {"num_layers": 3}}}, "set.num_layers: that is for the study to say"),
        (NEOX | {"neox": {"set": {"exit_interval": 3}}}, "set.exit_interval: that is for the study to say"),
        (NEOX | {"neox": {"set": {"weight-decay": 0.0}}}, "set.weight-decay: write weight_decay"),
    ],
)
def test_what_a_study_must_not_say_of_its_trainer(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as error:
        study_of(tmp_path, **changes)
    assert said in str(error.value)


def test_without_a_checkout_it_is_said_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the words of `curator doctor`."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("NEOX_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        UsageError, match=r"no GPT-NeoX checkout: NEOX_HOME is not set, .*; git clone"
    ) as error:
        Replicate(study_of(tmp_path, **NEOX), 0, tmp_path / "seed0").prepare()
    assert "\n" not in str(error.value) and not (tmp_path / "seed0").exists()


def test_every_number_of_the_recipe_reaches_gpt_neox_or_is_its_default(tmp_path: Path) -> None:
    """Each field of the recipe, changed alone, changes a setting, but for those that have none there."""
    config = study_of(tmp_path).train.changed(decay_steps=900, micro_batch_size=4, initial_std=0.02)
    others: dict[str, Any] = {
        **{"n_layers": 3, "d_model": 128, "n_heads": 4, "d_mlp": 100, "seq_length": 48, "rotary_pct": 0.5},
        **{"rotary_base": 50.0, "steps": 1100, "batch_size": 64, "learning_rate": 0.5, "warmup_steps": 7},
        **{"min_learning_rate_ratio": 1.0, "decay_steps": 950, "adam_betas": (0.1, 0.2), "adam_eps": 0.1},
        **{"weight_decay": 0.3, "gradient_clip": 0.7, "seed": 77, "initial_std": None, "micro_batch_size": 8},
    }
    said = decided(config, Path("data"), Path("tokenizer.json"))
    assert set(others) == set(TrainingConfig.model_fields) - {"vocab_size"}, "the tokenizer says that"
    for name, value in others.items():
        other = decided(config.changed(**{name: value}), Path("data"), Path("tokenizer.json"))
        assert other != said, name
        assert not {*other} - DECIDED - {"data_impl", "train_micro_batch_size_per_gpu"}, name
    assert math.isclose(said["warmup"] * said["lr_decay_iters"], config.warmup_steps)
    assert said["min_lr"] == config.learning_rate * config.min_learning_rate_ratio
    whole = settings_of(config, Path("data"), Path("t"), {"precision": "fp16"}, on_gpu=True)
    assert (whole["precision"], whole["distributed_backend"], whole["eval_interval"]) == (
        *("fp16", "nccl"),
        config.steps + 1,
    )


def test_a_data_set_is_read_back_as_the_rows_that_were_written(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).integers(0, 2**16, (7, 33)).astype(np.uint16)
    write_data_set(tmp_path / "text", rows)
    corpus = open_corpus(tmp_path / "text")
    assert len(corpus) == 7 and np.array_equal(corpus.rows(slice(0, 7)), rows)


def test_a_tied_command_is_killed_with_who_started_it_and_so_is_what_it_started(tmp_path: Path) -> None:
    """SIGKILL, which nobody can act upon; the grandchild would sleep on."""
    sleeper = (
        f"import os, time; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(100)"
    )
    child = f"import subprocess, sys; subprocess.call([sys.executable, '-c', {sleeper!r}])"
    tied = (
        "import os, sys; from pathlib import Path; from curator.artifacts.workers import run_tied\n"
        f"here = Path({str(tmp_path)!r})\n"
        f"run_tied([sys.executable, '-c', {child!r}], here, os.environ, here / 'log')"
    )
    process = subprocess.Popen([sys.executable, "-c", tied], cwd=ROOT)
    deadline = time.monotonic() + 60
    while not (tmp_path / "pid").is_file() or not (tmp_path / "pid").read_text():
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.01)
    pid = int((tmp_path / "pid").read_text())
    assert psutil.pid_exists(pid)
    process.send_signal(signal.SIGKILL)
    process.wait()
    while psutil.pid_exists(pid):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_tied_command_gives_its_code_and_its_words(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    words = [sys.executable, "-c", "import os, sys; print(os.getcwd()); sys.exit(7)"]
    assert run_tied(words, tmp_path, os.environ, log) == 7
    assert (
        run_tied([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"], tmp_path, os.environ, log) == 1
    )
    assert log.read_text() == f"{tmp_path}\n"


def test_an_old_checkout_is_refused_the_width_that_it_cannot_make(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from curator.neox.checkout import Checkout
    from curator.study import neox

    study = study_of(tmp_path, **NEOX, train=DEMO["train"] | {"d_mlp": DEMO["train"]["d_model"]})
    old = Checkout(tmp_path, "v1.0", "")
    monkeypatch.setattr(neox, "choose_checkout", lambda home: old)
    with pytest.raises(CuratorError, match=r"GPT-NeoX v1\.0 has four times d_model"):
        neox.NeoxRuns(study).check()
