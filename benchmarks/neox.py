"""What the patches cost in the official trainer: whole iterations with and without them.

Trains configs/neox/tiny.yml (two layers, characters) in a GPT-NeoX checkout on the CPU, one process a run. In every
round each variant runs once, in turn, and is compared with the plain trainer of the same round. An emission runs at
every other step, so that its steps are also compared with the quiet ones between them, in the same process, which the
moods of the machine hit alike. The table has medians over rounds, and their range. Data are made with the checkout's
own tool.

    python benchmarks/neox.py                         every checkout that is found
    python benchmarks/neox.py --generation HEAD --rounds 7 --steps 300
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "neox_patches" / "trainer")]

from neox_runs import preprocess, rank_environment  # noqa: E402

from curator.corpus import open_corpus  # noqa: E402
from curator.neox.checkout import Checkout, find_checkouts  # noqa: E402
from curator.plan.plan import Plan  # noqa: E402

HEADS_OF_LAYER = "induction:1.*"


@dataclass
class Run:
    """What one process measured: seconds per iteration [steps], and its peak memory in MiB."""

    iterations: np.ndarray
    peak_mib: float


class Bench:
    """One checkout with its data, plan and queries, in a scratch folder."""

    def __init__(self, checkout: Checkout, folder: Path, steps: int):
        self.checkout, self.folder, self.steps = checkout, folder, steps
        texts = [
            path.read_text(errors="replace")[:60000] for path in sorted((ROOT / "curator").rglob("*.py"))
        ]
        self.data = preprocess(checkout.home, folder / "text", [text for text in texts if text.isascii()])
        self.config = yaml.safe_load((ROOT / "configs" / "neox" / "tiny.yml").read_text())
        self.config |= {f"{split}_data_paths": [str(self.data)] for split in ("train", "valid", "test")}
        self.config |= {"train_iters": steps, "lr_decay_iters": steps, "log_interval": 100, "eval_iters": 1}
        self.batch = int(self.config["train_micro_batch_size_per_gpu"])

    def prepare(self) -> None:
        """Queries of all heads at an early checkpoint, and a plan that masks a tenth and inserts a step in ten."""
        save = self.folder / "save"
        self.run(
            "prepare",
            None,
            {"train_iters": self.steps, "exit_interval": 2, "save": str(save)},
            keep_all=False,
        )
        (self.corpus,) = self.data.parent.glob("*train_0*_shuffle_idx.npy")
        corpus = open_corpus(self.corpus)
        self._queries("one", "induction:1.0", save / "global_step2")
        self._queries("layer", HEADS_OF_LAYER, save / "global_step2")
        draw = np.random.default_rng(0)
        n_slots = self.steps * self.batch
        kept_steps = self.steps - self.steps // 10
        plan = Plan.identity(kept_steps * self.batch, self.batch, corpus.fingerprint())
        plan = plan.mask(np.sort(draw.choice(kept_steps * self.batch, n_slots // 10, replace=False)))
        at = np.linspace(1, kept_steps - 1, self.steps // 10).astype(int)
        plan.insert(at, draw.integers(0, kept_steps * self.batch, len(at) * self.batch)).save(
            self.folder / "plan"
        )

    def _queries(self, name: str, unit: str, model: Path) -> None:
        words = [
            "rank",
            "--model",
            model,
            "--corpus",
            self.corpus,
            "--unit",
            unit,
            "--out",
            self.folder / name,
        ]
        options = ["--queries-only", "--samples", "0:64", "--probe-sequences", "10"]
        command = [sys.executable, "-m", "curator.cli", *words, *options]
        subprocess.run(list(map(str, command)), check=True, capture_output=True, cwd=ROOT)

    def study(self, variant: str) -> dict[str, Any] | None:
        """The patch file of a variant; emissions take the even steps."""
        if variant == "plain":
            return None
        if variant == "plan":
            return {"corpus": str(self.corpus), "plan": str(self.folder / "plan")}
        out = self.folder / f"emitted-{variant}"
        subprocess.run(["rm", "-rf", str(out)], check=True)
        emit: dict[str, Any] = {"out": str(out), "steps": [{"from": 0, "to": self.steps - 1, "every": 2}]}
        if variant.startswith("scores"):
            emit["scores"] = [str(self.folder / variant.removeprefix("scores-"))]
        else:
            emit["units"] = ["induction:1.0"]
            emit[variant] = {"compress": "projection", "rank": 16} if variant == "gradients" else {}
        return {"corpus": str(self.corpus), "emit": emit}

    def run(
        self,
        name: str,
        study: dict[str, Any] | None,
        changes: dict[str, Any] | None = None,
        keep_all: bool = True,
    ) -> Run:
        """One process."""
        config, out = self.folder / f"{name}.yml", self.folder / f"{name}.npz"
        config.write_text(yaml.safe_dump({**self.config, **(changes or {})}))
        script = [str(ROOT / "benchmarks" / "neox_train.py"), str(config), str(out)]
        if study is None:
            command = [
                sys.executable,
                str(ROOT / "tests" / "neox_patches" / "trainer" / "plain.py"),
                str(self.checkout.home),
                *script,
            ]
        else:
            patch = self.folder / f"{name}-patch.yml"
            patch.write_text(json.dumps(study))
            command = [sys.executable, "-m", "neox_patches", "--patch", str(patch), *script]
        environment = rank_environment(self.checkout.home)
        done = subprocess.run(
            command, env=environment, cwd=self.checkout.home, capture_output=True, text=True, check=False
        )
        if not keep_all:
            return Run(np.zeros(0), 0.0)
        if done.returncode:
            raise SystemExit(f"{name} failed:\n{(done.stdout + done.stderr)[-4000:]}")
        with np.load(out) as file:
            return Run(np.diff(file["starts"])[20:], float(file["peak_mib"]))


VARIANTS = ("plain", "plan", "scores-one", "scores-layer", "gradients", "factors")


def measure(run: Callable[[str], Run], rounds: int) -> dict[str, list[Run]]:
    """Every variant once a round, in turn, the order reversed every other round."""
    runs: dict[str, list[Run]] = {name: [] for name in VARIANTS}
    for number in range(rounds):
        for name in VARIANTS if number % 2 == 0 else reversed(VARIANTS):
            runs[name].append(run(name))
            print(".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return runs


def median_of(run: Run, emits: bool) -> float:
    """Seconds of an iteration: of the even ones, where an emission runs, or of all."""
    return float(np.median(run.iterations[::2] if emits else run.iterations))


def table(runs: dict[str, list[Run]]) -> str:
    """Rows of the report: iteration time, ratios against plain and against quiet steps, peak memory."""
    head = ("variant", "ms", "x plain run", "range", "x quiet step", "range", "peak MiB")
    lines = ["{:<14}{:>8}{:>13}{:>16}{:>14}{:>16}{:>10}".format(*head)]
    plain = [median_of(run, False) for run in runs["plain"]]
    for name, found in runs.items():
        emits = name not in ("plain", "plan")
        medians = [median_of(run, emits) for run in found]
        cells = [name, f"{1000 * statistics.median(medians):.2f}"]
        cells += _ratio([a / b for a, b in zip(medians, plain, strict=True)])
        quiet = [a / float(np.median(run.iterations[1::2])) for a, run in zip(medians, found, strict=True)]
        cells += _ratio(quiet) if emits else ["", ""]
        cells.append(f"{statistics.median(run.peak_mib for run in found):.0f}")
        lines.append("{:<14}{:>8}{:>13}{:>16}{:>14}{:>16}{:>10}".format(*cells))
    return "\n".join(lines)


def _ratio(values: list[float]) -> list[str]:
    return [f"{statistics.median(values):.3f}", f"{min(values):.3f} - {max(values):.3f}"]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--generation", help="HEAD, v1.0 or 2.x; every one that is found by default")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--steps", type=int, default=300, help="iterations a run; the first 20 are not counted"
    )
    arguments = parser.parse_args()
    found = [c for c in find_checkouts() if arguments.generation in (None, c.generation)]
    if not found:
        raise SystemExit("no GPT-NeoX checkout found; curator doctor says where they are looked for")
    print(f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}, 1 thread, tiny.yml")
    for checkout in found:
        with tempfile.TemporaryDirectory() as folder:
            bench = Bench(checkout, Path(folder), arguments.steps)
            bench.prepare()
            runs = measure(lambda name, bench=bench: bench.run(name, bench.study(name)), arguments.rounds)  # type: ignore[misc]
            print(f"\n{checkout.generation}\n{table(runs)}")


if __name__ == "__main__":
    main()
