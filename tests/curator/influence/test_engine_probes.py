"""Law 3: probes have a gradient that finite differences confirm, are seeded, and score the right target.

A probe is a sum of log-likelihoods or attention entries. In float64 with SDPA the induction probe is exact to
about 1e-13, so a central difference with step 1e-5 is good to 1e-8. Attention patterns exist only in eager
attention, whose softmax is float32: the previous-token and duplicate-token probes carry noise of about 1e-7,
and a step h gives an error of about 1e-7/h + h². At h = 5e-3 that is some 5e-5, hence their tolerance of 1e-3.
"""

import copy
from types import SimpleNamespace
from typing import Any

import numpy as np
import oracle
import pytest
import torch
from engine_parts import golden_model, padded, random_model
from torch import Tensor
from transformers import PreTrainedModel

from curator.influence.probe_gradient import probe_gradient
from curator.units import (
    ProbeSettings,
    Unit,
    draw_random,
    draw_repeated,
    duplicate_token,
    kinds,
    parse_units,
)
from curator.units.attention import attention_patterns
from curator.units.duplicate_token import DuplicateTokenHead
from curator.units.induction import InductionHead, copy_targets
from curator.units.previous_token import PreviousTokenHead
from curator.units.sequences import earlier_copies

SETTINGS = ProbeSettings(sequences=12, min_length=5, max_length=12, seed=0)
every_kind = pytest.mark.parametrize("kind", ["induction", "previous-token", "duplicate-token"])


def units_of(kind: str, model: PreTrainedModel) -> list[Unit]:
    return parse_units([f"{kind}:*"], model, "paper")


# -- gradients ------------------------------------------------------------------------------------------------


@every_kind
def test_law_3_the_probe_has_a_gradient_in_every_block_of_every_head(kind: str) -> None:
    model = golden_model()
    for unit in units_of(kind, model):
        sequences = unit.sequences(SETTINGS, 512, 128)
        _, gradients = probe_gradient(model, unit, sequences)
        assert list(gradients) == [block.name for block in unit.subspace(model)]
        for block in unit.subspace(model):
            gradient = gradients[block.name]
            assert gradient.shape == block.shape and gradient.dtype == torch.float64
            assert torch.isfinite(gradient).all() and gradient.abs().max() > 1e-4, (unit.name, block.name)


FINITE_DIFFERENCES = {  # (step, relative tolerance)
    "induction": (1e-5, 1e-6),
    "previous-token": (5e-3, 1e-3),
    "duplicate-token": (5e-3, 1e-3),
}


@every_kind
@pytest.mark.parametrize("layer", [0, 1, 2])
def test_law_3_the_gradient_agrees_with_finite_differences(kind: str, layer: int) -> None:
    """Along random directions, and along the gradient itself, within each block's rows and columns alone."""
    model = copy.deepcopy(golden_model(torch.float64, "sdpa"))
    (unit,) = parse_units([f"{kind}:{layer}.{layer + 1}"], model, "paper")
    sequences = unit.sequences(SETTINGS, 512, 128)
    gradients = probe_gradient(model, unit, sequences)[1]
    step, tolerance = FINITE_DIFFERENCES[kind]
    generator = torch.Generator().manual_seed(layer)
    parts = oracle.head_parts(model, layer, layer + 1)
    for name, gradient in gradients.items():
        random = [torch.randn(gradient.shape, generator=generator, dtype=torch.float64) for _ in range(3)]
        for direction in [gradient, *random]:
            direction = direction / direction.norm()
            slope = oracle.slope(model, parts[name], direction, step, lambda: unit.probe(model, sequences))
            expected = float((gradient * direction).sum())
            assert slope == pytest.approx(expected, abs=tolerance * float(gradient.norm())), name


def test_law_3_asking_for_a_gradient_leaves_the_model_as_it_was() -> None:
    model = copy.deepcopy(golden_model())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for spec in ("induction:1.2", "previous-token:1.2", "duplicate-token:1.2"):
        (unit,) = parse_units([spec], model, "paper")
        probe_gradient(model, unit, unit.sequences(SETTINGS, 512, 128))
    assert not any(p.requires_grad or p.grad is not None for p in model.parameters())
    assert model.config._attn_implementation == "sdpa"
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


# -- seeds ----------------------------------------------------------------------------------------------------


