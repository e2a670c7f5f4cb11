"""A study whose trainer is GPT-NeoX, started as a user starts it: deepy.py, DeepSpeed's launcher, a real checkout.

It is killed while the baseline trains. What its runs ended with is compared with runs that no study made: the same
plans through `curator arm`, in one go, with the witness of what the model saw.
"""

import contextlib
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
import yaml
from commands import done
from neox_runs import HERE, SEQ, Trainer, assert_same_checkpoint, cpu_environment, start_ranks

from curator.artifacts.files import load_json
from curator.corpus import open_corpus
from curator.influence.emission import RECORD
from curator.models import load_model
from curator.neox.standing import recorded_checkpoints
from curator.plan.plan import Plan
from curator.plan.rows import PlannedRows, open_sources
from curator.scan.scan import scan_checkpoints
from curator.study.study import Study, load_study
from curator.units import ProbeSettings

BATCH, STEPS, FIRST, STOP = 4, 12, 4, 10
STUDY: dict[str, Any] = {
    "title": "tiny",
    "train": {
        **{"n_layers": 2, "d_model": 16, "n_heads": 2, "d_mlp": 48, "vocab_size": 300, "seq_length": SEQ},
        **{"rotary_pct": 0.5, "rotary_base": 100, "initial_std": 0.02},
        **{"steps": STEPS, "batch_size": BATCH, "learning_rate": 0.01, "warmup_steps": 2},
    },
    "trainer": "neox",
    "neox": {"set": {"log_interval": 1}},
    "drill_fraction": 0,
    "checkpoint_every": 2,
    "window": {"start": FIRST, "attribution": 0.001, "end": 0.9},
    "stop_step": STOP,
    "probe": {"max_length": 12, "sequences": 10},
    "rank": {"factor_samples": 16},
    "percent": 20,
    "measure_every": 2,
    "thresholds": [0.01],
    "arms": [
        {"name": "mask-top", "mask": "top"},
        {"name": "insert-random", "insert": "random", "count": 2 * BATCH, "spread": 4},
    ],
}


def start(trainer: Trainer, folder: Path) -> "subprocess.Popen[bytes]":
    """The study's command; what it prints is added to said.txt."""
    words = ["study", "run", "study.yml", "--out", "out", "--seeds", "1"]
    with open(folder / "said.txt", "ab") as said:
        return subprocess.Popen(
            [sys.executable, "-m", "curator.cli", *words],
            cwd=folder,
            env=cpu_environment(trainer.home),
            stdout=said,
            stderr=said,
        )


def ended(process: "subprocess.Popen[bytes]", folder: Path) -> str:
    code, said = process.wait(400), (folder / "said.txt").read_text()
    assert code == 0, said[-3000:]
    return said


def processes_in(folder: Path) -> list[psutil.Process]:
    """Those that stand in this folder or below."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if Path(process.cwd()).is_relative_to(folder):
                found.append(process)
    return found


def ranks_in(folder: Path) -> list[psutil.Process]:
    """Those that DeepSpeed's launcher started to train."""
    found = []
    for process in processes_in(folder):
        with contextlib.suppress(psutil.Error):
            if "--local_rank=0" in process.cmdline():
                found.append(process)
    return found


