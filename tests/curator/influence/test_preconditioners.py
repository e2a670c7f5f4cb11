"""Law 1 for every preconditioner: queries and scores equal dense float64 algebra and a per-sample autograd loop.

K-FAC is compared with the dense matrix tokens · A ⊗ S and a linear solver, Adam with a step that torch's own optimizer
makes. Nothing here uses an eigenbasis of the engine's.
"""

import copy
from functools import cache, partial
from typing import get_args

import numpy as np
import oracle
import pytest
import torch
from engine_parts import Engine, fit_and_score, random_labels, random_model, random_rows, relative_error
from torch import Tensor
from transformers import PreTrainedModel

from curator.artifacts.fields import PreconditionerName
from curator.influence.curvature import Curvature, Damping, Sides
from curator.influence.preconditioners import PRECONDITIONERS, Known
from curator.models.moments import Moment
from curator.ranking.settings import FITTED
from curator.units import ProbeSettings, Unit, parse_units

SETTINGS = ProbeSettings(sequences=5, min_length=6, max_length=6, seed=3)
EXACT = 1e-9
HEADS = [(0, 1), (1, 2), (2, 0)]
"""One in each of the three layers."""
ALPHA = 0.3
BETA2, EPS = 0.9, 1e-3


def units(model: PreTrainedModel) -> list[Unit]:
    return parse_units([f"induction:{layer}.{head}" for layer, head in HEADS], model, "paper")


def parts(model: PreTrainedModel) -> dict[str, oracle.Part]:
    return {
        f"induction:{layer}.{head}/{name}": part
        for layer, head in HEADS
        for name, part in oracle.head_parts(model, layer, head).items()
    }


@cache
def probe_gradients() -> dict[str, Tensor]:
    """unit/block -> ∇f [inputs, outputs], by autograd at the weights."""
    model = random_model()
    (unit, *_) = units(model)
    tokens = unit.sequences(SETTINGS, 61, 32).tokens.tolist()
    modules = {part.module for part in parts(model).values()}
    whole = oracle.weight_gradients(model, modules, partial(oracle.induction_probe, model, tokens))
    return {name: part.of(whole[part.module]) for name, part in parts(model).items()}


def moments(model: PreTrainedModel, steps: int = 3) -> dict[str, Moment]:
    """Of a torch Adam after ``steps`` updates on single rows; the model keeps its weights."""
    trained = copy.deepcopy(model).requires_grad_(True)
    optimizer = torch.optim.AdamW(trained.parameters(), lr=1e-3, betas=(0.9, BETA2), eps=EPS)
    for row in random_rows(steps, seed=5):
        optimizer.zero_grad()
        oracle.sample_loss(trained, row).backward()
        optimizer.step()
    return {
        name: Moment(optimizer.state[weight]["exp_avg_sq"], steps, BETA2, EPS)
        for name, weight in trained.named_parameters()
    }


@cache
def dense_truth(name: PreconditionerName) -> dict[str, Tensor]:
    """unit/block -> P, from dense matrices and loops."""
    model, rows = random_model(), random_rows()
    labels = random_labels(rows)[0]
    queries = {}
    if name in FITTED:
        covariances: dict[str, tuple[Tensor, Tensor]] = {}
        modules = list(dict.fromkeys(part.module for part in parts(model).values()))
        for row, own in zip(rows, labels):
            sides = oracle.token_sides(model, modules, partial(oracle.sample_loss, model, row, own))
            for key, part in parts(model).items():
                x, g = sides[part.module]
                x, g = x[:, list(part.inputs)], g[:, list(part.outputs)]
                a, s = covariances.get(key, (0, 0))
                covariances[key] = (a + x.T @ x / labels.numel(), s + g.T @ g / labels.numel())
    for key, gradient in probe_gradients().items():
        part = parts(model)[key]
        if name == "identity":
            queries[key] = gradient
        elif name == "adam":
            moment = moments(model)[f"{part.module}.weight"]
            corrected = part.of(moment.exp_avg_sq) / (1 - BETA2**3)
            queries[key] = gradient / (corrected**0.5 + EPS)
        else:
            a, s = covariances[key]
            hessian = labels.shape[1] * torch.kron(a, s)
            damped = hessian + ALPHA * hessian.diagonal().mean() * torch.eye(
                len(hessian), dtype=torch.float64
            )
            queries[key] = torch.linalg.solve(damped, gradient.flatten()).view(gradient.shape)
    return queries


@cache
def engine(name: PreconditionerName, batch: int = 8) -> Engine:
    model, rows = random_model(), random_rows()
    probes = [(unit, unit.sequences(SETTINGS, 61, 32)) for unit in units(model)]
    given = moments(model) if name == "adam" else {}
    return fit_and_score(
        model,
        rows,
        probes,
        random_labels(rows),
        batch,
        Damping(alpha=ALPHA),
        preconditioner=PRECONDITIONERS[name],
        moments=given,
    )


