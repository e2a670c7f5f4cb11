"""Precision: float64 factors and queries, float32 sums of bfloat16 products, and what bfloat16 costs."""

import copy
from functools import cache
from pathlib import Path

import numpy as np
import torch
from engine_parts import GOLDEN, fit_and_score, golden_model, golden_rows, relative_error
from rank_runs import small_request
from torch import Tensor

from curator.artifacts.files import load_array, load_json
from curator.corpus import open_corpus
from curator.influence.curvature import Curvature, Damping
from curator.influence.factors import Covariances, Eigenvalues, Side, eigenbases
from curator.influence.fit import CurvatureFit
from curator.influence.labels import EmpiricalLabels
from curator.influence.probe_gradient import probe_gradient
from curator.influence.scorer import Scorer
from curator.influence.taps import Tapped
from curator.ranking.run import rank
from curator.units import (
    Block,
    ProbeSettings,
    parse_units,
)


def test_mistake_eigendecompositions_in_float32(tmp_path: Path) -> None:
    """A float32 run keeps A, S, Λ, probe gradients and queries in float64, and its bases are orthonormal to it."""
    ranking = rank(small_request(), tmp_path / "ranking")
    assert ranking.scores.dtype == np.float32
    arrays = [*(ranking.path / "factors").rglob("*.npy"), *(ranking.path / "queries").rglob("*.npy")]
    assert len(arrays) >= 5 + 3 + 6  # sides, eigenvalues, queries and gradients
    assert {load_array(path).dtype for path in arrays} == {np.dtype(np.float64)}

    model = golden_model()
    (unit,) = parse_units(["induction:1.2"], model, "paper")
    corpus = open_corpus(GOLDEN / "rows.npy")
    blocks = unit.subspace(model)
    made_for = load_json(ranking.path / "factors" / "index.json")["made_for"]
    fit = CurvatureFit(
        model, corpus, blocks, np.arange(8), EmpiricalLabels(), 4, ranking.path / "factors", made_for
    )
    fit.fit()  # reads what is there
    queries = load_json(ranking.path / "queries" / "index.json")["blocks"]
    for block, entry in zip(blocks, queries):
        curvature = fit.curvature(block)
        for basis, covariance in ((curvature.q_a, curvature.a), (curvature.q_s, curvature.s)):
            assert basis.dtype == covariance.dtype == torch.float64
            identity = torch.eye(len(basis), dtype=torch.float64)
            assert float((basis.T @ basis - identity).abs().max()) < 1e-13
            rotated = basis.T @ covariance @ basis
            off_diagonal = rotated - torch.diag(rotated.diagonal())
            assert float(off_diagonal.abs().max()) < 1e-13 * float(covariance.abs().max()) * len(basis)
        gradient = load_array(ranking.path / "queries" / entry["file"].replace(".npy", "-gradient.npy"))
        query = curvature.precondition(torch.tensor(gradient), Damping())
        assert relative_error(query, load_array(ranking.path / "queries" / entry["file"])) < 1e-13


def test_law_1_the_query_solves_the_damped_system() -> None:
    """(Q_A ⊗ Q_S) diag(damped Λ) (Q_A ⊗ Q_S)ᵀ vec(P) = vec(∇f), as one dense matrix."""
    generator = torch.Generator().manual_seed(0)
    q_a, q_s = (
        torch.linalg.qr(torch.randn(n, n, generator=generator, dtype=torch.float64))[0] for n in (5, 3)
    )
    eigenvalues = torch.rand(5, 3, generator=generator, dtype=torch.float64)
    gradient = torch.randn(5, 3, generator=generator, dtype=torch.float64)
    curvature = Curvature(torch.eye(5), torch.eye(3), q_a, q_s, eigenvalues)
    for damping in (Damping(), Damping(mode="max", alpha=0.01), Damping(mode="absolute", alpha=0.3)):
        basis = torch.kron(q_a, q_s)
        hessian = basis @ torch.diag(damping(eigenvalues).flatten()) @ basis.T
        query = curvature.precondition(gradient, damping)
        assert relative_error(hessian @ query.flatten(), gradient.flatten()) < 1e-12


def test_damping_modes_by_hand() -> None:
    values = torch.tensor([0.0, 1.0, 5.0], dtype=torch.float64)
    expected = {
        "mean": [0.2, 1.2, 5.2],
        "max": [0.5, 1.5, 5.5],
        "absolute": [0.1, 1.1, 5.1],
    }
    for mode, damped in expected.items():
        torch.testing.assert_close(Damping(mode=mode)(values), torch.tensor(damped, dtype=torch.float64))
    assert Damping(alpha=0.0, floor=1e-3)(values).tolist() == [1e-3, 1.0, 5.0]


# -- precision of products --------------------------------------------------------------------------------------


