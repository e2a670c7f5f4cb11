"""Law 3, the rest of a unit: its metric by hand, its name, and probes and sequences that are refused."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from engine_parts import GOLDEN, golden_model, padded
from torch import Tensor
from transformers import PreTrainedModel

from curator.artifacts.block_key import BlockKey
from curator.errors import CuratorError, UsageError
from curator.influence.probe_gradient import probe_gradient
from curator.units import (
    ProbeSettings,
    Unit,
    draw_repeated,
    kinds,
    load_sequences,
    load_unit_module,
    parse_units,
    register,
    registry,
)
from curator.units.duplicate_token import DuplicateTokenHead
from curator.units.induction import InductionHead
from curator.units.previous_token import PreviousTokenHead

SETTINGS = ProbeSettings(sequences=12, min_length=5, max_length=12, seed=0)
every_kind = pytest.mark.parametrize("kind", ["induction", "previous-token", "duplicate-token"])


def units_of(kind: str, model: PreTrainedModel) -> list[Unit]:
    return parse_units([f"{kind}:*"], model, "paper")


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


def test_law_3_duplicate_token_metric_by_hand() -> None:
    """Mean over the tokens that have an earlier copy of the mass on all of them."""
    sequences = padded([1, 2, 3, 1, 2, 3], [4, 4, 4, 5])
    entries = {
        (0, 0, 3, 0): 1.0, (0, 0, 4, 1): 1.0, (0, 0, 5, 2): 1.0, (1, 0, 1, 0): 1.0,
        (1, 0, 2, 0): 0.5, (1, 0, 2, 1): 0.5,  # head 0 is perfect: query 2 has two copies
        (0, 1, 3, 0): 0.3, (0, 1, 4, 1): 0.3, (1, 1, 1, 0): 0.4,  # head 1: (0.6 / 3 + 0.4 / 2) / 2
        (0, 2, 3, 1): 1.0, (0, 2, 4, 4): 1.0, (0, 2, 1, 0): 1.0, (1, 2, 3, 0): 1.0, (1, 2, 5, 4): 1.0,  # none
    }  # fmt: skip
    values = DuplicateTokenHead.pattern_scores(patterns(2, 3, 6, entries), sequences)
    torch.testing.assert_close(values, torch.tensor([1.0, 0.2, 0.0]))


def test_a_duplicate_token_head_needs_repeated_tokens() -> None:
    with pytest.raises(CuratorError, match="occurs twice"):
        probe_gradient(golden_model(), DuplicateTokenHead(1, 2), padded([1, 2, 3], [4, 5, 6]))


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
    return [unit.name for unit in parse_units(specs, golden_model(), "paper")]


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


def test_a_block_is_two_words_and_reads_back_from_what_lies_on_disk() -> None:
    """Also of a unit whose own name has a slash."""
    for key in (BlockKey("induction:1.2", "qk"), BlockKey("sae:a/b.3@1", "in")):
        assert BlockKey.parse(str(key)) == key
    assert str(BlockKey("induction:1.2", "qk")) == "induction:1.2/qk"


# -- given probe tokens, and probes that cannot be --------------------------------------------------------------


def test_given_probe_tokens_are_taken_as_they_are() -> None:
    path = GOLDEN / "rows.npy"
    sequences = load_sequences(path, 512, 129)
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
        (np.zeros((1, 129), np.int64), "129 tokens, but the model has 128 positions"),
    ],
)
def test_given_probe_tokens_that_cannot_be_are_refused(tmp_path: Any, array: np.ndarray, says: str) -> None:
    np.save(tmp_path / "tokens.npy", array)
    with pytest.raises(CuratorError, match=says):
        load_sequences(tmp_path / "tokens.npy", 512, 128)


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