@every_kind
def test_law_3_same_seed_same_probe_other_seed_other_probe(kind: str) -> None:
    """Whatever the global generators do, and without touching them."""
    model = golden_model()
    (unit,) = parse_units([f"{kind}:0.0"], model, "paper")
    torch.manual_seed(1)
    np.random.seed(1)
    first = unit.sequences(SETTINGS, 512, 128)
    torch.manual_seed(2)
    np.random.seed(2)
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1]  # type: ignore[index]
    again = unit.sequences(SETTINGS, 512, 128)
    assert torch.equal(torch.get_rng_state(), state)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)  # type: ignore[index]
    assert torch.equal(first.tokens, again.tokens) and torch.equal(first.lengths, again.lengths)
    value, gradients = probe_gradient(model, unit, first)
    value_again, gradients_again = probe_gradient(model, unit, again)
    assert value == value_again
    assert all(torch.equal(gradients[name], gradients_again[name]) for name in gradients)

    other_settings = ProbeSettings(sequences=12, min_length=5, max_length=12, seed=1)
    other = unit.sequences(other_settings, 512, 128)
    assert not torch.equal(first.tokens, other.tokens)
    assert not torch.equal(probe_gradient(model, unit, other)[1]["qk"], gradients["qk"])


def test_law_3_all_units_of_a_kind_share_their_probe_sequences() -> None:
    model = golden_model()
    for kind in kinds():
        if kind.startswith("test-"):
            continue
        drawn = [unit.sequences(SETTINGS, 512, 128).tokens for unit in units_of(kind, model)]
        assert all(torch.equal(drawn[0], tokens) for tokens in drawn)


def test_law_3_repeated_sequences_are_two_copies_of_distinct_tokens() -> None:
    sequences = draw_repeated(ProbeSettings(sequences=200, min_length=3, max_length=9), 50, 128)
    assert sequences.period is not None
    seen = set()
    for row, length, period in zip(sequences.tokens, sequences.lengths.tolist(), sequences.period.tolist()):
        assert length == 2 * period and 3 <= period <= 9
        assert torch.equal(row[:period], row[period:length]) and not row[length:].any()
        assert len(set(row[:period].tolist())) == period
        seen.add(period)
    assert seen == set(range(3, 10))


def test_law_3_random_sequences_repeat_nothing_and_are_as_long_as_repeated_ones() -> None:
    sequences = draw_random(ProbeSettings(sequences=200, min_length=3, max_length=9), 50, 128)
    assert sequences.period is None
    for row, length in zip(sequences.tokens, sequences.lengths.tolist()):
        assert 6 <= length <= 18 and len(set(row[:length].tolist())) == length
    assert int(sequences.lengths.min()) == 6 and int(sequences.lengths.max()) == 18


@pytest.mark.parametrize("draw", [draw_repeated, draw_random])
def test_law_3_sequences_never_exceed_the_models_positions(draw: Any) -> None:
    sequences = draw(ProbeSettings(sequences=50, min_length=8, max_length=20), 50, 16)
    assert sequences.tokens.shape[1] <= 16 and int(sequences.lengths.max()) <= 16


# -- the right target at the right position -------------------------------------------------------------------


def test_law_3_copy_targets_by_hand() -> None:
    """The token after the *last earlier* occurrence, at the position of the later occurrence."""
    rows = padded([5, 7, 9, 5, 7], [3, 3, 3, 4, 3], [1, 2, 1, 3, 1], [8, 9], padding=0)
    scored, target = copy_targets(rows.tokens, rows.valid())
    assert scored.int().tolist() == [[0, 0, 0, 1, 1], [0, 1, 1, 0, 1], [0, 0, 1, 0, 1], [0, 0, 0, 0, 0]]
    assert target.tolist() == [[0, 0, 0, 7, 9], [0, 3, 3, 0, 4], [0, 0, 2, 0, 3], [0, 0, 0, 0, 0]]


def test_law_3_repeated_padding_is_no_occurrence() -> None:
    rows = padded([0, 4, 0], [1, 2, 3, 4, 5, 1], padding=0)
    scored, target = copy_targets(rows.tokens, rows.valid())
    assert scored[0].int().tolist() == [0, 0, 1, 0, 0, 0] and target[0].tolist() == [0, 0, 4, 0, 0, 0]


class FixedLogits:
    """A model whose logits are given."""

    def __init__(self, logits: Tensor):
        self.logits = logits

    def __call__(self, input_ids: Tensor, use_cache: bool) -> SimpleNamespace:
        return SimpleNamespace(logits=self.logits)


