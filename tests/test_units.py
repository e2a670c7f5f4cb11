"""Law 3: probes have a gradient that finite differences confirm, are seeded, and score the right target.

A probe is a sum of log-likelihoods or attention entries. In float64 with SDPA the induction probe is exact to
about 1e-13, so a central difference with step 1e-5 is good to 1e-8. Attention patterns exist only in eager
attention, whose softmax is float32: the previous-token probe carries noise of about 1e-7, and a step h
gives an error of about 1e-7/h + h². At h = 5e-3 that is some 5e-5, hence its tolerance of 1e-3.
"""

import copy
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import oracle
import pytest
import torch
from conftest import GOLDEN, golden_model, random_model
from torch import Tensor
from transformers import PreTrainedModel

from curator.errors import CuratorError, UsageError
from curator.influence.probe_gradient import probe_gradient
from curator.units import (
    ProbeSettings,
    Sequences,
    Unit,
    draw_random,
    draw_repeated,
    kinds,
    load_sequences,
    load_unit_module,
    parse_units,
    register,
    registry,
)
from curator.units.induction import InductionHead, copy_targets
from curator.units.previous_token import PreviousTokenHead

SETTINGS = ProbeSettings(sequences=12, min_length=5, max_length=12, seed=0)
every_kind = pytest.mark.parametrize("kind", ["induction", "previous-token"])


def padded(*rows: list[int], period: list[int] | None = None, padding: int = 0) -> Sequences:
    longest = max(map(len, rows))
    tokens = torch.tensor([row + [padding] * (longest - len(row)) for row in rows])
    lengths = torch.tensor([len(row) for row in rows])
    return Sequences(tokens, lengths, None if period is None else torch.tensor(period))


def units_of(kind: str, model: PreTrainedModel) -> list[Unit]:
    return parse_units([f"{kind}:*"], model)


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


FINITE_DIFFERENCES = {"induction": (1e-5, 1e-6), "previous-token": (5e-3, 1e-3)}  # (step, relative tolerance)


@every_kind
@pytest.mark.parametrize("layer", [0, 1, 2])
def test_law_3_the_gradient_agrees_with_finite_differences(kind: str, layer: int) -> None:
    """Along random directions, and along the gradient itself, within each block's rows and columns alone."""
    model = copy.deepcopy(golden_model(torch.float64, "sdpa"))
    (unit,) = parse_units([f"{kind}:{layer}.{layer + 1}"], model)
    sequences = unit.sequences(SETTINGS, 512, 128)
    gradients = probe_gradient(model, unit, sequences)[1]
    step, tolerance = FINITE_DIFFERENCES[kind]
    generator = torch.Generator().manual_seed(layer)
    parts = oracle.head_parts(model, layer, layer + 1)
    for name, gradient in gradients.items():
        part, weight = parts[name], model.get_parameter(f"{parts[name].module}.weight")
        random = [torch.randn(gradient.shape, generator=generator, dtype=torch.float64) for _ in range(3)]
        for direction in [gradient, *random]:
            direction = direction / direction.norm()
            whole = torch.zeros_like(weight)
            whole[torch.tensor(part.outputs)[:, None], torch.tensor(part.inputs)] = direction.T
            values = []
            for sign in (1, -1):
                with torch.no_grad():
                    weight.add_(whole, alpha=sign * step)
                    values.append(float(unit.probe(model, sequences)))
                    weight.sub_(whole, alpha=sign * step)
            slope, expected = (values[0] - values[1]) / (2 * step), float((gradient * direction).sum())
            assert slope == pytest.approx(expected, abs=tolerance * float(gradient.norm())), name


def test_law_3_asking_for_a_gradient_leaves_the_model_as_it_was() -> None:
    model = copy.deepcopy(golden_model())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for spec in ("induction:1.2", "previous-token:1.2"):
        (unit,) = parse_units([spec], model)
        probe_gradient(model, unit, unit.sequences(SETTINGS, 512, 128))
    assert not any(p.requires_grad or p.grad is not None for p in model.parameters())
    assert model.config._attn_implementation == "sdpa"
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


# -- seeds ----------------------------------------------------------------------------------------------------


@every_kind
def test_law_3_same_seed_same_probe_other_seed_other_probe(kind: str) -> None:
    """Whatever the global generators do, and without touching them."""
    model = golden_model()
    (unit,) = parse_units([f"{kind}:0.0"], model)
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


