"""Mistakes seen elsewhere (DESIGN section 6), one regression test each, as far as they concern the engine.

Two more have their tests where the thing is tested: the probe scored one position early in test_units.py, and
the sampler that pads by repeating samples in test_rank_run.py.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import oracle
import pytest
import torch
from engine_parts import (
    fit_and_score,
    golden_model,
    golden_rows,
    random_labels,
    random_model,
    random_rows,
    relative_error,
)
from rank_runs import save_changed_model, small_request
from torch import Tensor, nn
from transformers import PreTrainedModel

from curator.artifacts.fields import Probe
from curator.artifacts.files import load_array, load_json
from curator.errors import CuratorError, UsageError
from curator.influence.curvature import Damping
from curator.influence.probe_gradient import probe_gradient
from curator.influence.taps import Taps
from curator.ranking.ranking import SIGN
from curator.ranking.run import rank
from curator.ranking.settings import RankSettings
from curator.units import (
    ProbeSettings,
    Sequences,
    parse_units,
)
from curator.units.induction import InductionHead

# -- freezing other heads ---------------------------------------------------------------------------------------


def frozen_gradient(model: PreTrainedModel, part: oracle.Part, head: int, row: Tensor) -> Tensor:
    """The mistake: the gradient of one head's weights with all other heads of *every* layer detached."""
    size = model.config.hidden_size // model.config.num_attention_heads

    def only_own_head(_: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor]:
        own = torch.zeros_like(args[0])
        own[..., head * size : (head + 1) * size] = 1
        return (args[0] * own + (args[0] * (1 - own)).detach(),)

    every = [model.get_submodule(f"gpt_neox.layers.{i}.attention.dense") for i in range(3)]
    handles = [dense.register_forward_pre_hook(only_own_head) for dense in every]
    try:
        gradients = oracle.weight_gradients(model, [part.module], lambda: oracle.sample_loss(model, row))
    finally:
        for handle in handles:
            handle.remove()
    return part.of(gradients[part.module])


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_mistake_other_heads_are_frozen_while_one_is_measured(layer: int) -> None:
    """At the last layer the mistake does not show; at every lower one it is large, and the engine is free of it."""
    model, head, row = golden_model(torch.float64, "eager"), 2, golden_rows()[0]
    for name, part in oracle.head_parts(model, layer, head).items():
        tapped = Taps(model, [part.module]).run(row[None])
        x, g = tapped.x[part.module][0], tapped.g[part.module][0]
        ours = part.of(g.T @ x)
        true = oracle.weight_gradients(model, [part.module], lambda: oracle.sample_loss(model, row))[
            part.module
        ]
        assert relative_error(ours, part.of(true)) < 1e-9, name
        mistake = relative_error(frozen_gradient(model, part, head, row), part.of(true))
        if layer == 2:
            assert mistake < 1e-9, name
        else:
            assert mistake > 0.01, name


def test_mistake_one_units_taps_change_what_another_unit_gets() -> None:
    """Taps only observe: the gradient at layer 0 is the same whether layers 1 and 2 are tapped or not."""
    model, row = golden_model(torch.float64, "eager"), golden_rows()[:2]
    name = "gpt_neox.layers.0.attention.dense"
    others = [
        f"gpt_neox.layers.{layer}.attention.{part}"
        for layer in (0, 1, 2)
        for part in ("dense", "query_key_value")
    ]
    alone, among = Taps(model, [name]).run(row), Taps(model, others).run(row)
    assert torch.equal(alone.x[name], among.x[name])
    assert relative_error(alone.g[name], among.g[name]) < 1e-12


# -- probes without a gradient, or without a seed -----------------------------------------------------------------


@dataclass(frozen=True)
class Constant(InductionHead):
    kind: ClassVar[str] = "test-constant"

    def probe(self, model: PreTrainedModel, sequences: Sequences) -> Tensor:
        return torch.tensor(1.0)


