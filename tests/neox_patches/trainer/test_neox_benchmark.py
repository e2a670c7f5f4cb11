"""The benchmark runs; its numbers are looked at by people (benchmarks/README.md), never asserted.

Its command lines are followed as they are, in processes of `nursery`, and curator's in this one.
"""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import commands
import nursery
import pytest
from neox_runs import ROOT, Trainer


def test_every_variant_is_timed(
    head: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = importlib.util.spec_from_file_location("benchmark_neox", ROOT / "benchmarks" / "neox.py")
    assert spec is not None and spec.loader is not None
    benchmark = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, benchmark)
    monkeypatch.setattr(sys, "path", [*sys.path])
    spec.loader.exec_module(benchmark)
    log = tmp_path / "log.txt"

    def forked(command: list[str], *, cwd: Path | None = None, env: Any = None, **rest: Any) -> Any:
        if command[0] != sys.executable:
            return subprocess.run(command, check=True)
        words = command[1:]
        if words[:2] == ["-m", "curator.cli"]:
            return commands.done(*words[2:])
        assert cwd is not None
        code = nursery.start(words, cwd, env, log).wait(300)
        return subprocess.CompletedProcess(command, code, log.read_text(), "")

    monkeypatch.setattr(benchmark, "subprocess", SimpleNamespace(run=forked))
    monkeypatch.setattr(sys, "argv", ["neox.py", "--generation", "HEAD", "--rounds", "1", "--steps", "30"])
    benchmark.main()
    shown = capsys.readouterr().out
    rows = {line.split()[0]: line.split()[1:] for line in shown.splitlines() if " - " in line}
    assert list(rows) == ["plain", "plan", "scores-one", "scores-layer", "gradients", "factors"]
    assert rows["plain"][1] == "1.000" and all(float(cells[0]) > 0 for cells in rows.values())
