"""Models, rows and a short way through the engine that several tests share.

`fit_and_score` strings the engine's parts together with labels given from outside, without files: what an
oracle can be compared with. Golden models are cached, so a test that changes weights must copy first.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, PreTrainedModel

from curator.influence.curvature import Curvature, Damping
from curator.influence.factors import Covariances, Eigenvalues, Side, eigenbases
from curator.influence.fit import distinct
from curator.influence.preconditioners import PRECONDITIONERS, Known, Preconditioner
from curator.influence.probe_gradient import probe_gradient
from curator.influence.scorer import Scorer
from curator.influence.taps import Taps
from curator.models import load_model
from curator.models.moments import Moment
from curator.units import (
    Block,
    Sequences,
    Unit,
)

ROOT = Path(__file__).parents[1]


GOLDEN = ROOT / "tests" / "golden"


@cache
def golden_model(dtype: torch.dtype = torch.float32, attention: str = "sdpa") -> GPTNeoXForCausalLM:
    """The briefly trained 3-layer model; shared, do not change it."""
    model = load_model(GOLDEN / "model", dtype)
    model.set_attn_implementation(attention)
    return model


@cache
def golden_rows() -> Tensor:
    """[256, 129] int64 training rows."""
    return torch.from_numpy(np.load(GOLDEN / "rows.npy").astype(np.int64))


def random_model(
    parallel: bool = True, vocab_size: int = 61, attention: str = "eager", seed: int = 0
) -> GPTNeoXForCausalLM:
    """3 layers of 3 heads of 8, float64; weights so large that attention is not uniform."""
    config = GPTNeoXConfig(
        vocab_size=vocab_size,
        hidden_size=24,
        num_attention_heads=3,
        num_hidden_layers=3,
        intermediate_size=40,
        max_position_embeddings=32,
        use_parallel_residual=parallel,
        hidden_act="gelu",
        tie_word_embeddings=False,
    )
    generator = torch.Generator().manual_seed(seed)
    config._attn_implementation = attention
    model = GPTNeoXForCausalLM(config).double().eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
        if parameter.ndim == 1:
            parameter.add_(0.7)
    return model


def random_rows(n: int = 20, seq: int = 15, vocab_size: int = 61, seed: int = 1) -> Tensor:
    """[n, seq + 1] token ids."""
    return torch.randint(vocab_size, (n, seq + 1), generator=torch.Generator().manual_seed(seed))


def random_labels(rows: Tensor, vocab_size: int = 61, seed: int = 2) -> tuple[Tensor, Tensor]:
    """Other labels than the data's, for A and S and for the eigenvalues: [n, seq] each."""
    generator = torch.Generator().manual_seed(seed)
    shape = (len(rows), rows.shape[1] - 1)
    return torch.randint(vocab_size, shape, generator=generator), torch.randint(
        vocab_size, shape, generator=generator
    )


def padded(*rows: list[int], period: list[int] | None = None, padding: int = 0) -> Sequences:
    longest = max(map(len, rows))
    tokens = torch.tensor([row + [padding] * (longest - len(row)) for row in rows])
    lengths = torch.tensor([len(row) for row in rows])
    return Sequences(tokens, lengths, None if period is None else torch.tensor(period))


@dataclass(frozen=True)
class Engine:
    """What the engine computed; lists are per block, in the order of ``names`` (``unit/block``)."""

    names: list[str]
    probe_gradients: list[Tensor]
    curvature: list[Curvature]
    queries: list[Tensor]
    scores: Tensor
    """[n_blocks, n]"""
    losses: Tensor


def fit_and_score(
    model: PreTrainedModel,
    rows: Tensor,
    probes: Iterable[tuple[Unit, Sequences]],
    labels: tuple[Tensor, Tensor],
    batch: int = 8,
    damping: Damping | None = None,
    probe_model: PreTrainedModel | None = None,
    preconditioner: Preconditioner = PRECONDITIONERS["ekfac"],
    moments: Mapping[str, Moment] = MappingProxyType({}),
) -> Engine:
    """Fit on ``rows`` with given labels, then score them; ``probe_model`` is ``model`` unless given."""
    blocks, names, gradients = [], [], []
    for unit, sequences in probes:
        own = probe_gradient(probe_model or model, unit, sequences)[1]
        for block in unit.subspace(model):
            blocks.append(block)
            names.append(f"{unit.name}/{block.name}")
            gradients.append(own[block.name])
    taps = Taps.of_blocks(model, blocks)
    fitted = distinct(blocks)
    covariances = Covariances(fitted)
    for part, own_labels in zip(rows.split(batch), labels[0].split(batch)):
        covariances.add(taps.run(part, labels=own_labels))
    means = covariances.means()
    bases = eigenbases(means)
    eigenvalues = Eigenvalues(fitted, bases, model.get_output_embeddings().weight)
    for part, own_labels in zip(rows.split(batch), labels[1].split(batch)):
        eigenvalues.add(taps.run(part, labels=own_labels))
    corrected = eigenvalues.means()
    curvature = []
    for block in blocks:
        a, s = Side.of(block)
        number = next(i for i, other in enumerate(fitted) if Side.of(other) == (a, s))
        curvature.append(Curvature(means[a], means[s], bases[a], bases[s], corrected[number]))
    by_key = {block.key: one for block, one in zip(blocks, curvature)}
    known = Known(
        damping or Damping(),
        rows.shape[1] - 1,
        lambda block: by_key[block.key],
        lambda block: by_key[block.key],
        moments,
    )
    queries = [preconditioner.query(block, g, known) for block, g in zip(blocks, gradients)]
    scores, losses = score(model, rows, blocks, queries, batch)
    return Engine(names, gradients, curvature, queries, scores, losses)


def score(
    model: PreTrainedModel, rows: Tensor, blocks: Sequence[Block], queries: Sequence[Tensor], batch: int = 8
) -> tuple[Tensor, Tensor]:
    """(scores [n_blocks, n], losses [n]) of ``rows`` with given queries."""
    taps = Taps.of_blocks(model, blocks)
    scorer = Scorer(blocks, queries, model.get_output_embeddings().weight)
    parts = [taps.run(part) for part in rows.split(batch)]
    return torch.cat([scorer(part) for part in parts], 1), torch.cat([part.loss for part in parts])


def relative_error(ours: Tensor | np.ndarray, truth: Tensor | np.ndarray) -> float:
    """Largest difference as a part of the largest true value."""
    ours, truth = np.asarray(ours, np.float64), np.asarray(truth, np.float64)
    assert ours.shape == truth.shape, (ours.shape, truth.shape)
    return float(np.abs(ours - truth).max() / np.abs(truth).max())
