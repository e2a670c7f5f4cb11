"""The benchmarks run; their numbers are looked at by people (benchmarks/README.md), never asserted."""

import importlib.util
import subprocess
import sys
from pathlib import Path

from engine_parts import GOLDEN, ROOT

SCRIPT = ROOT / "benchmarks" / "run.py"
spec = importlib.util.spec_from_file_location("benchmark_run", SCRIPT)
assert spec is not None and spec.loader is not None
bench = importlib.util.module_from_spec(spec)
sys.modules["benchmark_run"] = bench
spec.loader.exec_module(bench)

TINY = bench.Shape(vocab_size=64, d_model=16, n_layers=3, n_heads=2, seq=16, batch=2, repeats=2)


def test_every_pass_is_timed_in_every_round() -> None:
    seconds = bench.measure(TINY, "cpu")
    assert list(seconds) == list(bench.PASSES)
    assert all(len(values) == TINY.repeats and min(values) > 0 for values in seconds.values())


def test_peak_memory_sees_the_logits_of_the_plain_pass() -> None:
    shape = bench.Shape(vocab_size=30000, d_model=16, n_layers=1, n_heads=2, seq=512, batch=2, repeats=1)
    logits = shape.vocab_size * shape.seq * shape.batch * 4 / 2**20  # MiB
    assert bench.peak_memory(shape, "plain", "cpu") > 2 * logits  # and their gradient
    assert bench.peak_memory(shape, "one_head", "cpu") < logits


def test_the_rendering_benchmark_runs() -> None:
    script, tokenizer = SCRIPT.with_name("render.py"), GOLDEN / "model" / "tokenizer.json"
    words = ["--tokenizer", str(tokenizer), "--rows", "40", "--seq-length", "64", "--workers", "1"]
    done = subprocess.run([sys.executable, str(script), *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "whole run: 40 rows of 65 tokens" in done.stdout and "0 duplicates" in done.stdout


def test_the_benchmark_of_fidelity_runs(tmp_path: Path) -> None:
    tokenizer = ["--tokenizer", str(GOLDEN / "model" / "tokenizer.json")]
    words = ["--out", str(tmp_path), "--rows", "64", "--width", "65", "--seeds", "0", *tokenizer]
    script = SCRIPT.with_name("fidelity.py")
    done = subprocess.run([sys.executable, str(script), *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "0 searches given up" in done.stdout and "| tokens in repeated 4-grams | 0." in done.stdout


def test_the_benchmark_of_statistics_runs() -> None:
    words = ["--million", "0.02", "--vocabulary", "300", "--widths", "65", "--rounds", "1"]
    script = SCRIPT.with_name("sample_statistics.py")
    done = subprocess.run([sys.executable, str(script), *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    passes = [line.split()[0] for line in done.stdout.splitlines()[-9:]]
    assert passes == [
        "plain",
        "copyable",
        "compression",
        "length",
        "command",
        "codec",
        "deflate",
        "lzma",
        "bzip2",
    ]


def test_the_benchmark_of_curves_runs() -> None:
    words = ["--shape", "study", "--rounds", "1"]
    done = subprocess.run(
        [sys.executable, str(SCRIPT.with_name("curves.py")), *words], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "ablation, all heads" in done.stdout and "loss and icl" in done.stdout