@every_kind
def test_law_3_padding_is_harmless(kind: str) -> None:
    """A padded batch is the mean of its sequences alone, in value and in gradient, whatever the padding token.

    Token 0, the padding, also occurs in the sequences.
    """
    model = golden_model(torch.float64, "sdpa")
    (unit,) = parse_units([f"{kind}:1.2"], model)
    rows = [[0, 7, 9, 0, 7], [3, 4, 3, 4, 3, 4, 5, 5, 0, 3], [0, 0, 0], [6, 0, 6, 0, 6, 0, 6]]
    alone = [probe_gradient(model, unit, padded(row)) for row in rows]
    for padding in (0, 7, 511):
        value, gradients = probe_gradient(model, unit, padded(*rows, padding=padding))
        assert value == pytest.approx(np.mean([value for value, _ in alone]), rel=1e-6)
        for name, gradient in gradients.items():
            mean = torch.stack([own[name] for _, own in alone]).mean(0)
            torch.testing.assert_close(gradient, mean, rtol=0, atol=1e-6 * float(mean.abs().max()))


# -- metrics --------------------------------------------------------------------------------------------------


def patterns(n: int, heads: int, length: int, entries: dict[tuple[int, int, int, int], float]) -> Tensor:
    result = torch.zeros(n, heads, length, length)
    for place, value in entries.items():
        result[place] = value
    return result


def test_law_3_induction_metric_by_hand() -> None:
    """Copies of 3 tokens: query 3 looks at key 1, query 4 at key 2; the last query, 5, has nothing to copy."""
    sequences = padded([1, 2, 3, 1, 2, 3], [4, 5, 4, 5], period=[3, 2])
    entries = {
        (0, 0, 3, 1): 1.0, (0, 0, 4, 2): 1.0, (1, 0, 2, 1): 1.0,  # head 0 is perfect
        (0, 1, 3, 1): 0.5, (0, 1, 4, 2): 0.1, (1, 1, 2, 1): 0.2,  # head 1: (0.6 / 2 + 0.2 / 1) / 2
        (0, 2, 3, 0): 1.0, (0, 2, 4, 1): 1.0, (0, 2, 5, 3): 1.0, (1, 2, 3, 2): 1.0,  # head 2: beside the stripe
    }  # fmt: skip
    values = InductionHead.pattern_scores(patterns(2, 3, 6, entries), sequences)
    torch.testing.assert_close(values, torch.tensor([1.0, 0.25, 0.0]))


def test_law_3_induction_metric_refuses_sequences_without_copies() -> None:
    with pytest.raises(CuratorError, match="two copies"):
        InductionHead.pattern_scores(torch.zeros(1, 1, 3, 3), padded([1, 2, 3]))


def test_law_3_previous_token_metric_by_hand() -> None:
    sequences = padded([1, 2, 3, 4], [5, 6])
    entries = {
        (0, 0, 1, 0): 1.0, (0, 0, 2, 1): 1.0, (0, 0, 3, 2): 1.0, (1, 0, 1, 0): 1.0,  # head 0 is perfect
        (0, 1, 1, 0): 0.3, (0, 1, 3, 2): 0.3, (1, 1, 1, 0): 0.4, (1, 1, 2, 1): 9.0,  # the last is padding
        (0, 2, 1, 1): 1.0, (0, 2, 2, 0): 1.0, (0, 2, 3, 3): 1.0,  # head 2 never looks one back
    }  # fmt: skip
    values = PreviousTokenHead.pattern_scores(patterns(2, 3, 4, entries), sequences)
    torch.testing.assert_close(values, torch.tensor([1.0, (0.2 + 0.4) / 2, 0.0]))


def test_law_3_previous_token_metric_counts_only_the_first_copy() -> None:
    sequences = padded([1, 2, 3, 1, 2, 3], period=[3])
    entries = {(0, 0, 1, 0): 0.5, (0, 0, 2, 1): 0.5, (0, 0, 4, 3): 1.0}
    values = PreviousTokenHead.pattern_scores(patterns(1, 1, 6, entries), sequences)
    torch.testing.assert_close(values, torch.tensor([0.5]))


@every_kind
def test_law_3_the_metric_of_a_head_is_its_entry_among_all_heads(kind: str) -> None:
    """Layer and head are not swapped, and the trained golden model has both kinds of heads."""
    model = golden_model()
    sequences = draw_repeated(ProbeSettings(sequences=20), 512, 128)
    everything = kinds()[kind].all_heads(model, sequences)  # type: ignore[attr-defined]
    assert everything.shape == (3, 4) and float(everything.min()) >= 0 and float(everything.max()) <= 1
    for unit in units_of(kind, model):
        address = unit.layer, unit.head  # type: ignore[attr-defined]
        assert unit.metric(model, sequences) == pytest.approx(float(everything[address]), rel=1e-6)
    assert model.config._attn_implementation == "sdpa"


# -- specs ----------------------------------------------------------------------------------------------------


