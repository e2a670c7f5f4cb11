"""Law 2: batches, windows and company change no factor, query or score; labels belong to their sample."""

from functools import cache

import numpy as np
import pytest
import torch
from engine_parts import (
    Engine,
    fit_and_score,
    random_labels,
    random_model,
    random_rows,
    relative_error,
    score,
)
from torch import Tensor

from curator.influence.labels import SampledLabels
from curator.influence.taps import Taps
from curator.units import (
    ProbeSettings,
    parse_units,
)

EXACT = 1e-9
SETTINGS = ProbeSettings(sequences=5, min_length=6, max_length=6, seed=3)


@cache
def batched(batch: int) -> Engine:
    """Every head of every layer of the random model, in batches of ``batch``."""
    model, rows = random_model(), random_rows()
    probes = [
        (unit, unit.sequences(SETTINGS, 61, 32)) for unit in parse_units(["induction:*"], model, "paper")
    ]
    return fit_and_score(model, rows, probes, random_labels(rows), batch)


@pytest.mark.parametrize("batch", [1, 3, 20])
def test_law_2_batch_size_changes_no_factor_query_or_score(batch: int) -> None:
    one, other = batched(batch), batched(8)
    for number, name in enumerate(one.names):
        for quantity in ("a", "s", "eigenvalues"):
            ours, theirs = (getattr(engine.curvature[number], quantity) for engine in (one, other))
            assert relative_error(ours, theirs) < 1e-12, (name, quantity)
        assert relative_error(one.queries[number], other.queries[number]) < EXACT, name
        assert relative_error(one.scores[number], other.scores[number]) < EXACT, name
    assert relative_error(one.losses, other.losses) < 1e-12


def test_law_2_a_sub_window_scores_as_it_does_within_the_whole() -> None:
    model, whole = random_model(), batched(8)
    blocks = [
        block for unit in parse_units(["induction:*"], model, "paper") for block in unit.subspace(model)
    ]
    scores, losses = score(model, random_rows()[5:12], blocks, whole.queries, batch=4)
    assert relative_error(scores, whole.scores[:, 5:12]) < 1e-12
    assert relative_error(losses, whole.losses[5:12]) < 1e-12


def test_law_2_a_sample_scores_the_same_whatever_stands_beside_it_in_the_batch() -> None:
    model, whole = random_model(), batched(8)
    blocks = [
        block for unit in parse_units(["induction:*"], model, "paper") for block in unit.subspace(model)
    ]
    order = torch.randperm(20, generator=torch.Generator().manual_seed(4))
    scores, _ = score(model, random_rows()[order], blocks, whole.queries, batch=6)
    assert relative_error(scores, whole.scores[:, order]) < 1e-12


def test_law_2_sampled_labels_do_not_depend_on_the_batch_layout() -> None:
    """Keyed by (seed, sweep, sample index): each other key gives other labels, and batches change none."""
    model, rows = random_model(), random_rows()
    taps = Taps(model, ["gpt_neox.layers.2.attention.dense"])

    def drawn(seed: int, sweep: int, batch: int, samples: np.ndarray) -> Tensor:
        parts = []
        for low in range(0, len(samples), batch):
            index = samples[low : low + batch]
            parts.append(taps.run(rows[index], **SampledLabels(seed)(index, 15, sweep)).labels)
        return torch.cat(parts)

    everything = np.arange(20)
    labels = drawn(0, 1, 20, everything)
    for batch in (1, 3, 7):
        assert torch.equal(drawn(0, 1, batch, everything), labels)
    uniforms = SampledLabels(0)(everything, 15, 1)["uniforms"]
    assert len(uniforms.unique()) == uniforms.numel(), "every token of every sample has a number of its own"
    some = np.array([17, 2, 5])
    assert torch.equal(drawn(0, 1, 2, some), labels[some])
    assert not torch.equal(drawn(1, 1, 20, everything), labels)
    assert not torch.equal(drawn(0, 2, 20, everything), labels)
