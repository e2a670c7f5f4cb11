"""Runs of a real GPT-NeoX checkout on the CPU: data made with its own tool, configs, and processes.

`plain` and patched runs differ in one thing alone: the second goes through ``python -m neox_patches``.
"""

import ast
import json
import os
import socket
import subprocess
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import nursery
import torch
import yaml

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
SEQ, MICRO = 32, 4
TESTED = ("HEAD", "v1.0")
"""The generations that every test of both trains with."""

TINY: dict[str, Any] = {
    "pipe-parallel-size": 0,
    "model-parallel-size": 1,
    "num-layers": 2,
    "hidden-size": 32,
    "num-attention-heads": 4,
    "seq-length": SEQ,
    "max-position-embeddings": SEQ,
    "pos-emb": "rotary",
    "rotary-pct": 0.25,
    "no-weight-tying": True,
    "gpt-j-residual": True,
    "output-layer-parallelism": "column",
    "scaled-upper-triang-masked-softmax-fusion": False,
    "bias-gelu-fusion": False,
    "init_method": "small_init",
    "output_layer_init_method": "wang_init",
    "optimizer": {"type": "Adam", "params": {"lr": 0.003, "betas": [0.9, 0.95], "eps": 1.0e-8}},
    "min_lr": 0.0003,
    "zero_optimization": {"stage": 0},
    "train_micro_batch_size_per_gpu": MICRO,
    "gradient_accumulation_steps": 1,
    "data-impl": "mmap",
    "num_workers": 0,
    "checkpoint-activations": False,
    "partition-activations": False,
    "gradient_clipping": 1.0,
    "weight-decay": 0.1,
    "hidden-dropout": 0,
    "attention-dropout": 0,
    "precision": "fp32",
    "train-iters": 8,
    "lr-decay-iters": 8,
    "lr-decay-style": "cosine",
    "warmup": 0.1,
    "distributed-backend": "gloo",
    "checkpoint-factor": 1000,
    "eval-interval": 1000,
    "eval-iters": 1,
    "log-interval": 1,
    "steps_per_print": 1000,
    "tokenizer-type": "CharLevelTokenizer",
}
"""A two-layer character model; underscores and hyphens as GPT-NeoX's own files mix them."""

PP1_ZERO1 = {
    "pipe-parallel-size": 1,
    "zero_optimization": {"stage": 1},
    "checkpoint-activations": True,
    "checkpoint-num-layers": 1,
}
"""What Pythia-70M and larger were trained with: pipeline engine, ZeRO-1, activation checkpointing."""


@dataclass
class Finished:
    """A run that has ended."""

    returncode: int
    output: str
    folder: Path
    ranks: int = 1

    def rows(self, rank: int = 0) -> np.ndarray:
        """[micro-batches, batch, seq + 1] what the model saw while training."""
        return np.load(self.folder / f"rows-{rank}.npy")

    def grads(self, rank: int = 0) -> dict[str, np.ndarray]:
        """``step/parameter`` -> gradient before the optimizer's step."""
        with np.load(self.folder / f"grads-{rank}.npz") as file:
            return dict(file)


@dataclass
class Trainer:
    """A checkout of one generation with the data made for it."""

    generation: str
    home: Path
    data: Path
    """Prefix of its .bin and .idx."""
    environment: dict[str, str] = field(default_factory=dict)

    def config(self, **changes: Any) -> dict[str, Any]:
        """`TINY` with its data, and changes; keys may be written with underscores for hyphens."""
        config = dict(TINY)
        for split in ("train", "valid", "test"):
            config[f"{split}-data-paths"] = [str(self.data)]
        for key, value in changes.items():
            hyphened = key.replace("_", "-")
            config[key if key in config else hyphened if hyphened in config or "_" not in key else key] = (
                value
            )
        return config

    def run(
        self,
        folder: Path,
        config: Mapping[str, Any],
        study: Mapping[str, Any] | None = None,
        *,
        patched: bool | None = None,
        ranks: int = 1,
        grad_steps: Sequence[int] = (),
        check: bool = True,
        timeout: float = 600,
        environment: Mapping[str, str] | None = None,
    ) -> Finished:
        """Train in ``folder``, which gets config.yml, study.yml, the witness' records and log-{rank}.txt.

        Args:
            study: our settings; without them the run goes through the patches only where ``patched`` says so.
            ranks: processes, each a rank.
        """
        folder.mkdir(parents=True, exist_ok=True)
        processes = self.start(
            folder,
            config,
            study,
            patched=patched,
            ranks=ranks,
            grad_steps=grad_steps,
            environment=environment,
        )
        codes = []
        for process in processes:
            try:
                codes.append(process.wait(timeout))
            except subprocess.TimeoutExpired:
                for other in processes:
                    other.kill()
                codes.append(-9)
            if codes[-1] != 0:  # peers that do not stop by themselves would wait for it forever
                for other in processes:
                    try:
                        other.wait(5)
                    except subprocess.TimeoutExpired:
                        other.terminate()
        output = "\n".join((folder / f"log-{rank}.txt").read_text(errors="replace") for rank in range(ranks))
        code = next((code for code in codes if code), 0)
        if check and code:
            raise AssertionError(
                f"{self.generation}: the run in {folder} ended with {code}:\n{output[-5000:]}"
            )
        return Finished(code, output, folder, ranks)

    def start(
        self,
        folder: Path,
        config: Mapping[str, Any],
        study: Mapping[str, Any] | None = None,
        *,
        patched: bool | None = None,
        ranks: int = 1,
        grad_steps: Sequence[int] = (),
        environment: Mapping[str, str] | None = None,
    ) -> list[nursery.Child]:
        """Start the processes of `run`, one per rank."""
        folder.mkdir(parents=True, exist_ok=True)
        if ranks > 1:
            config = {**config, "global_num_gpus": ranks, "num_gpus": ranks}
        (folder / "config.yml").write_text(yaml.safe_dump(dict(config)))
        script = [str(HERE / "train_direct.py"), str(folder / "config.yml")]
        if study is not None or patched:
            command = ["-m", "neox_patches"]
            if study is not None:
                (folder / "study.yml").write_text(yaml.safe_dump(dict(study)))
                command += ["--patch", str(folder / "study.yml")]
        else:
            command = [str(HERE / "plain.py"), str(self.home)]
        witness = {"NEOX_WITNESS": str(folder), "NEOX_WITNESS_STEPS": ",".join(map(str, grad_steps))}
        return start_ranks(
            self.home, [*command, *script], folder / "log", ranks, witness | {**(environment or {})}
        )