def test_mistake_probe_scores_the_target_one_position_early() -> None:
    """The target of t is scored at the logits of t; the logits of t - 1 would give another value."""
    rows = padded([5, 7, 9, 5, 7], [1, 2, 1, 3, 1])
    logits = torch.randn(2, 5, 10, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    likelihood = logits.log_softmax(-1)
    right = likelihood[0, 3, 7] + likelihood[0, 4, 9] + likelihood[1, 2, 2] + likelihood[1, 4, 3]
    early = likelihood[0, 2, 7] + likelihood[0, 3, 9] + likelihood[1, 1, 2] + likelihood[1, 3, 3]
    value = InductionHead(0, 0).probe(FixedLogits(logits), rows)  # type: ignore[arg-type]
    assert float(value) == pytest.approx(float(right / 2), rel=1e-12)
    assert abs(float(value - early / 2)) > 0.1


def test_law_3_the_induction_probe_is_the_oracles() -> None:
    model = random_model()
    sequences = draw_repeated(SETTINGS, 61, 32)
    tokens = [row[:n] for row, n in zip(sequences.tokens.tolist(), sequences.lengths.tolist())]
    value = InductionHead(1, 1).probe(model, sequences)
    # padding changes the order in which the float32 softmax of eager attention sums
    assert float(value) == pytest.approx(float(oracle.induction_probe(model, tokens)), rel=1e-7)


def test_law_3_the_previous_token_probe_is_the_oracles() -> None:
    model = random_model()
    sequences = draw_random(SETTINGS, 61, 32)
    tokens = [row[:n] for row, n in zip(sequences.tokens.tolist(), sequences.lengths.tolist())]
    for layer, head in ((0, 0), (1, 2), (2, 1)):
        value = PreviousTokenHead(layer, head).probe(model, sequences)
        truth = oracle.previous_token_probe(model, tokens, layer, head)
        assert float(value) == pytest.approx(float(truth), rel=1e-6)


def test_law_3_earlier_copies_by_hand() -> None:
    """All earlier positions of the same token, none of the padding, and never the position itself."""
    rows = padded([5, 7, 5, 5], [3, 0, 0], padding=0)
    copies = earlier_copies(rows.tokens, rows.valid())
    assert copies.nonzero().tolist() == [[0, 2, 0], [0, 3, 0], [0, 3, 2], [1, 2, 1]]


def test_law_3_the_duplicate_token_probe_is_the_oracles() -> None:
    model = random_model()
    sequences = draw_repeated(SETTINGS, 61, 32)
    tokens = [row[:n] for row, n in zip(sequences.tokens.tolist(), sequences.lengths.tolist())]
    tokens[0][3] = tokens[0][1] = tokens[0][0]  # more than two copies of a token
    sequences.tokens[0, [1, 3]] = tokens[0][0]
    for layer, head in ((0, 0), (1, 2), (2, 1)):
        value = DuplicateTokenHead(layer, head).probe(model, sequences)
        truth = oracle.duplicate_token_probe(model, tokens, layer, head)
        assert float(value) == pytest.approx(float(truth), rel=1e-6)


def test_law_3_the_duplicate_token_probe_looks_at_the_copy_and_not_at_what_follows_it() -> None:
    """An induction head's pattern gives nothing, a duplicate-token head's all of what is moved."""
    model, sequences = golden_model(torch.float64, "sdpa"), padded([5, 7, 9, 5, 7, 9], period=[3])
    unit, positions = DuplicateTokenHead(1, 2), torch.arange(6)
    values: dict[int, float] = {}
    for back in (2, 3):
        stripe = torch.zeros(1, 4, 6, 6, dtype=torch.float64)
        stripe[0, 2, positions, (positions - back).clamp(min=0)] = 1
        with pytest.MonkeyPatch.context() as patch:
            given = (None, stripe, None)

            def patterns(model: Any, sequences: Any, given: Any = given) -> Any:
                attention_patterns(model, sequences)  # for the values
                return given

            patch.setattr(duplicate_token, "attention_patterns", patterns)
            values[back] = float(unit.probe(model, sequences))
    block = model.gpt_neox.layers[1]
    with torch.no_grad():
        hidden = model(input_ids=sequences.tokens, output_hidden_states=True).hidden_states[1]
        value = block.attention.query_key_value(block.input_layernorm(hidden))[0, :3].view(3, 4, 3, 16)[
            :, 2, 2
        ]
        moved = value @ block.attention.dense.weight[:, 32:48].T
    assert values[2] == 0 and values[3] == pytest.approx(float(moved.norm(dim=-1).sum()), rel=1e-6)


@every_kind
def test_law_3_padding_is_harmless(kind: str) -> None:
    """A padded batch is the mean of its sequences alone, in value and in gradient, whatever the padding token.

    Token 0, the padding, also occurs in the sequences.
    """
    model = golden_model(torch.float64, "sdpa")
    (unit,) = parse_units([f"{kind}:1.2"], model, "paper")
    rows = [[0, 7, 9, 0, 7], [3, 4, 3, 4, 3, 4, 5, 5, 0, 3], [0, 0, 0], [6, 0, 6, 0, 6, 0, 6]]
    alone = [probe_gradient(model, unit, padded(row)) for row in rows]
    for padding in (0, 7, 511):
        value, gradients = probe_gradient(model, unit, padded(*rows, padding=padding))
        assert value == pytest.approx(np.mean([value for value, _ in alone]), rel=1e-6)
        for name, gradient in gradients.items():
            mean = torch.stack([own[name] for _, own in alone]).mean(0)
            torch.testing.assert_close(gradient, mean, rtol=0, atol=1e-6 * float(mean.abs().max()))
