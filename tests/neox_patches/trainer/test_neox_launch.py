"""The patches reach every rank through GPT-NeoX's own way of starting: deepy.py and DeepSpeed's launcher."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import nursery
import pytest
import yaml
from neox_runs import (
    HERE,
    MICRO,
    PP1_ZERO1,
    SEQ,
    Trainer,
    assert_same_checkpoint,
    cpu_environment,
    free_port,
    rank_environment,
)
from plans import plan_study

from curator.influence.emission import Emission

LIGHT = """
import importlib.abc, importlib.util, sys
NEEDED = {"torch", "numpy", "yaml", "pydantic", "pydantic_core", "typing_extensions"}
ALLOWED = NEEDED | {"curator", "neox_patches", "deepspeed", "megatron"}

class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        frame = sys._getframe(1)
        while frame and frame.f_globals.get("__name__", "").startswith(("importlib", "_frozen_importlib")):
            frame = frame.f_back
        asker = frame.f_globals.get("__name__", "") if frame else ""
        ours = asker.partition(".")[0] in ("curator", "neox_patches") and asker != "neox_patches.compat"
        if ours and top not in ALLOWED and top not in sys.stdlib_module_names:
            raise ImportError(f"{asker} imports {name}, which a GPT-NeoX environment may not have")
        return None

sys.meta_path.insert(0, Refuse())
import runpy
sys.argv = sys.argv[1:]
runpy.run_module("neox_patches", run_name="__main__")
"""


def launch(trainer: Trainer, folder: Path, words: list[str | Path], **environment: str) -> tuple[int, str]:
    """The code and the output of ``python -m neox_patches WORDS`` at home in ``folder``; what it starts is real."""
    variables = {**cpu_environment(trainer.home), "HOME": str(folder), **environment}
    command: list[str | Path] = ["-m", "neox_patches", *words]
    log = folder / "log.txt"
    return nursery.start(command, trainer.home, variables, log).wait(300), log.read_text(errors="replace")


def test_deepy_and_deepspeeds_launcher_hand_the_patches_to_every_rank(head: Trainer, tmp_path: Path) -> None:
    """Two ranks started by the real launcher, pipeline engine; the script is train.py with the witness in front.

    test_neox_docs.py starts v1.0 in this way, with --patch; neither way to name the patch file knows of a generation.
    """
    study, _, expected = plan_study(tmp_path, 2 * MICRO, 4)
    study["emit"] = {"out": str(tmp_path / "out"), "steps": [2], "units": ["induction:0.0"], "factors": {}}
    (tmp_path / "study.yml").write_text(yaml.safe_dump(study))
    config = head.config(**PP1_ZERO1, train_iters=5, lr_decay_iters=5)
    config |= {"global_num_gpus": 2, "num_gpus": 2, "master_port": free_port(), "hostfile": "/nonexistent"}
    (tmp_path / "config.yml").write_text(yaml.safe_dump(config))
    script = tmp_path / "train.py"
    script.write_text(
        f"import sys; sys.path.insert(1, {str(HERE)!r})\nimport megatron.training, witness, runpy\n"
        f"witness.install(megatron.training)\nrunpy.run_path({str(head.home / 'train.py')!r}, run_name='__main__')\n"
        "witness.leave()\n"
    )
    (tmp_path / ".deepspeed_env").write_text(f"NEOX_PATCHES_FILE={tmp_path / 'study.yml'}\n")  # at home
    words: list[str | Path] = ["deepy.py", script, tmp_path / "config.yml"]
    code, said = launch(head, tmp_path, words, NEOX_WITNESS=str(tmp_path))
    assert code == 0, said[-4000:]
    ranks = [np.load(tmp_path / f"rows-{rank}.npy") for rank in range(2)]
    assert np.array_equal(np.stack(ranks, 1).reshape(-1, SEQ + 1), expected)
    assert [len(part.scored) for part in Emission.open(tmp_path / "out").ranks] == [0, 0]
    assert "GPT-NeoX HEAD, from step 0, plan" in said


HOW = [("HEAD", ".deepspeed_env"), ("v1.0", "--patch")]
"""Each way to name the patch file, with one generation."""


@pytest.mark.parametrize(("trainer", "how"), HOW, indirect=["trainer"])
def test_the_launcher_hands_our_variables_to_other_nodes(trainer: Trainer, tmp_path: Path, how: str) -> None:
    """Two nodes in a host file, DeepSpeed's own runner; pdsh and ssh are stand-ins that note their words."""
    (tmp_path / "bin").mkdir()
    for name in ("pdsh", "ssh"):
        script = tmp_path / "bin" / name
        script.write_text(f'#!/bin/sh\necho "{name} $@" >> {tmp_path}/called\n')
        script.chmod(0o755)
    (tmp_path / "hosts").write_text("worker-0 slots=2\nworker-1 slots=2\n")
    (tmp_path / "study.yml").write_text("{}\n")
    config = trainer.config() | {
        "hostfile": str(tmp_path / "hosts"),
        "launcher": "pdsh",
        "master_addr": "worker-0",
    }
    (tmp_path / "config.yml").write_text(yaml.safe_dump(config))
    words: list[str | Path] = ["--insist", "unrecorded,unpatched"]
    if how == "--patch":
        words += ["--patch", tmp_path / "study.yml"]
    else:
        (tmp_path / ".deepspeed_env").write_text(f"NEOX_PATCHES_FILE={tmp_path / 'study.yml'}\n")
    words += ["deepy.py", "train.py", tmp_path / "config.yml"]
    path = f"{tmp_path / 'bin'}{os.pathsep}{cpu_environment(trainer.home)['PATH']}"
    code, said = launch(trainer, tmp_path, words, WORLD_SIZE="4", PATH=path)
    assert code == 0, said
    (called,) = [line for line in (tmp_path / "called").read_text().splitlines() if line.startswith("pdsh")]
    assert "worker-0,worker-1" in called and "neox_patches/__main__.py" in called
    for variable, value in {
        "NEOX_PATCHES_FILE": tmp_path / "study.yml",
        "NEOX_PATCHES_SCRIPT": trainer.home / "train.py",
        "NEOX_PATCHES_INSIST": "unpatched,unrecorded",
        "NEOX_HOME": trainer.home,
    }.items():
        assert re.search(rf"export {variable}=['\"]?{re.escape(str(value))}", called), called