def start_ranks(
    home: Path, words: Sequence[str | Path], log: Path, ranks: int, environment: Mapping[str, str]
) -> list[nursery.Child]:
    """``python WORDS`` once per rank, as a launcher would start them; each logs to ``LOG-{rank}.txt``."""
    port = free_port()
    return [
        nursery.start(
            words,
            home,
            {**rank_environment(home, rank, ranks, port), **environment},
            log.with_name(f"{log.name}-{rank}.txt"),
        )
        for rank in range(ranks)
    ]


def cpu_environment(home: Path) -> dict[str, str]:
    """Environment in which a checkout runs on this machine's CPU, one thread, this Python's tools on the PATH."""
    variables = {key: value for key, value in os.environ.items() if not key.startswith(("NEOX_", "MDA_"))}
    return variables | {
        "PATH": f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": f"{HERE / 'cpu'}{os.pathsep}{ROOT}",
        "NEOX_HOME": str(home),
        "OMP_NUM_THREADS": "1",
        "DS_ACCELERATOR": "cpu",
        "CUDA_VISIBLE_DEVICES": "",
        "NO_COLOR": "1",
    }


def rank_environment(home: Path, rank: int = 0, ranks: int = 1, port: int | None = None) -> dict[str, str]:
    """`cpu_environment` of one rank of a run, as a launcher would set it."""
    return cpu_environment(home) | {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(ranks),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port or free_port()),
    }


def free_port() -> int:
    """A TCP port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def library_texts() -> list[str]:
    """Documents of the standard library: docstrings of its modules, 150 to 900 characters."""
    texts = []
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        doc = ast.get_docstring(ast.parse(path.read_text(errors="replace")))
        if doc and doc.isascii():
            texts += [doc[start : start + 900] for start in range(0, len(doc), 900)]
    return [text for text in texts if len(text) >= 150]


def preprocess(home: Path, out: Path, texts: Sequence[str]) -> Path:
    """Write ``out``_text_document.bin/.idx with the checkout's own preprocessing tool; returns that prefix."""
    source = out.with_suffix(".jsonl")
    source.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    tool = next(
        path
        for path in (home / "tools/datasets/preprocess_data.py", home / "tools/preprocess_data.py")
        if path.is_file()
    )
    words = [
        "--input",
        source,
        "--output-prefix",
        out,
        "--tokenizer-type",
        "CharLevelTokenizer",
        "--vocab-file",
        "none",
    ]
    script(home, [tool, *words, "--dataset-impl", "mmap", "--append-eod"], source.with_suffix(".log"))
    return out.with_name(f"{out.name}_text_document")


def script(home: Path, words: Sequence[str | Path], log: Path) -> str:
    """Run a script and its arguments, as the only rank, with a checkout and none of our patches; what it printed."""
    process = nursery.start([HERE / "plain.py", home, *words], home, rank_environment(home), log)
    code = process.wait(600)
    printed = log.read_text()
    assert code == 0, f"{words[0]} ended with {code}:\n{printed[-5000:]}"
    return printed


def checkpoint_files(save: Path, step: int) -> dict[str, Any]:
    """File name -> content of the checkpoint after ``step`` updates (trusted: this machine wrote it)."""
    folder = save / f"global_step{step}"
    return {
        str(path.relative_to(folder)): torch.load(path, weights_only=False, map_location="cpu")
        for path in sorted(folder.rglob("*.pt"))
    }


def assert_same_checkpoint(a: Path, b: Path, step: int) -> None:
    """Weights and optimizer states are equal to the bit (random states are not: starting a loader draws from them)."""
    left, right = checkpoint_files(a, step), checkpoint_files(b, step)
    assert left and left.keys() == right.keys()
    tensors = 0
    for name in left:
        flat_left, flat_right = (
            {key: tensor for key, tensor in tensors_in(side[name]) if "rng_" not in key}
            for side in (left, right)
        )
        assert flat_left.keys() == flat_right.keys()
        for key, tensor in flat_left.items():
            assert torch.equal(tensor, flat_right[key]), f"{name}: {key} differs"
            tensors += 1
    assert tensors > 10


def tensors_in(value: Any, place: str = "") -> Any:
    """(place, tensor) of every tensor in a checkpoint's file."""
    if isinstance(value, torch.Tensor):
        yield place, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from tensors_in(inner, f"{place}/{key}")
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            yield from tensors_in(inner, f"{place}/{number}")
