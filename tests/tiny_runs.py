"""A tiny training config, a corpus that is an array, and the comparison of checkpoints bit by bit."""

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from curator.plan.plan import Plan
from curator.training import TrainingConfig

CONFIG = TrainingConfig(
    n_layers=2,
    d_model=16,
    n_heads=2,
    d_mlp=32,
    vocab_size=24,
    seq_length=8,
    steps=12,
    batch_size=4,
    learning_rate=1e-2,
    warmup_steps=3,
)
LONG = CONFIG.changed(steps=300)
SLOTS = CONFIG.steps * CONFIG.batch_size


class RowsInMemory:
    """A corpus that is an array."""

    def __init__(self, rows: np.ndarray, vocab_size: int | None = None):
        self.array = rows
        self.path = Path("rows-in-memory")
        self.row_width = rows.shape[1]
        self.dtype = rows.dtype
        self.vocab_size = vocab_size

    def __len__(self) -> int:
        return len(self.array)

    def rows(self, index: slice | np.ndarray) -> np.ndarray:
        return self.array[index]

    def check_index(self) -> None:
        """An array has none."""

    def fingerprint(self) -> str:
        return f"rows-{int(self.array.astype(np.int64).dot(np.arange(1, self.row_width + 1)).sum())}"


def random_rows(n: int = SLOTS, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 24, (n, 9)).astype(np.uint16)


def make_corpus(n: int = SLOTS, seed: int = 0) -> RowsInMemory:
    return RowsInMemory(random_rows(n, seed))


def plan_for(corpus: RowsInMemory, divisor: str = "kept", config: TrainingConfig = CONFIG) -> Plan:
    n_slots = config.steps * config.batch_size
    return Plan.identity(n_slots, config.batch_size, corpus.fingerprint(), divisor)


def contents(folder: Path) -> dict[str, torch.Tensor]:
    """Every weight and moment of a checkpoint."""
    return {**load_file(folder / "model.safetensors"), **load_file(folder / "optimizer.safetensors")}


def assert_same_bits(one: Path, other: Path) -> None:
    first, second = contents(one), contents(other)
    assert first.keys() == second.keys() and len(first) > 30
    for name in first:
        assert torch.equal(first[name], second[name]), name


def differ(one: Path, other: Path) -> bool:
    first, second = contents(one), contents(other)
    return any(not torch.equal(first[name], second[name]) for name in first)
