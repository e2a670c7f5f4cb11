"""Speed and memory of the engine as ratios against a plain pass on the same rows, in one run.

The plain pass is what anybody would write: a Hugging Face forward pass with logits, cross-entropy, and a full
backward pass over all parameters. All passes are interleaved and medians are compared, so that a machine that
slows down slows all of them. Peak memory is taken in a fresh process per pass.

    python benchmarks/run.py                 both shapes
    python benchmarks/run.py --device cuda   on a GPU, with larger batches, and Pythia-160M's shape
"""

import argparse
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

from curator.influence.factors import Covariances, Eigenvalues, eigenbases
from curator.influence.scorer import Scorer
from curator.influence.taps import Taps
from curator.units import Block, parse_units


@dataclass(frozen=True)
class Shape:
    """A model shape with random weights, rows of ``seq + 1`` tokens, and how often each pass is timed."""

    vocab_size: int
    d_model: int
    n_layers: int
    n_heads: int
    seq: int
    batch: int
    repeats: int


SHAPES = {
    "pythia-14m": Shape(50304, 128, 6, 4, 2048, 1, 9),
    "small": Shape(512, 64, 3, 4, 128, 32, 61),
}
GPU_SHAPES = {
    "pythia-160m": Shape(50304, 768, 12, 12, 2048, 8, 11),
    "pythia-14m": replace(SHAPES["pythia-14m"], batch=16, repeats=21),
    "small": replace(SHAPES["small"], batch=512),
}


class Bench:
    """One model and batch; each method prepares a pass and returns it."""

    def __init__(self, shape: Shape, device: str):
        torch.manual_seed(0)
        config = GPTNeoXConfig(
            vocab_size=shape.vocab_size,
            hidden_size=shape.d_model,
            num_hidden_layers=shape.n_layers,
            num_attention_heads=shape.n_heads,
            intermediate_size=4 * shape.d_model,
            max_position_embeddings=shape.seq,
        )
        self.shape = shape
        self.model = GPTNeoXForCausalLM(config).eval().to(device)
        self.weight = self.model.get_output_embeddings().weight
        size = (shape.batch, shape.seq)
        self.rows = torch.randint(0, shape.vocab_size, (shape.batch, shape.seq + 1), device=device)
        self.uniforms = torch.rand(size, dtype=torch.float64, device=device)

    def plain(self) -> Callable[[], None]:
        def run() -> None:
            self.model.requires_grad_(True)
            self.model.zero_grad(set_to_none=True)
            logits = self.model(input_ids=self.rows[:, :-1], use_cache=False).logits
            labels = self.rows[:, 1:].flatten()
            torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels, reduction="sum").backward()

        return run

    def one_head(self) -> Callable[[], None]:
        return self._score(f"induction:{self.shape.n_layers // 2}.1")

    def all_heads(self) -> Callable[[], None]:
        return self._score("induction:*")

    def covariances(self) -> Callable[[], None]:
        taps, blocks = self._taps("induction:*")
        sums = Covariances(blocks)
        return lambda: sums.add(taps.run(self._frozen(), uniforms=self.uniforms))

    def eigenvalues(self) -> Callable[[], None]:
        taps, blocks = self._taps("induction:*")
        covariances = Covariances(blocks)
        covariances.add(taps.run(self._frozen()))
        sums = Eigenvalues(blocks, eigenbases(covariances.means()), self.weight)
        return lambda: sums.add(taps.run(self._frozen(), uniforms=self.uniforms))

    def _score(self, spec: str) -> Callable[[], None]:
        taps, blocks = self._taps(spec)
        scorer = Scorer(blocks, [torch.randn(block.shape).double() for block in blocks], self.weight)

        def run() -> None:
            scorer(taps.run(self._frozen()))

        return run

    def _taps(self, spec: str) -> tuple[Taps, list[Block]]:
        blocks = [block for unit in parse_units([spec], self.model) for block in unit.subspace(self.model)]
        return Taps.of_blocks(self.model, blocks), blocks

    def _frozen(self) -> torch.Tensor:
        """The rows, with the model as `load_model` leaves it."""
        if self.weight.requires_grad:
            self.model.zero_grad(set_to_none=True)
            self.model.requires_grad_(False)
        return self.rows