def half_precision_taps() -> tuple[Tapped, list[Block]]:
    """Random bfloat16 taps of one layer, and two blocks that use either direction of the scorer."""
    generator = torch.Generator().manual_seed(0)
    x, g = (torch.randn(3, 700, 24, generator=generator).bfloat16() for _ in range(2))
    zeros = torch.zeros(3)
    tapped = Tapped({"layer": x}, {"layer": g}, zeros, torch.zeros(3, 700, dtype=torch.long))
    return tapped, [Block("in", "layer", range(24), range(4, 10)), Block("out", "layer", range(8), range(24))]


def test_mistake_scoring_products_are_rounded_to_bfloat16_before_they_are_summed() -> None:
    tapped, blocks = half_precision_taps()
    x, g = tapped.x["layer"], tapped.g["layer"]
    generator = torch.Generator().manual_seed(1)
    queries = [torch.randn(block.shape, generator=generator, dtype=torch.float64) for block in blocks]
    ours = Scorer(blocks, queries, x)(tapped)
    assert ours.dtype == torch.float32
    for scores, block, query in zip(ours, blocks, queries):
        rows, columns = list(block.inputs), list(block.outputs)
        gradients = torch.einsum("bti,bto->bio", x[..., rows].double(), g[..., columns].double())
        truth = -(gradients * query).sum((1, 2))
        rounded = (
            -torch.einsum("bti,bto->bio", x[..., rows], g[..., columns]).mul(query.bfloat16()).sum((1, 2))
        )
        assert relative_error(scores, truth) < 1e-5
        assert relative_error(rounded.float(), truth) > 1e-3


def test_mistake_factor_products_are_rounded_to_bfloat16_before_they_are_summed() -> None:
    tapped, blocks = half_precision_taps()
    x, g = tapped.x["layer"], tapped.g["layer"]
    covariances = Covariances(blocks)
    covariances.add(tapped)
    means = covariances.means()
    for side, mean in means.items():
        source = (x if side.side == "input" else g)[..., list(side.indices)].double().flatten(0, 1)
        assert mean.dtype == torch.float64 and relative_error(mean, source.T @ source / 2100) < 1e-5
    bases = eigenbases(means)
    eigenvalues = Eigenvalues(blocks, bases, x)
    eigenvalues.add(tapped)
    for block, values in zip(blocks, eigenvalues.means()):
        a, s = Side.of(block)
        own_x, own_g = x[..., list(block.inputs)].double(), g[..., list(block.outputs)].double()
        rotated = torch.einsum("bti,bto->bio", own_x @ bases[a], own_g @ bases[s])
        assert values.dtype == torch.float64 and relative_error(values, rotated.square().mean(0)) < 1e-5


def test_mistake_the_probe_of_a_bfloat16_model_is_taken_in_bfloat16(tmp_path: Path) -> None:
    """Its weights are rounded, its probe gradient is not: a float32 model of the same rounded weights agrees."""
    rounded = copy.deepcopy(golden_model(torch.bfloat16)).float()
    (unit,) = parse_units(["induction:1.2"], rounded, "paper")
    truth = probe_gradient(rounded, unit, unit.sequences(ProbeSettings(sequences=6), 512, 128))[1]["qk"]
    ranking = rank(small_request(dtype="bfloat16", samples=(0, 4)), tmp_path / "ranking")
    ours = load_array(ranking.path / "queries" / "0000-gradient.npy")
    assert relative_error(ours, truth) < 1e-6
    assert ranking.scores.dtype == np.float32


def spearman(a: Tensor, b: Tensor) -> float:
    ranks = [values.argsort().argsort().double() for values in (a, b)]
    return float(torch.corrcoef(torch.stack(ranks))[0, 1])


BF16_UNITS = ["induction:0.1", "induction:1.2", "previous-token:0.0", "previous-token:2.3"]


@cache
def bfloat16_agreement() -> dict[str, float]:
    """Spearman's rank correlation of 64 samples' scores, bfloat16 against float32, each with its own factors."""
    scored = {}
    for dtype in (torch.float32, torch.bfloat16):
        model = golden_model(dtype)
        probed = golden_model(torch.float32)  # bfloat16 models are probed in float32
        units = parse_units(BF16_UNITS, probed, "paper")
        probes = [(unit, unit.sequences(ProbeSettings(sequences=16), 512, 128)) for unit in units]
        rows = golden_rows()[:64]
        labels = (rows[:, 1:], rows[:, 1:])
        scored[dtype] = fit_and_score(model, rows, probes, labels, batch=16, probe_model=probed)
    exact, rounded = scored[torch.float32], scored[torch.bfloat16]
    return {name: spearman(a, b) for name, a, b in zip(exact.names, exact.scores, rounded.scores)}


def test_precision_bfloat16_ranks_as_float32() -> None:
    """Measured on the golden model: see the numbers in the assertion's message when it fails."""
    agreement = bfloat16_agreement()
    assert min(agreement.values()) > 0.98, agreement