@dataclass(frozen=True)
class NeverAccumulated(InductionHead):
    kind: ClassVar[str] = "test-never-accumulated"

    def probe(self, model: PreTrainedModel, sequences: Sequences) -> Tensor:
        return 0 * super().probe(model, sequences)


@dataclass(frozen=True)
class ElsewhereInTheModel(InductionHead):
    """Its probe is an attention pattern of layer 0, which no weight of a higher layer can change."""

    kind: ClassVar[str] = "test-elsewhere"

    def probe(self, model: PreTrainedModel, sequences: Sequences) -> Tensor:
        (lower,) = parse_units(["previous-token:0.0"], model, "paper")
        return lower.probe(model, sequences)


@dataclass(frozen=True)
class OneBlockForgotten(InductionHead):
    """Its probe depends on the query-key block and not on the value block."""

    kind: ClassVar[str] = "test-forgotten"

    def probe(self, model: PreTrainedModel, sequences: Sequences) -> Tensor:
        (pattern,) = parse_units([f"previous-token:{self.layer}.{self.head}"], model, "paper")
        return pattern.probe(model, sequences)


@pytest.mark.parametrize(
    ("unit", "says"),
    [
        (Constant(1, 2), "does not depend"),
        (NeverAccumulated(1, 2), "zero gradient in its block 'qk'"),
        (ElsewhereInTheModel(1, 2), "does not depend"),
        (OneBlockForgotten(1, 2), "zero gradient in its block 'v'"),
    ],
    ids=lambda value: value.kind if isinstance(value, InductionHead) else "",
)
def test_mistake_a_probe_without_gradient_is_refused(unit: InductionHead, says: str) -> None:
    model = golden_model()
    with pytest.raises(CuratorError, match=says) as error:
        probe_gradient(model, unit, unit.sequences(ProbeSettings(sequences=4), 512, 128))
    assert unit.name in str(error.value)
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_mistake_an_unseeded_probe(tmp_path: Path) -> None:
    """Two runs agree to the bit whatever the global seeds; another probe seed is another ranking, and is recorded."""
    results = []
    for seed, probe_seed in ((1, 0), (2, 0), (2, 1)):
        torch.manual_seed(seed)
        np.random.seed(seed)
        probe = Probe(sequences=6, seed=probe_seed)
        results.append(rank(small_request(probe=probe, dtype="float64"), tmp_path / f"{seed}{probe_seed}"))
        assert results[-1].manifest["settings"]["probe"]["seed"] == probe_seed
        assert results[-1].manifest["settings"]["factor_seed"] == 0
    np.testing.assert_array_equal(results[0].scores, results[1].scores)
    assert relative_error(results[2].scores, results[0].scores) > 0.01
    prints = [ranking.manifest["fingerprints"]["probe_sequences"] for ranking in results]
    assert prints[0] == prints[1] != prints[2]


# -- eigenvalues --------------------------------------------------------------------------------------------------


def test_mistake_eigenvalues_from_the_square_of_a_batch_summed_gradient() -> None:
    """Λ is the mean over samples of each one's own squared gradient; the square of a batch's sum is far from it."""
    model, rows = random_model(), random_rows()
    labels = random_labels(rows)
    (unit,) = parse_units(["induction:1.1"], model, "paper")
    ours = fit_and_score(
        model, rows, [(unit, unit.sequences(ProbeSettings(sequences=3), 61, 32))], labels, batch=5
    )
    parts = list(oracle.head_parts(model, 1, 1).values())
    modules = {part.module for part in parts}
    gradients = [
        oracle.weight_gradients(model, modules, lambda row=row, own=own: oracle.sample_loss(model, row, own))  # type: ignore[misc]
        for row, own in zip(rows, labels[1])
    ]
    for curvature, part in zip(ours.curvature, parts):
        rotated = torch.stack([curvature.q_a.T @ part.of(g[part.module]) @ curvature.q_s for g in gradients])
        per_sample = rotated.square().mean(0)
        batch_summed = rotated.view(4, 5, *per_sample.shape).sum(1).square().sum(0) / 20
        assert relative_error(curvature.eigenvalues, per_sample) < 1e-9
        assert relative_error(batch_summed, per_sample) > 0.1