def test_the_launchers_last_words_are_the_ranks_error(head: Trainer, tmp_path: Path) -> None:
    """Two ranks started by the real launcher are refused alike; what it prints of that ends with why."""
    study, _, _ = plan_study(tmp_path, 2 * MICRO, 2)
    (tmp_path / "study.yml").write_text(yaml.safe_dump(study))
    config = head.config(train_iters=50)
    config |= {"global_num_gpus": 2, "num_gpus": 2, "master_port": free_port(), "hostfile": "/nonexistent"}
    (tmp_path / "config.yml").write_text(yaml.safe_dump(config))
    (tmp_path / "tmp").mkdir()
    words: list[str | Path] = [
        "--patch",
        tmp_path / "study.yml",
        "deepy.py",
        "train.py",
        tmp_path / "config.yml",
    ]
    code, said = launch(head, tmp_path, words, TMPDIR=str(tmp_path / "tmp"))
    lines = said.splitlines()
    assert code == 1 and lines[-1].startswith(
        "error: the plan has 3 steps of 8 samples, but this run trains 50"
    )
    assert lines[-2] == "neox_patches: said by rank 0, 1 above, and again here:"
    assert lines.count(lines[-1]) == 3, "each rank said it where it was refused"
    assert not list((tmp_path / "tmp").iterdir()), "nothing is left behind"


