"""The command line as tests start it: what a command printed, and which code it ended with."""

import contextlib
import io
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine_parts import GOLDEN

from curator.cli.app import main

STUDY = """
corpus: corpus
checkpoints: runs/baseline
model: runs/baseline/step20
batch_size: 16
units: ["induction:1.0", "previous-token:0.1"]
window: [10, 30]
probe: {name: paper, sequences: 10, min_length: 4, max_length: 8}
scan: {out: scan}
rank: {out: ranking, factor_samples: 64}
mask: {out: plan-top, ranking: [ranking], units: ["induction:1.0"], percent: 10, steps: [10, 30]}
train:
  out: runs/baseline
  n_layers: 2
  d_model: 16
  n_heads: 2
  d_mlp: 32
  vocab_size: 300
  seq_length: 16
  rotary_pct: 0.5
  steps: 30
  batch_size: 16
  learning_rate: 1e-2
  warmup_steps: 5
  checkpoint_steps: [{from: 0, to: 30, every: 10}]
"""


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str


def run(*words: Any, main: Callable[[], None] = main) -> Result:
    """`curator WORDS` in this process, or the words of another command line's ``main``."""
    out, err = io.StringIO(), io.StringIO()
    before, sys.argv = sys.argv, [main.__module__.partition(".")[0], *map(str, words)]
    code = 0
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
    except SystemExit as stop:
        code = int(stop.code or 0)
    finally:
        sys.argv = before
    return Result(code, out.getvalue(), err.getvalue())


def done(*words: Any, main: Callable[[], None] = main) -> str:
    result = run(*words, main=main)
    assert result.code == 0, result.err
    return result.out


def refused(code: int, *words: Any, main: Callable[[], None] = main) -> str:
    """The message of a command that must end with ``code``; one line of stderr, without box drawing."""
    result = run(*words, main=main)
    assert result.code == code, (result.code, result.out, result.err)
    assert "Traceback" not in result.err
    return " ".join(result.err.replace("│", " ").split())


def instead(words: Iterable[Any], more: Iterable[Any]) -> list[Any]:
    """The words, with the flags of ``more`` in place of their own."""
    kept = list(words)
    for flag in more:
        if str(flag).startswith("--") and flag in kept:
            del kept[kept.index(flag) : kept.index(flag) + 2]
    return [*kept, *more]


def process(*words: Any, **kwargs: Any) -> "subprocess.Popen[str]":
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-m", "curator.cli", *map(str, words)], **pipes, **kwargs)


def rank_golden(out: Path, *more: Any) -> list[Any]:
    where = ["rank", "--model", GOLDEN / "model", "--corpus", GOLDEN / "rows.npy", "--out", out]
    return [
        *where,
        "--probe",
        "paper",
        "--probe-sequences",
        4,
        "--factor-samples",
        8,
        "--samples",
        "0:8",
        *more,
    ]