def names(specs: list[str]) -> list[str]:
    return [unit.name for unit in parse_units(specs, golden_model())]


def test_specs_wildcards_and_names_that_parse_back() -> None:
    everything = [f"induction:{layer}.{head}" for layer in range(3) for head in range(4)]
    assert names(["induction:*"]) == everything
    assert names(["induction:1.*"]) == everything[4:8]
    assert names(["induction:1.2", "induction:1.*", "previous-token:0.0"]) == [
        "induction:1.2", "induction:1.0", "induction:1.1", "induction:1.3", "previous-token:0.0",
    ]  # fmt: skip
    assert names(everything) == everything


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("induction:3.0", "layers 0 to 2 with heads 0 to 3"),
        ("induction:0.4", "layers 0 to 2 with heads 0 to 3"),
        ("induction:3.*", "layers 0 to 2 with heads 0 to 3"),
        ("induction:1", "induction:LAYER.HEAD"),
        ("induction:-1.0", "layers 0 to 2 with heads 0 to 3"),
        ("induction:", "induction:LAYER.HEAD"),
        ("induction:1.2.3", "induction:LAYER.HEAD"),
        ("induction", "induction, previous-token"),
        ("copying:1.2", "induction, previous-token"),
        ("", "induction, previous-token"),
    ],
)
def test_specs_an_unknown_unit_lists_what_exists(spec: str, says: str) -> None:
    with pytest.raises(UsageError) as error:
        names([spec])
    assert says in str(error.value) and f"'{spec}'" in str(error.value)


def test_specs_no_unit_at_all_lists_the_kinds() -> None:
    with pytest.raises(UsageError, match="induction, previous-token"):
        names([])


@dataclass(frozen=True)
class Other(InductionHead):
    """Another class that wants a taken name."""


def test_specs_a_kind_is_never_taken_over() -> None:
    with pytest.raises(UsageError, match=r"'induction' is taken by curator\.units\.induction\.InductionHead"):
        register(Other)
    assert kinds()["induction"] is InductionHead


def test_specs_two_user_files_cannot_claim_one_kind_in_silence(tmp_path: Any, monkeypatch: Any) -> None:
    """Also when files and classes are called the same, in two folders."""
    monkeypatch.setattr(registry, "_kinds", dict(registry._kinds))
    text = (
        "from curator.units import register\nfrom curator.units.induction import InductionHead\n\n\n"
        "class Mine(InductionHead):\n    kind = 'test-mine'\n    note = {note!r}\n\n\nregister(Mine)\n"
    )
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "units.py").write_text(text.format(note=folder))
    load_unit_module(tmp_path / "a" / "units.py")
    with pytest.raises(UsageError, match="test-mine"):
        load_unit_module(tmp_path / "b" / "units.py")


def test_specs_a_missing_unit_module_is_named(tmp_path: Any) -> None:
    with pytest.raises(UsageError, match=r"nothing\.py"):
        load_unit_module(tmp_path / "nothing.py")


# -- given probe tokens, and probes that cannot be --------------------------------------------------------------


def test_given_probe_tokens_are_taken_as_they_are() -> None:
    path = GOLDEN / "rows.npy"
    sequences = load_sequences(path, 512)
    np.testing.assert_array_equal(sequences.tokens.numpy(), np.load(path))
    assert sequences.lengths.tolist() == [129] * 256 and sequences.period is None


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.array([[1, 2], [3, 512]]), "512 at row 1, column 1"),
        (np.array([[1, 2], [-1, 3]]), "-1 at row 1, column 0"),
        (np.array([1, 2, 3]), r"\(3,\)"),
        (np.zeros((2, 3)), "float64"),
        (np.zeros((0, 3), np.int64), r"\(0, 3\)"),
    ],
)
def test_given_probe_tokens_that_cannot_be_are_refused(tmp_path: Any, array: np.ndarray, says: str) -> None:
    np.save(tmp_path / "tokens.npy", array)
    with pytest.raises(CuratorError, match=says):
        load_sequences(tmp_path / "tokens.npy", 512)


def test_an_induction_probe_without_repetition_is_refused() -> None:
    with pytest.raises(CuratorError, match="occurs twice"):
        probe_gradient(golden_model(), InductionHead(1, 2), padded([1, 2, 3], [4, 5, 6]))


@pytest.mark.parametrize(
    "settings",
    [
        {"sequences": 0},
        {"min_length": 1},
        {"min_length": 9, "max_length": 8},
        {"seed": -1},
    ],
)
def test_probe_settings_that_cannot_be_are_refused(settings: dict[str, int]) -> None:
    with pytest.raises(UsageError):
        draw_repeated(ProbeSettings(**settings), 512, 128)