def until(true: Any, seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def directly(trainer: Trainer, seed: Path, out: Path, *words: Any) -> np.ndarray:
    """`curator arm` WORDS, trained in one go without the launcher; [steps, batch, width] rows that the model saw."""
    done("arm", "--corpus", seed / "corpus", "--out", out, *words)
    witness = out.with_name(f"{out.name}-seen")
    witness.mkdir()
    command = [
        "-m",
        "neox_patches",
        "--patch",
        out / "patch.yml",
        HERE / "train_direct.py",
        out / "train.yml",
    ]
    (process,) = start_ranks(trainer.home, command, witness / "log", 1, {"NEOX_WITNESS": str(witness)})
    assert process.wait(240) == 0, (witness / "log-0.txt").read_text(errors="replace")[-4000:]
    return np.load(witness / "rows-0.npy").reshape(-1, BATCH, SEQ + 1)


def test_a_killed_study_goes_on_and_its_arms_are_those_of_curator_arm(head: Trainer, tmp_path: Path) -> None:
    (tmp_path / "study.yml").write_text(yaml.safe_dump(STUDY))
    seed = tmp_path / "out" / "seed0"
    study = start(head, tmp_path)
    until(lambda: ranks_in(seed / "baseline") or study.poll() is not None)
    (rank,) = ranks_in(seed / "baseline")
    record, next_record = (seed / "baseline" / f"global_step{step}" / RECORD for step in (2, 4))
    until(lambda: next_record.is_file() or study.poll() is not None)
    rank.suspend()  # it would be done in a tenth of a second
    assert not (seed / "curves").exists()
    study.send_signal(signal.SIGKILL)
    study.wait()
    until(lambda: not processes_in(tmp_path), 20)
    whole = [
        step
        for step in recorded_checkpoints(seed / "baseline")
        if (seed / "baseline" / f"global_step{step}" / "configs" / "launch.yml").is_file()
    ]
    made, last = record.stat().st_mtime_ns, max(whole)
    assert 2 <= last < STEPS

    ended(start(head, tmp_path), tmp_path)
    log = (seed / "baseline" / "log.txt").read_text(errors="replace")
    assert re.findall(r"GPT-NeoX HEAD, from step (\d+)", log) == ["0", str(last)]
    assert record.stat().st_mtime_ns == made, "what was trained is not trained again"
    assert "GPT-NeoX HEAD, from step 4, plan" in (seed / "mask-top" / "log.txt").read_text()

    corpus = open_corpus(seed / "corpus")
    base = corpus.rows(slice(0, STEPS * BATCH)).reshape(STEPS, BATCH, SEQ + 1)
    settings = yaml.safe_load((seed / "baseline" / "train.yml").read_text())
    del settings["save"], settings["load"]
    (tmp_path / "base.yml").write_text(yaml.safe_dump(settings))
    seen = directly(
        head, seed, tmp_path / "whole", "--config", tmp_path / "base.yml", "--set", "extra_save_iters=[0]"
    )
    assert np.array_equal(seen, base), "the study's corpus, row by row"
    assert_same_checkpoint(tmp_path / "whole", seed / "baseline", STEPS)

    plans = {name: Plan.load(seed / "plans" / name) for name in ("mask-top", "insert-random")}
    masked, inserted = plans["mask-top"], plans["insert-random"]
    assert len(masked.masked_slots()) == 6 and masked.masked_slots().min() >= FIRST * BATCH
    lasts = {"mask-top": STOP, "insert-random": STOP + 2}
    for name, last in lasts.items():
        words = ["--plan", seed / "plans" / name, "--from", tmp_path / "whole" / f"global_step{FIRST}"]
        more = ["--set", f"exit_interval={last}", "--set", "checkpoint_factor=2"]
        rows = directly(head, seed, tmp_path / name, *words, *more)
        slots = np.arange(FIRST * BATCH, last * BATCH)
        plan = plans[name]
        told = PlannedRows(plan, corpus, open_sources(plan, corpus)).rows(slots)
        assert np.array_equal(rows.reshape(told.shape), told)
        assert_same_checkpoint(tmp_path / name, seed / name, last)
        if name == "mask-top":
            assert np.array_equal(rows, base[FIRST:STOP]), "masked rows stay where they are"
        else:
            kept = [
                row for row, slot in zip(told, slots, strict=True) if slot // BATCH not in _extra(inserted)
            ]
            assert np.array_equal(np.stack(kept).reshape(-1, BATCH, SEQ + 1), base[FIRST:STOP])
    arm, baseline = (load_model(seed / name / f"global_step{STOP}") for name in ("mask-top", "baseline"))
    assert arm.config.intermediate_size == 48
    differ = [
        not torch.equal(ours, theirs)
        for ours, theirs in zip(arm.parameters(), baseline.parameters(), strict=True)
    ]
    assert all(differ), "what is masked was not trained on"

    probe = ProbeSettings.of(load_study(tmp_path / "study.yml", Study).probe)
    for name, folder, steps in (
        ("baseline", "whole", range(0, STEPS + 1, 2)),
        ("mask-top", "mask-top", range(FIRST, STOP + 1, 2)),
        ("insert-random", "insert-random", range(FIRST, STOP + 3, 2)),
    ):
        curve = load_json(seed / "curves" / f"{name}.json")
        assert curve["steps"] == list(steps), name
        there = scan_checkpoints(
            tmp_path / folder,
            tmp_path / f"scan-{name}",
            kinds=["induction"],
            settings=probe,
            corpus=seed / "corpus",
        )
        assert there.steps.tolist() == curve["steps"]
        np.testing.assert_allclose(curve["scores"], there.values["induction"], rtol=1e-6, atol=1e-9)

    before = times(seed)
    ended(start(head, tmp_path), tmp_path)
    assert times(seed) == before and len(before) > 100, "the second start does nothing"


def times(folder: Path) -> dict[Path, int]:
    """When files were written, but the pictures of the report."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".png"]
    return {path: path.stat().st_mtime_ns for path in files}


def _extra(plan: Plan) -> set[int]:
    """The extra steps of the arm: after steps 4 and 6 of the window, spread over 4 steps."""
    source_of = plan.lookup(np.arange(plan.n_slots)).sample.reshape(-1, BATCH)
    rising = [int(row[0]) for row in source_of]
    found, due = set(), 0
    for step, sample in enumerate(rising):
        if sample == due * BATCH and np.array_equal(
            source_of[step], np.arange(due * BATCH, (due + 1) * BATCH)
        ):
            due += 1
        else:
            found.add(step)
    assert len(found) == 2 and due == STEPS
    return found