@pytest.mark.skipif(not shutil.which("make"), reason="no make")
def test_make_compiles_the_index_helper_with_this_python(head: Trainer, tmp_path: Path) -> None:
    """GPT-NeoX's own Makefile, run as if the helper were not there yet; another python3 comes first on the PATH."""
    (tmp_path / "python3").write_text("#!/bin/sh\necho No module named pybind11 >&2; exit 1\n")
    (tmp_path / "python3").chmod(0o755)
    make = ["make", "--dry-run", "-C", str(head.home / "megatron" / "data"), "LIBEXT=.none", "helpers.none"]
    code = f"import subprocess, sys; from neox_patches import compat; said = SAID; print(said, subprocess.run({make}))"
    found = []
    for said in ("None", "compat._own_python()"):
        run = subprocess.run(
            [sys.executable, "-c", code.replace("SAID", said)],
            env=cpu_environment(head.home) | {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert run.returncode == 0 and "helpers.cpp" in run.stdout, run.stderr
        found.append("pybind11/include" in run.stdout)
    assert found == [False, True]
    assert f"where make would have found {tmp_path / 'python3'}" in run.stdout


def test_the_patches_need_only_what_a_neox_environment_has(head: Trainer, tmp_path: Path) -> None:
    """A whole run, with every import that curator or neox_patches makes checked."""
    study, _, expected = plan_study(tmp_path, MICRO, 3)
    study["emit"] = {
        "out": str(tmp_path / "out"),
        "steps": [1],
        "units": ["induction:0.0"],
        "factors": {},
        "gradients": {},
    }
    (tmp_path / "study.yml").write_text(yaml.safe_dump(study))
    (tmp_path / "config.yml").write_text(yaml.safe_dump(head.config(train_iters=4)))
    environment = rank_environment(head.home) | {"NEOX_WITNESS": str(tmp_path)}
    words = [
        "--patch",
        str(tmp_path / "study.yml"),
        str(HERE / "train_direct.py"),
        str(tmp_path / "config.yml"),
    ]
    run = subprocess.run(
        [sys.executable, "-c", LIGHT, "neox_patches", *words],
        cwd=head.home,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert run.returncode == 0, (run.stdout + run.stderr)[-4000:]
    assert np.array_equal(np.load(tmp_path / "rows-0.npy").reshape(-1, SEQ + 1), expected)


def test_help_and_wrong_commands(head: Trainer, tmp_path: Path) -> None:
    def ask(*words: str, **environment: str) -> tuple[int, str]:
        variables = {**cpu_environment(head.home), "HOME": str(tmp_path), "NEOX_HOME": "", **environment}
        command, log = ["-m", "neox_patches", *words], tmp_path / "log.txt"
        return nursery.start(command, tmp_path, variables, log).wait(60), log.read_text()

    home = str(head.home)
    code, shown = ask("--help")
    assert code == 0 and "deepy.py train.py" in shown and "emit:" in shown
    assert ask()[0] == 2
    code, nowhere = ask("train.py")
    assert code == 2 and "no GPT-NeoX checkout" in nowhere and "git clone" in nowhere
    code, wrong = ask("tarin.py", NEOX_HOME=home)
    assert code == 2 and "no script 'tarin.py'" in wrong and "train.py" in wrong
    code, late = ask("train.py", "--patch", "study.yml", NEOX_HOME=home)
    assert code == 2 and "behind the script" in late
    code, insisted = ask("--insist", "everything", "train.py", NEOX_HOME=home)
    assert code == 2 and "everything: nothing of that name" in insisted
    assert "unpatched: train without a patch file" in insisted and "unrecorded" in insisted
    code, missing = ask("--patch", "none.yml", "train.py", NEOX_HOME=home)
    assert code == 2 and "none.yml: no such file" in missing


def test_a_run_killed_within_an_insertion_goes_on(trainer: Trainer, tmp_path: Path) -> None:
    """SIGKILL in the midst of four extra steps; the run goes on from GPT-NeoX's last checkpoint, bit-identically."""
    study, _, expected = plan_study(tmp_path, MICRO, 60, extra_steps=4)  # steps 2 to 5
    config = trainer.config(train_iters=9, lr_decay_iters=9, checkpoint_factor=3)
    emit = {
        "out": str(tmp_path / "out"),
        "steps": [1, 2, 3, 4],
        "units": ["induction:1.0"],
        "factors": {},
        "gradients": {},
    }
    save = {"save": str(tmp_path / "killed" / "save")}
    (process,) = trainer.start(tmp_path / "killed", {**config, **save}, {**study, "emit": emit})
    log, deadline = tmp_path / "killed" / "log-0.txt", time.monotonic() + 120
    while not re.search(r"iteration +4/", log.read_text(errors="replace")) and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert (tmp_path / "killed" / "save" / "latest").read_text() == "global_step3"
    rest = trainer.run(tmp_path / "rest", {**config, **save, "load": save["save"]}, {**study, "emit": emit})
    assert np.array_equal(rest.rows().reshape(-1, SEQ + 1), expected[3 * MICRO : 9 * MICRO])
    whole = {"save": str(tmp_path / "whole" / "save")}
    emit_whole = {**emit, "out": str(tmp_path / "out-whole")}
    trainer.run(tmp_path / "whole", {**config, **whole}, {**study, "emit": emit_whole})
    assert_same_checkpoint(tmp_path / "killed" / "save", tmp_path / "whole" / "save", 9)
    left, right = (Emission.open(tmp_path / name).ranks[0] for name in ("out", "out-whole"))
    for name in ("flags", "losses", "gradients/0"):
        assert np.array_equal(left.array(name), right.array(name)), name
