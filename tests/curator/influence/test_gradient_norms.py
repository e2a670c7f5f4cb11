"""Norms of samples' gradients equal those of a per-sample autograd loop, whichever way they are computed."""

import oracle
import pytest
import torch
from engine_parts import random_model, random_rows, relative_error

from curator.influence import norms
from curator.influence.norms import GradientNorms
from curator.influence.taps import Taps
from curator.units import parse_units

HEADS = [(layer, head) for layer in range(3) for head in range(3)]


@pytest.fixture
def ways(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How often each way was taken."""
    taken = {"_by_tokens": 0, "_by_entries": 0}
    for name in taken:
        way = getattr(norms, name)

        def counted(*args: object, name: str = name, way: object = way) -> torch.Tensor:
            taken[name] += 1
            return way(*args)  # type: ignore[operator,no-any-return]

        monkeypatch.setattr(norms, name, counted)
    return taken


@pytest.mark.parametrize("seq", [2, 15, 30])
def test_law_1_norms_equal_the_oracle_at_every_layer(seq: int, ways: dict[str, int]) -> None:
    """Rows so short that products of tokens are cheaper, so long that they are not, and in between."""
    model, rows = random_model(), random_rows(7, seq)
    found = parse_units(
        ["induction:*", "previous-token:1.1"], model, "paper"
    )  # the last shares a block with a head
    blocks = [block for unit in found for block in unit.subspace(model)]
    ours = GradientNorms(blocks)(Taps.of_blocks(model, blocks).run(rows))
    parts = [part for layer, head in HEADS for part in oracle.head_parts(model, layer, head).values()]
    parts.append(oracle.head_parts(model, 1, 1)["qk"])
    assert ours.shape == (len(parts), 7) and ours.dtype == torch.float64
    for column, row in enumerate(rows):
        modules = {part.module for part in parts}
        gradients = oracle.weight_gradients(model, modules, lambda row=row: oracle.sample_loss(model, row))  # type: ignore[misc]
        truth = torch.stack([part.of(gradients[part.module]).norm() for part in parts])
        assert relative_error(ours[:, column], truth) < 1e-10
    by_tokens, by_entries = ways["_by_tokens"], ways["_by_entries"]
    assert {2: by_entries == 0, 15: by_tokens > 0 and by_entries > 0, 30: by_tokens == 0}[seq]


@pytest.mark.parametrize("seq", [2, 30])
def test_law_2_pieces_of_a_batch_change_nothing(
    seq: int, ways: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six groups of blocks, at once or sample by sample where memory is for one alone."""
    model, rows = random_model(), random_rows(7, seq)
    blocks = [
        block for unit in parse_units(["induction:*"], model, "paper") for block in unit.subspace(model)
    ]
    tapped = Taps.of_blocks(model, blocks).run(rows)
    whole = GradientNorms(blocks)(tapped)
    assert sum(ways.values()) == 6
    monkeypatch.setattr(norms, "_CHUNK", 1)
    assert relative_error(GradientNorms(blocks)(tapped), whole) < 1e-12
    assert sum(ways.values()) == 6 + 6 * 7


def test_norms_of_one_head_alone_equal_those_of_its_gradients() -> None:
    """Blocks that share a side with no other head's, against the gradients themselves."""
    model, rows = random_model(), random_rows(3, 30)
    blocks = [
        block for unit in parse_units(["induction:2.1"], model, "paper") for block in unit.subspace(model)
    ]
    tapped = Taps.of_blocks(model, blocks).run(rows)
    for panel, block in zip(GradientNorms(blocks)(tapped), blocks):
        x, g = (
            tapped.x[block.module][..., list(block.inputs)],
            tapped.g[block.module][..., list(block.outputs)],
        )
        assert relative_error(panel, torch.einsum("bti,bto->bio", x, g).flatten(1).norm(dim=1)) < 1e-12