PASSES = ("plain", "one_head", "all_heads", "covariances", "eigenvalues")


def measure(shape: Shape, device: str) -> dict[str, list[float]]:
    """Seconds of each pass, interleaved; two rounds of warming up are thrown away."""
    bench = Bench(shape, device)
    runs = {name: getattr(bench, name)() for name in PASSES}
    seconds: dict[str, list[float]] = {name: [] for name in PASSES}
    for round_number in range(shape.repeats + 2):
        for name, run in runs.items():
            started = time.perf_counter()
            run()
            if device.startswith("cuda"):
                torch.cuda.synchronize()
            if round_number > 1:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def peak_memory(shape: Shape, name: str, device: str) -> float:
    """MiB that a pass takes at its peak above what the process held before; called in a fresh process."""
    getattr(Bench(replace(shape, batch=1, seq=8), device), name)()()  # libraries and kernels are loaded
    run = getattr(Bench(shape, device), name)()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        torch.cuda.synchronize()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    # Linux: writing 5 sets the high-water mark back to what is resident now (ru_maxrss cannot be set back,
    # and starts from the parent's).
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    run()
    return (_status("VmHWM") - before) / 2**10


def _status(field: str) -> int:
    """A size in KiB from the kernel's account of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f"{field}:")).split()[1])


def report(name: str, shape: Shape, device: str) -> None:
    """Print the table of one shape."""
    seconds = measure(shape, device)
    median = {key: statistics.median(values) for key, values in seconds.items()}
    # of the per-round ratios, which a slow moment of the machine hits on both sides
    ratios = {
        key: statistics.median(a / b for a, b in zip(seconds["plain"], seconds[key], strict=True))
        for key in PASSES
    }
    memory = {
        key: float(
            subprocess.run(
                [sys.executable, __file__, "--memory", key, "--shape", name, "--device", device],
                check=True,
                capture_output=True,
                text=True,
            ).stdout
        )
        for key in PASSES
    }
    print(f"\n{name}: {shape}")
    print(f"{'pass':<14}{'samples/s':>12}{'x plain rate':>14}{'plain passes':>14}{'peak MiB':>12}")
    for key in PASSES:
        rate = shape.batch / median[key]
        print(f"{key:<14}{rate:>12.2f}{ratios[key]:>14.2f}{1 / ratios[key]:>14.2f}{memory[key]:>12.0f}")
    relative = statistics.median(
        a / b for a, b in zip(seconds["one_head"], seconds["all_heads"], strict=True)
    )
    print(f"all heads at {relative:.2f} of the one-head rate")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", choices=[*GPU_SHAPES, "all"], default="all")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, help="timed rounds")
    parser.add_argument("--threads", type=int, help="CPU threads of torch")
    parser.add_argument("--memory", choices=PASSES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    shapes = GPU_SHAPES if arguments.device.startswith("cuda") else SHAPES
    if arguments.shape not in (*shapes, "all"):
        parser.error(f"--shape {arguments.shape} is for --device cuda")
    for name, shape in shapes.items():
        if arguments.shape not in (name, "all"):
            continue
        if arguments.repeats:
            shape = replace(shape, repeats=arguments.repeats)
        if arguments.memory:
            print(peak_memory(shape, arguments.memory, arguments.device))
            continue
        if name == arguments.shape or name == next(iter(shapes)):
            gpu = f"{torch.cuda.get_device_name(arguments.device)}, " if shapes is GPU_SHAPES else ""
            print(
                f"{platform.machine()}, {gpu}torch {torch.__version__}, {torch.get_num_threads()} threads, "
                f"{arguments.device}"
            )
        report(name, shape, arguments.device)


if __name__ == "__main__":
    main()