# -- names, signs and settings ------------------------------------------------------------------------------------


def test_mistake_factors_are_reused_for_another_checkpoint(tmp_path: Path) -> None:
    """The same folder with other weights: refused, naming both fingerprints; nothing in it changes."""
    ranking = rank(small_request(), tmp_path / "ranking")
    before = {path: path.read_bytes() for path in ranking.path.rglob("*") if path.is_file()}
    save_changed_model(tmp_path / "other", "gpt_neox.layers.2.mlp.dense_h_to_4h.weight", 0.123)
    fresh = rank(small_request(model=str(tmp_path / "other")), tmp_path / "fresh")
    prints = [each.manifest["fingerprints"]["model"] for each in (ranking, fresh)]
    assert prints[0] != prints[1]
    with pytest.raises(CuratorError) as error:
        rank(small_request(model=str(tmp_path / "other")), ranking.path)
    assert f"fingerprints.model: there {prints[0]!r}, asked for {prints[1]!r}" in str(error.value)
    assert before == {path: path.read_bytes() for path in ranking.path.rglob("*") if path.is_file()}


def test_mistake_only_the_top_is_kept_or_the_sign_is_not_stated(tmp_path: Path) -> None:
    """All samples, with the sign in words in the manifest, and the sign in the numbers is the one in the words."""
    ranking = rank(small_request(dtype="float64", samples=(2, 11)), tmp_path / "ranking")
    assert ranking.manifest["sign_convention"] == SIGN
    assert "positive = training on the sample raises the probe" in SIGN
    assert (
        len(ranking) == 9
        and ranking.scores.shape == (1, 9)
        and ranking.samples.tolist() == list(range(2, 11))
    )
    model = golden_model(torch.float64, "eager")
    parts = oracle.head_parts(model, 1, 2)
    queries = {
        entry["name"]: torch.tensor(load_array(ranking.path / "queries" / entry["file"]))
        for entry in load_json(ranking.path / "queries" / "index.json")["blocks"]
    }
    scores, losses = oracle.scores(model, golden_rows()[2:11], parts, queries)
    assert [key.block for key in ranking.block_keys] == list(scores)
    assert relative_error(ranking.blocks, torch.stack(list(scores.values()))) < 1e-9
    assert relative_error(ranking.scores[0], torch.stack(list(scores.values())).sum(0)) < 1e-9
    assert relative_error(ranking.losses, losses) < 1e-9


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"dtype": "float16"}, "bfloat16, float32, float64"),
        ({"fisher": "true"}, "empirical, sampled"),
        ({"micro_batch": 0}, "micro_batch"),
        ({"shard_size": 0}, "shard_size"),
        ({"factor_samples": 0}, "factor_samples"),
        ({"factor_seed": -1}, "factor_seed"),
    ],
)
def test_mistake_unknown_settings_are_accepted_in_silence(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        small_request(**settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"mode": "median"},
        {"alpha": -0.1},
        {"floor": 0.0},
        {"alpha": float("nan")},
        {"alpha": float("inf")},
        {"floor": float("nan")},
    ],
)
def test_mistake_a_damping_that_cannot_be_is_accepted_in_silence(settings: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        Damping(**settings)


def test_mistake_unknown_names_of_settings_are_accepted_in_silence() -> None:
    for kind in (RankSettings, Damping, ProbeSettings):
        with pytest.raises((UsageError, TypeError), match="dampening"):
            kind(dampening=1)  # type: ignore[call-arg]


def test_taps_on_a_layer_that_does_not_exist_list_those_that_do() -> None:
    with pytest.raises(CuratorError, match=r"gpt_neox\.layers\.0\.attention\.query_key_value"):
        Taps(golden_model(), ["gpt_neox.layers.9.attention.dense"])
