"""Runs of the embedded trainer that are killed, extended or continued equal uninterrupted ones bit by bit."""

import math
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_runs import CONFIG, LONG, assert_same_bits, differ, make_corpus, plan_for
from torch import nn

from curator.errors import CuratorError
from curator.models import list_checkpoints
from curator.training import build_model, train


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)  # bit-identity is promised for a fixed number of threads


KILLED_RUN = """
import sys
sys.path[:0] = {path!r}
from tiny_runs import LONG, make_corpus
from pathlib import Path
from curator.training import train
train(LONG, make_corpus(1200), Path(sys.argv[1]), checkpoint_steps=range(0, 301, 15))
"""


def test_a_killed_run_resumes_bit_identically(tmp_path: Path) -> None:
    train(LONG, make_corpus(1200), tmp_path / "whole", checkpoint_steps=range(0, 301, 15))
    out = tmp_path / "killed"
    command = [
        sys.executable,
        "-c",
        KILLED_RUN.format(path=sys.path),
        str(out),
    ]
    log = tmp_path / "log"
    with open(log, "w") as file:
        process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=file)
        while not (out / "step15").exists():
            assert process.poll() is None, log.read_text()
            time.sleep(0.002)
        time.sleep(random.uniform(0, 0.3))
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert not (out / "step300").exists()

    resumed_at: list[int] = []
    newest = list_checkpoints(out)[-1][0]
    train(
        LONG,
        make_corpus(1200),
        out,
        checkpoint_steps=range(0, 301, 15),
        on_step=lambda step, model: resumed_at.append(step),
    )
    assert resumed_at == list(range(newest + 1, 301))
    for step in range(0, 301, 15):
        if step:
            assert_same_bits(out / f"step{step}", tmp_path / "whole" / f"step{step}")
    assert (out / "losses.npy").read_bytes() == (tmp_path / "whole" / "losses.npy").read_bytes()
    assert not [path for path in out.iterdir() if path.name.startswith(".")]


def test_a_checkpoint_that_was_cut_off_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = make_corpus()
    train(CONFIG, corpus, tmp_path / "whole", checkpoint_steps=[4, 8])
    out, replace = tmp_path / "cut", os.replace

    def cut(source: Path, target: Path) -> None:
        if target.name == "step8":
            shutil.copytree(source, out / ".step8.0123abcd.tmp")  # a killed process cannot clear up
            raise KeyboardInterrupt
        replace(source, target)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("curator.artifacts.files.os.replace", cut)
        train(CONFIG, corpus, out, checkpoint_steps=[4, 8])
    assert [step for step, _ in list_checkpoints(out)] == [4]
    assert [path.name for path in out.glob(".*")] == [".step8.0123abcd.tmp"]
    (out / ".losses.npy.0123abcd.tmp").touch()
    train(CONFIG, corpus, out, checkpoint_steps=[4, 8])
    assert [step for step, _ in list_checkpoints(out)] == [4, 8, 12]
    assert_same_bits(out / "step12", tmp_path / "whole" / "step12")
    assert not list(out.glob(".*"))


def test_on_step_sees_every_step_once_and_only_what_was_asked_for_is_saved(tmp_path: Path) -> None:
    seen: list[int] = []
    arguments = {"checkpoint_steps": [0, 3], "stop_step": 5}
    train(CONFIG, make_corpus(), tmp_path, on_step=lambda step, _: seen.append(step), **arguments)
    assert seen == [0, 1, 2, 3, 4, 5]
    assert [step for step, _ in list_checkpoints(tmp_path)] == [0, 3, 5]
    losses = np.load(tmp_path / "losses.npy")
    assert losses.shape == (12,) and np.isfinite(losses[:5]).all() and np.isnan(losses[5:]).all()
    initial = build_model(CONFIG).state_dict()
    saved = load_file(tmp_path / "step0" / "model.safetensors")
    assert torch.equal(saved["gpt_neox.embed_in.weight"], initial["gpt_neox.embed_in.weight"])

    train(CONFIG, make_corpus(), tmp_path, on_step=lambda step, _: seen.append(step), **arguments)
    assert seen == [0, 1, 2, 3, 4, 5]  # everything was there


def test_a_run_can_be_extended_and_asked_for_earlier_steps_later(tmp_path: Path) -> None:
    corpus = make_corpus()
    train(CONFIG, corpus, tmp_path / "whole", checkpoint_steps=[2, 6, 9])
    out = tmp_path / "parts"
    train(CONFIG, corpus, out, checkpoint_steps=[2], stop_step=6)
    train(CONFIG, corpus, out, checkpoint_steps=[2])
    train(CONFIG, corpus, out, checkpoint_steps=[9])
    for step in (2, 6, 9, 12):
        assert_same_bits(out / f"step{step}", tmp_path / "whole" / f"step{step}")
    assert (out / "losses.npy").read_bytes() == (tmp_path / "whole" / "losses.npy").read_bytes()


def test_an_arm_that_starts_from_the_baseline_equals_one_trained_from_scratch(tmp_path: Path) -> None:
    corpus = make_corpus()
    plan = plan_for(corpus, "renormalised").mask(np.array([25, 26, 41]))  # steps 6 and 10
    train(CONFIG, corpus, tmp_path / "base", checkpoint_steps=[6])
    start = tmp_path / "base" / "step6"
    train(CONFIG, corpus, tmp_path / "scratch", plan=plan, checkpoint_steps=[8])
    train(CONFIG, corpus, tmp_path / "arm", plan=plan, start_from=start, checkpoint_steps=[6, 8])
    train(CONFIG, corpus, tmp_path / "same", start_from=start, checkpoint_steps=[])
    assert_same_bits(tmp_path / "arm" / "step6", start)
    assert_same_bits(tmp_path / "arm" / "step8", tmp_path / "scratch" / "step8")
    assert_same_bits(tmp_path / "arm" / "step12", tmp_path / "scratch" / "step12")
    assert_same_bits(tmp_path / "same" / "step12", tmp_path / "base" / "step12")
    assert differ(tmp_path / "arm" / "step12", tmp_path / "base" / "step12")
    losses = np.load(tmp_path / "arm" / "losses.npy")
    assert np.isnan(losses[:6]).all()
    np.testing.assert_array_equal(losses[6:], np.load(tmp_path / "scratch" / "losses.npy")[6:])


def test_a_loss_that_is_not_finite_stops_the_run_and_is_never_saved(tmp_path: Path) -> None:
    def spoil(step: int, model: nn.Module) -> None:
        if step == 5:
            next(model.parameters()).data.fill_(math.nan)

    with pytest.raises(CuratorError, match=r"update 5: the loss is nan .* look at slots 20 \.\. 23"):
        train(CONFIG, make_corpus(), tmp_path, checkpoint_steps=range(0, 13, 4), on_step=spoil)
    assert [step for step, _ in list_checkpoints(tmp_path)] == [0, 4]


def test_on_step_may_end_the_run_which_is_saved_there_as_a_run_that_was_asked_to_stop(tmp_path: Path) -> None:
    ended, asked = tmp_path / "ended", tmp_path / "asked"
    train(CONFIG, make_corpus(), ended, checkpoint_steps=[0, 4], on_step=lambda step, _: step == 6)
    train(CONFIG, make_corpus(), asked, checkpoint_steps=[0, 4], stop_step=6)
    assert [step for step, _ in list_checkpoints(ended)] == [0, 4, 6]
    for step in ("step4", "step6"):  # the first has no moments
        assert_same_bits(ended / step, asked / step)