@pytest.mark.parametrize("name", ["kfac", "adam", "identity"])
def test_law_1_queries_and_scores_equal_dense_algebra_at_every_layer(name: PreconditionerName) -> None:
    """EK-FAC has the same in test_engine_oracle."""
    ours, model, truth = engine(name), random_model(), dense_truth(name)
    assert ours.names == list(truth)
    for key, query in zip(ours.names, ours.queries):
        assert relative_error(query, truth[key]) < EXACT, key
    scores, _ = oracle.scores(model, random_rows(), parts(model), truth)
    for key, found in zip(ours.names, ours.scores):
        assert relative_error(found, scores[key]) < EXACT, key


@pytest.mark.parametrize("name", get_args(PreconditionerName))
def test_law_2_the_batch_changes_scores_by_rounding_alone(name: PreconditionerName) -> None:
    assert relative_error(engine(name, 3).scores, engine(name).scores) < EXACT


def test_every_name_has_its_class_and_the_settings_know_which_are_fitted() -> None:
    assert set(PRECONDITIONERS) == set(get_args(PreconditionerName))
    assert {name for name, one in PRECONDITIONERS.items() if one.sweeps} == set(FITTED)
    assert all(one.name == name for name, one in PRECONDITIONERS.items())


def test_preconditioners_differ() -> None:
    """So that none can stand for another in the tests above."""
    directions = [torch.cat([q.flatten() for q in engine(name).queries[:3]]) for name in PRECONDITIONERS]
    for i, one in enumerate(directions):
        for other in directions[:i]:
            assert float(torch.cosine_similarity(one, other, 0)) < 0.99


def test_kfac_has_the_scale_of_the_per_sample_fisher() -> None:
    """Where its assumptions hold (independent tokens, g independent of x) Λ is E_i[(Q_Aᵀ G_i Q_S)²]; here drawn."""
    random = np.random.default_rng(0)
    tokens, samples = 7, 40_000
    roots = random.normal(size=(4, 4)), random.normal(size=(3, 3))
    x = random.normal(size=(samples, tokens, 4)) @ roots[0]
    g = random.normal(size=(samples, tokens, 3)) @ roots[1]
    a, s = (torch.tensor(root.T @ root) for root in roots)
    q_a, q_s = torch.linalg.eigh(a)[1], torch.linalg.eigh(s)[1]
    gradients = torch.tensor(np.einsum("itk,itl->ikl", x, g))
    measured = (q_a.T @ gradients @ q_s).square().mean(0)
    ours = Sides(a, s, q_a, q_s).kronecker(tokens).eigenvalues
    assert torch.allclose(ours, measured, rtol=0.04)


def test_adams_query_is_the_step_that_its_optimizer_makes() -> None:
    """AdamW without momentum and weight decay, one step on -f from moments that it has: Δw = lr · P."""
    model = random_model()
    trained, learning_rate = copy.deepcopy(model).requires_grad_(True), 1e-2
    optimizer = torch.optim.AdamW(
        trained.parameters(), lr=learning_rate, betas=(0.0, BETA2), eps=EPS, weight_decay=0.0
    )
    for row in random_rows(4, seed=6):  # moments of other gradients than the probe's
        optimizer.zero_grad()
        oracle.sample_loss(trained, row).backward()
        optimizer.step()
    with torch.no_grad():
        for weight, original in zip(trained.parameters(), model.parameters()):
            weight.copy_(original)
    (unit, *_) = units(model)
    sequences = unit.sequences(SETTINGS, 61, 32)
    optimizer.zero_grad()
    (-unit.probe(trained, sequences)).backward()
    optimizer.step()
    # v of the checkpoint after that step, the one whose root it divided by
    given = {
        name: Moment(optimizer.state[weight]["exp_avg_sq"], 5, BETA2, EPS)
        for name, weight in trained.named_parameters()
    }
    known = Known(Damping(), 15, _not_asked, _not_asked, given)
    for block in unit.subspace(model):
        part = parts(model)[f"{unit.name}/{block.name}"]
        moved = (
            trained.get_parameter(f"{part.module}.weight") - model.get_parameter(f"{part.module}.weight")
        ).detach()
        query = PRECONDITIONERS["adam"].query(block, probe_gradients()[f"{unit.name}/{block.name}"], known)
        assert relative_error(learning_rate * query, part.of(moved)) < 1e-10


def _not_asked(block: object) -> Curvature:
    raise AssertionError("nothing is fitted for adam")
