"""Queries and norms from emitted gradients, for every preconditioner and every way gradients are written."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from emissions import BLOCK, STEPS, emission
from engine_parts import relative_error

from curator.artifacts.files import load_json, save_array, save_json
from curator.errors import CuratorError
from curator.influence.curvature import Damping, Sides
from curator.influence.emission import Emission
from curator.influence.preconditioners import PRECONDITIONERS
from curator.influence.projection import projections
from curator.models.moments import Moment
from curator.ranking.bases import Bases
from curator.ranking.from_emission import EmittedFactors, EmittedGradient
from curator.units.block_json import describe_block

N = len(STEPS) * 4
FIRST = STEPS[0] * 4
LABEL = {**describe_block(BLOCK), "label": "induction:0.0/qk"}
GRADIENTS = torch.tensor(np.random.default_rng(0).normal(size=(N, 4, 2)))
PROBE = torch.tensor(np.random.default_rng(1).normal(size=(4, 2)))
SQUARES = torch.tensor(
    np.random.default_rng(2).uniform(0.1, 2, size=(4, 6))
)  # v of the weight: d_out 4, d_in 6
MOMENTS = {f"{BLOCK.module}.weight": Moment(SQUARES, 7, 0.9, 1e-3)}


@pytest.fixture
def covariances(monkeypatch: pytest.MonkeyPatch) -> tuple[torch.Tensor, torch.Tensor]:
    """A and S, as if they had been emitted."""
    roots = (torch.tensor(np.random.default_rng(seed).normal(size=(n, n))) for seed, n in ((3, 4), (4, 2)))
    a, s = (root @ root.T for root in roots)
    monkeypatch.setattr(EmittedFactors, "covariances", lambda self, block: (a, s))
    return a, s


def emitted(folder: Path, **compress: Any) -> EmittedGradient:
    """Two ranks' gradients of one block; ``compress``: what was said of them."""
    how = {"compress": None, "rank": None, "seed": 0, **compress}
    if how["compress"] == "projection":
        left, right = projections(BLOCK, how["rank"], how["seed"], 0)
        assert left is not None and right is None
        written = left.T @ GRADIENTS
    else:
        written = GRADIENTS
    there = emission(folder, shapes=(tuple(written.shape[1:]),))
    for part in there.ranks:
        rows = np.load(part.path / "samples.npy") - FIRST
        save_array(part.path / "gradients" / "0.npy", written[rows].numpy().astype(np.float32))
        index = load_json(part.path / "index.json")
        save_json(part.path / "index.json", {**index, "blocks": [LABEL]})
    manifest = load_json(folder / "manifest.json")
    save_json(folder / "manifest.json", {**manifest, "gradients": how, "blocks": [LABEL]})
    return EmittedGradient.find(Emission.open(folder), BLOCK)


def query(gradient: EmittedGradient, name: Any) -> torch.Tensor:
    known = gradient.known(Damping(), MOMENTS, FIRST, FIRST + N)
    return gradient.query(PRECONDITIONERS[name], PROBE, known, FIRST, FIRST + N)


def adam() -> torch.Tensor:
    """By hand."""
    v = SQUARES[:2, :4].T / (1 - 0.9**7)
    return PROBE / (v.sqrt() + 1e-3)


def test_whole_gradients_serve_every_preconditioner(tmp_path: Path, covariances: Any) -> None:
    gradient = emitted(tmp_path)
    a, s = covariances
    hessian = 8 * torch.kron(a, s)  # 8 tokens a sample
    damped = hessian + 0.1 * hessian.diagonal().mean() * torch.eye(8, dtype=torch.float64)
    truth = {
        "identity": PROBE,
        "adam": adam(),
        "kfac": torch.linalg.solve(damped, PROBE.flatten()).view(4, 2),
    }
    q_a, q_s = torch.linalg.eigh(a)[1], torch.linalg.eigh(s)[1]
    measured = (q_a.T @ GRADIENTS.float().double() @ q_s).square().mean(0)
    damping = measured + 0.1 * measured.mean()
    truth["ekfac"] = q_a @ ((q_a.T @ PROBE @ q_s) / damping) @ q_s.T
    assert set(truth) == set(PRECONDITIONERS)
    for name, expected in truth.items():
        assert relative_error(query(gradient, name), expected) < 1e-9, name
        scores = gradient.scores(expected, FIRST, FIRST + N)
        assert relative_error(scores, -(GRADIENTS * expected).sum((1, 2))) < 1e-6
    assert relative_error(gradient.norms(FIRST, FIRST + N), GRADIENTS.flatten(1).norm(dim=1)) < 1e-6
    assert Sides(a, s, q_a, q_s).kronecker(8).eigenvalues.shape == (4, 2)


def test_projected_gradients_serve_what_needs_no_eigenvalues(tmp_path: Path, covariances: Any) -> None:
    gradient = emitted(tmp_path, compress="projection", rank=2)
    left, _ = projections(BLOCK, 2, 0, 0)
    assert left is not None
    assert relative_error(query(gradient, "adam"), left.T @ adam()) < 1e-12
    assert relative_error(query(gradient, "identity"), left.T @ PROBE) < 1e-12
    assert query(gradient, "kfac").shape == (2, 2)
    with pytest.raises(CuratorError, match=r"no Λ; .* rank with --preconditioner kfac, adam or identity"):
        query(gradient, "ekfac")
    own = (left.T @ GRADIENTS).flatten(1).norm(dim=1)
    assert relative_error(gradient.norms(FIRST, FIRST + N), own) < 1e-6


def test_gradients_in_an_eigenbasis_refuse_what_they_cannot_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Norms of what was cut away are unknown, and A's own eigenvalues do not belong to another ranking's basis."""
    q_a, q_s = (
        torch.linalg.qr(torch.tensor(np.random.default_rng(n).normal(size=(n, n))))[0] for n in (4, 2)
    )
    monkeypatch.setattr(EmittedGradient, "_truncated_bases", lambda self: (q_a, q_s))
    monkeypatch.setattr(Bases, "open", None)
    gradient = emitted(tmp_path, compress="eigenbasis", rank=4)
    assert relative_error(query(gradient, "adam"), q_a.T @ adam() @ q_s) < 1e-12
    assert relative_error(query(gradient, "identity"), q_a.T @ PROBE @ q_s) < 1e-12
    measured = GRADIENTS.float().double().square().mean(0)
    expected = (q_a.T @ PROBE @ q_s) / (measured + 0.1 * measured.mean())
    assert relative_error(query(gradient, "ekfac"), expected) < 1e-9
    with pytest.raises(
        CuratorError, match="only --preconditioner ekfac, adam and identity make a query, not kfac"
    ):
        query(gradient, "kfac")
    with pytest.raises(CuratorError, match=r"cut to 4 eigenvectors a side.*leave out --normalise"):
        gradient.norms(FIRST, FIRST + N)
