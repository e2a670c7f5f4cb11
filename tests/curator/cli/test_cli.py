"""The command line as a user meets it: exit codes, messages that list what exists, and what is left on disk.

One tiny model is trained for all tests, in a folder with a space in its name. Commands run in this process through
the real entry point, `curator.cli.main`, where an exception that it does not turn into a message fails the test;
exit codes of a process, a Ctrl-C and a kill are tested on real ones.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import done, process, refused, run
from engine_parts import GOLDEN
from forked import command, finish
from tiny_runs import assert_same_bits, differ

from curator.ranking.ranking import Ranking

COMMANDS = [
    "corpus info",
    "corpus build",
    "corpus blend",
    "scan",
    "curves",
    "rank",
    "statistics",
    "show",
    "mask",
    "train",
    "demo",
    "doctor",
]


# -- the process ----------------------------------------------------------------------------------------------------


def test_exit_codes_are_0_done_1_failed_2_usage(tmp_path: Path) -> None:
    cases = {
        0: ["corpus", "info", GOLDEN / "rows.npy"],
        1: ["corpus", "info", tmp_path / "nothing"],
        2: ["corpus", "inform"],
    }
    started = {code: process(*words) for code, words in cases.items()}
    for code, child in started.items():
        out, err = child.communicate(timeout=300)
        assert child.returncode == code, err
        assert "Traceback" not in err and bool(out) == (code == 0) and bool(err) == (code != 0)


def test_the_command_line_itself_does_not_import_torch() -> None:
    code = "import sys, curator.cli.app; print({'torch', 'transformers'} & sys.modules.keys())"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_has_an_example_that_starts_with_the_command(command: str) -> None:
    assert f"Example: curator {command}" in " ".join(done(*command.split(), "--help").split())


def test_version_and_an_empty_command_line() -> None:
    from curator import __version__

    assert done("--version").strip() == f"curator {__version__}"
    assert "Usage" in run().out + run().err


def test_an_unknown_command_and_an_unknown_flag_name_near_ones() -> None:
    assert "rank" in refused(2, "rnak")
    assert "--model" in refused(2, "rank", "--modle", "x")


@pytest.mark.parametrize("signal_, code", [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_an_interrupted_ranking_says_so_and_goes_on(
    tmp_path: Path, signal_: signal.Signals, code: int
) -> None:
    words = ["rank", "--model", GOLDEN / "model", "--corpus", GOLDEN / "rows.npy", "--unit", "induction:*"]
    words += ["--probe-sequences", 4, "--factor-samples", 8, "--micro-batch", 2, "--shard-size", 4]
    words += ["--samples", "0:64"]
    out = tmp_path / "ranking"
    child = command("curator", *words, "--out", out, cwd=tmp_path)
    until = time.monotonic() + 60
    while not list(out.glob("shards/*.npy")):
        assert child.is_alive() and time.monotonic() < until
        time.sleep(0.01)
    os.kill(child.pid or 0, signal_)
    assert finish(child) == code
    err = (tmp_path / "errors.txt").read_text()
    assert "Traceback" not in err
    if signal_ is signal.SIGINT:
        assert "interrupted; the same command resumes" in err
    assert "unfinished" in refused(1, "show", out) and not (out / "scores.npy").exists()
    done(*words, "--out", out)
    assert Ranking.open(out).scores.shape == (12, 64)


# -- corpus ---------------------------------------------------------------------------------------------------------


def test_corpus_info_reads_every_format(study: Path, tmp_path: Path) -> None:
    rows = np.arange(40, dtype=np.uint16).reshape(8, 5)
    np.save(tmp_path / "rows.npy", rows)
    from mmap_ninja import np_from_ndarray

    np_from_ndarray(tmp_path / "ninja", rows)
    (tmp_path / "neox.bin").write_bytes(rows.tobytes())
    header = b"MMIDIDX\x00\x00" + np.array([1], "<u8").tobytes() + bytes([8])
    sizes, pointers = np.full(8, 5, "<i4"), np.arange(8, dtype="<i8") * 10
    counts = np.array([8, 9], "<u8").tobytes()
    index = header + counts + sizes.tobytes() + pointers.tobytes() + np.arange(9, dtype="<i8").tobytes()
    (tmp_path / "neox.idx").write_bytes(index)
    for path in (tmp_path / "rows.npy", tmp_path / "ninja", tmp_path / "neox", tmp_path / "neox.bin"):
        said = done("corpus", "info", path, "--vocab-size", 40, "--seq-length", 4).split()
        assert said[said.index("samples") + 1] == "8" and "uint16" in said, path
    assert "embedded corpus" in done("corpus", "info", f"{study / 'corpus'}/")


def test_corpus_info_refuses_what_does_not_fit_and_says_what_is_there(tmp_path: Path) -> None:
    rows = GOLDEN / "rows.npy"
    assert "outside the vocabulary of 5" in refused(1, "corpus", "info", rows, "--vocab-size", 5)
    assert "set seq_length to 128" in refused(1, "corpus", "info", rows, "--seq-length", 5)
    assert "rows.npy" in refused(1, "corpus", "info", GOLDEN / "rows")
    assert "not a corpus this tool reads" in refused(1, "corpus", "info", GOLDEN / "README.md")
    assert "no corpus found" in refused(1, "corpus", "info", tmp_path)
    refused(2, "corpus", "info", rows, "--seq-length", -5)


def test_corpus_build_without_drill_rows_is_all_natural(tmp_path: Path) -> None:
    words = ["corpus", "build", "--out", tmp_path / "c", "--samples", 64, "--vocab-size", 300]
    done(*words, "--drill-fraction", 0)
    assert not np.load(tmp_path / "c" / "category_ids.npy").any()
    assert "drill_fraction" in refused(1, *words, "--drill-fraction", 0.5)
    for flags in (["--samples", 0], ["--drill-fraction", 2], ["--seed", -1]):
        assert flags[0] in refused(2, "corpus", "build", "--out", tmp_path / "d", *flags)


# -- train and scan -------------------------------------------------------------------------------------------------


def test_train_follows_a_plan_from_a_checkpoint(study: Path, tmp_path: Path) -> None:
    train = ["train", "-e", study / "study.yml", "--start-from", study / "runs/baseline/step10"]
    done("mask", "-e", study / "study.yml", "--out", tmp_path / "plan")
    done(
        *train, "--plan", tmp_path / "plan", "--out", tmp_path / "masked", "--checkpoint-steps", "12,20:30:5"
    )
    names = {path.name for path in (tmp_path / "masked").glob("step*")}
    assert names == {"step12", "step20", "step25", "step30"}
    assert differ(tmp_path / "masked" / "step30", study / "runs/baseline/step30")
    done(*train, "--out", tmp_path / "same")
    assert_same_bits(tmp_path / "same" / "step30", study / "runs/baseline/step30")
    assert np.isnan(np.load(tmp_path / "same" / "losses.npy")[:10]).all()


def test_train_stops_and_goes_on_to_the_same_bits(study: Path, tmp_path: Path) -> None:
    train = ["train", "-e", study / "study.yml", "--out", tmp_path / "run"]
    done(*train, "--stop-step", 15)
    assert {path.name for path in (tmp_path / "run").glob("step*")} == {"step0", "step10", "step15"}
    done(*train)
    assert_same_bits(tmp_path / "run" / "step30", study / "runs/baseline/step30")


def test_train_refuses_what_does_not_fit(study: Path, tmp_path: Path) -> None:
    train = ["train", "-e", study / "study.yml", "--out", tmp_path / "run"]
    assert "'train' section" in refused(2, "train", "--out", tmp_path / "run")
    assert "expected 1 .. steps (30)" in refused(1, *train, "--stop-step", 31)
    assert "0,100,200:400:50" in refused(2, *train, "--checkpoint-steps", "5,")
    assert "FROM <= TO" in refused(2, *train, "--checkpoint-steps", "9:3:1")
    assert "outside this run" in refused(1, *train, "--checkpoint-steps", "99")
    assert "no such file" in refused(1, *train, "--plan", tmp_path)
    assert "not a checkpoint" in refused(1, *train, "--start-from", tmp_path)
    assert "rows hold 129 tokens" in refused(1, *train, "--corpus", GOLDEN / "rows.npy")
    assert "--seed: -3 is not allowed" in refused(2, *train, "--seed", -3)
    other = ["train", "-e", study / "study.yml", "--seed", 5]  # into the baseline's folder
    assert "checkpoint of another run" in refused(1, *other)


def test_scan_measures_plots_and_names_the_best_units(study: Path, tmp_path: Path) -> None:
    assert (study / "scan" / "scan.png").stat().st_size > 5000
    out = tmp_path / "scan"
    said = done("scan", "-e", study / "study.yml", "--kind", "induction", "--steps", "10:30", "--out", out)
    assert "2 checkpoints, steps 10 to 20" in " ".join(said.split()) and "previous-token" not in said
    values = np.load(out / "metrics-induction.npy")
    assert values.shape == (2, 2, 2)
    np.testing.assert_array_equal(values, np.load(study / "scan" / "metrics-induction.npy")[1:3])
    checkpoints = ["scan", "--checkpoints", study / "runs" / "baseline", "--out", tmp_path / "s"]
    assert "induction, previous-token" in refused(2, *checkpoints, "--kind", "inductive")
    assert "no checkpoints of steps 1 to 4" in refused(1, *checkpoints, "--steps", "1:5")
    assert "no checkpoints" in refused(1, "scan", "--checkpoints", tmp_path, "--out", tmp_path / "s")
    assert "--checkpoints" in refused(2, "scan", "--out", tmp_path / "s")


def test_doctor_prints_what_there_is() -> None:
    said = done("doctor")
    assert "torch" in said.lower() and "python" in said.lower()


@pytest.mark.parametrize("flags", [["--seeds", 0], ["--seed", -1], ["--drill-fraction", 3]], ids=str)
def test_demo_refuses_numbers_that_make_no_sense(tmp_path: Path, flags: list[Any]) -> None:
    assert flags[0] in refused(2, "demo", "--out", tmp_path / "demo", *flags)
    assert not (tmp_path / "demo").exists()
