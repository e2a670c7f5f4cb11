"""A ranking of the golden rows' beginnings, in this process or in one that is killed or stopped at a file's appearance.

Rows of 33 tokens in place of 129: what is shown with them are laws of files, layouts and processes, and many rankings
are made; the numbers of whole rows stand in ``test_engine_golden.py``.
"""

import copy
import os
import sys
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
from engine_parts import GOLDEN, golden_model
from forked import PROCESSES, die, finish

from curator.artifacts.conditions import laid_over
from curator.artifacts.fields import Probe
from curator.artifacts.files import load_json
from curator.influence import fit
from curator.ranking.run import rank
from curator.ranking.settings import RankSettings

CORPUS = GOLDEN / "short-rows.npy"
UNITS = ("induction:1.2", "previous-token:0.0")


N_SAMPLES = 37  # divisible by no batch, shard or number of workers used here


def settings_of(given: dict[str, Any]) -> RankSettings:
    """``probe_ids`` and ``probe_tokens`` are fields of the probe, which is the paper's where it is not said."""
    ours: dict[str, Any] = {
        name: given[f"probe_{name}"] for name in ("ids", "tokens") if f"probe_{name}" in given
    }
    rest = {name: value for name, value in given.items() if not name.startswith("probe_")}
    if ours or "probe" in rest:
        probe = given.get("probe", Probe())
        rest["probe"] = probe.changed(name=probe.name or "paper", **ours)
    return RankSettings(**rest)


def request(**changes: Any) -> RankSettings:
    """37 samples in 5 shards of up to 8, float64."""
    given: dict[str, Any] = {
        "model": str(GOLDEN / "model"),
        "corpus": CORPUS,
        "units": UNITS,
        "samples": (3, 3 + N_SAMPLES),
        "probe": Probe(sequences=6),
        "factor_samples": 18,
        "dtype": "float64",
        "micro_batch": 4,
        "shard_size": 8,
    }
    return settings_of(laid_over(RankSettings, given, changes))


def small_request(**changes: Any) -> RankSettings:
    """8 golden samples, one unit; a fraction of a second."""
    given: dict[str, Any] = {
        "model": str(GOLDEN / "model"),
        "corpus": GOLDEN / "rows.npy",
        "units": ("induction:1.2",),
        "samples": (0, 8),
        "probe": Probe(sequences=6),
        "micro_batch": 4,
    }
    return settings_of(laid_over(RankSettings, given, changes))


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def results(folder: Path) -> dict[str, bytes]:
    """Every array that a ranking holds, to the bit: scores, blocks, losses, queries and factors."""
    return {name: content for name, content in files(folder).items() if name.endswith(".npy")}


def _rank_in_child(
    asked: RankSettings, out: Path, worker: tuple[int, int], die_at: tuple[str, str] | None
) -> None:
    """Runs in another process. ``die_at``: (part of a path, moment): SIGKILL before or after that file's appearance,
    or "stop", SIGSTOP after it."""
    fit._SAVE_EVERY_SECONDS = 0
    if die_at is not None:
        place, moment = die_at

        def hits(target: Path) -> bool:
            return target.is_relative_to(out) and place in str(target.relative_to(out))

        die(hits, moment)
    with open(os.devnull, "w") as sys.stderr:
        rank(asked, out, worker=worker)


def start(
    asked: RankSettings, out: Path, worker: tuple[int, int] = (0, 1), die_at: tuple[str, str] | None = None
) -> BaseProcess:
    process = PROCESSES.Process(target=_rank_in_child, args=(asked, out, worker, die_at), daemon=True)
    process.start()
    return process


def run_until_complete(asked: RankSettings, out: Path) -> None:
    assert finish(start(asked, out)) == 0
    assert load_json(out / "manifest.json")["status"] == "complete"


def save_changed_model(folder: Path, parameter: str, value: float) -> None:
    """The golden model with one entry of one weight set to ``value``."""
    model = copy.deepcopy(golden_model())
    with torch.no_grad():
        model.get_parameter(parameter)[5, 5] = value
    model.save_pretrained(folder)
