"""The benchmark runs; its numbers are looked at by people (benchmarks/README.md), never asserted."""

import subprocess
import sys

from neox_runs import ROOT, Trainer


def test_every_variant_is_timed(head: Trainer) -> None:
    words = ["--generation", "HEAD", "--rounds", "1", "--steps", "30"]
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "neox.py", *words], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    rows = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines() if " - " in line}
    assert list(rows) == ["plain", "plan", "scores-one", "scores-layer", "gradients", "factors"]
    assert rows["plain"][1] == "1.000" and all(float(cells[0]) > 0 for cells in rows.values())
