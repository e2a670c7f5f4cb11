"""Agreement with the golden numbers (tests/golden/README.md): law 1 against somebody else's arithmetic.

float64 compares to 1e-9 of the largest value and must run transformers' *eager* attention: its softmax is taken
in float32 whatever the model's dtype, and so the golden numbers have it; SDPA in float64 is more exact and
differs from them by 1e-8. float32 (SDPA, what users run) compares to 1e-5, the query to 3e-5: the inverse
amplifies the rounding of the factors, which differs between processors (6e-6 and 1.4e-5 were seen).
"""

from functools import cache

import numpy as np
import pytest
import torch
from engine_parts import GOLDEN, Engine, fit_and_score, golden_model, golden_rows, relative_error

from curator.influence.curvature import Damping
from curator.influence.probe_gradient import probe_gradient
from curator.units import Sequences, parse_units

CASES = {
    "induction:1.2": ("induction_L1H2.npz", ("qk", "v", "o")),
    "previous-token:0.0": ("previous_token_L0H0.npz", ("qk",)),
}
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-5}
FLOAT32_QUERY = 3e-5
ATTENTION = {torch.float64: "eager", torch.float32: "sdpa"}

both_dtypes = pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
every_unit = pytest.mark.parametrize("unit", CASES)


@cache
def golden(unit: str) -> dict[str, np.ndarray]:
    return dict(np.load(GOLDEN / CASES[unit][0]))


def whole_sequences(tokens: np.ndarray) -> Sequences:
    return Sequences(torch.from_numpy(tokens), torch.full((len(tokens),), tokens.shape[1]))


@cache
def engine(unit: str, dtype: torch.dtype) -> Engine:
    """The engine on the golden rows, with the golden labels."""
    model, numbers = golden_model(dtype, ATTENTION[dtype]), golden(unit)
    labels = [
        torch.from_numpy(numbers[f"labels_{kind}"].astype(np.int64)) for kind in ("factors", "eigenvalues")
    ]
    probe = (parse_units([unit], model, "paper")[0], whole_sequences(numbers["probe_tokens"]))
    return fit_and_score(model, golden_rows(), [probe], (labels[0], labels[1]), batch=16, damping=Damping())


@both_dtypes
@every_unit
def test_law_1_blocks_are_those_of_the_golden_unit(unit: str, dtype: torch.dtype) -> None:
    assert engine(unit, dtype).names == [f"{unit}/{block}" for block in CASES[unit][1]]


@both_dtypes
@every_unit
@pytest.mark.parametrize("quantity", ["probe_gradient", "A", "S", "eigenvalues", "query", "score"])
def test_law_1_golden_numbers(unit: str, dtype: torch.dtype, quantity: str) -> None:
    ours, numbers = engine(unit, dtype), golden(unit)
    for number, block in enumerate(CASES[unit][1]):
        curvature = ours.curvature[number]
        value = {
            "probe_gradient": ours.probe_gradients[number],
            "A": curvature.a,
            "S": curvature.s,
            "eigenvalues": curvature.eigenvalues,
            "query": ours.queries[number],
            "score": ours.scores[number],
        }[quantity]
        error = relative_error(value, numbers[f"{quantity}_{block}"])
        inverted = quantity == "query" and dtype == torch.float32
        limit = FLOAT32_QUERY if inverted else TOLERANCE[dtype]
        assert error < limit, f"{unit}/{block} {quantity}: {error:.1e}"


@both_dtypes
@every_unit
def test_law_1_golden_losses(unit: str, dtype: torch.dtype) -> None:
    assert relative_error(engine(unit, dtype).losses, golden(unit)["loss"]) < TOLERANCE[dtype]


@every_unit
def test_law_1_the_golden_ranking_in_float32_keeps_its_order(unit: str) -> None:
    """The sum over blocks, as users sort by it: the same samples on top, in the same order."""
    truth = sum(golden(unit)[f"score_{block}"] for block in CASES[unit][1])
    ours = engine(unit, torch.float32).scores.sum(0).numpy()
    np.testing.assert_array_equal(np.argsort(-ours)[:20], np.argsort(-np.asarray(truth))[:20])


def test_law_1_sdpa_in_float64_differs_from_eager_by_float32_rounding_of_the_softmax() -> None:
    """Why float64 comparisons need eager attention: if this fails, transformers changed and the note is old."""
    numbers = golden("induction:1.2")
    model = golden_model(torch.float64, "sdpa")
    unit = parse_units(["induction:1.2"], model, "paper")[0]
    gradient = probe_gradient(model, unit, whole_sequences(numbers["probe_tokens"]))[1]["qk"]
    assert 1e-9 < relative_error(gradient, numbers["probe_gradient_qk"]) < 1e-6
