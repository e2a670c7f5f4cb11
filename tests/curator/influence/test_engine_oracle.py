"""Law 1: scores equal a per-sample autograd loop (`oracle.py`), at every layer and for every kind of unit.

A random 3-layer model in float64, with the same attention (eager, or SDPA) on both sides. Everything is scored
in one pass: all heads of all layers, two probes on the same heads, and units that come from a user's own file.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import oracle
import pytest
import torch
from engine_parts import (
    Engine,
    fit_and_score,
    golden_model,
    golden_rows,
    random_labels,
    random_model,
    random_rows,
    relative_error,
)
from torch import Tensor
from transformers import PreTrainedModel

from curator.artifacts.fields import Probe
from curator.influence.head_attention import lowest_heads
from curator.influence.taps import Taps
from curator.ranking.run import rank
from curator.ranking.settings import RankSettings
from curator.units import (
    Block,
    ProbeSettings,
    Sequences,
    Unit,
    load_unit_module,
    parse_units,
    registry,
)
from curator.units.base import take

# One length: padding would change the order in which the float32 softmax of eager attention sums, by 1e-9.
SETTINGS = ProbeSettings(sequences=5, min_length=6, max_length=6, seed=3)
EXACT = 1e-9
both_residuals = pytest.mark.parametrize("parallel", [True, False], ids=["parallel", "sequential"])

USER_FILE = '''"""A user's own units: a neuron of an MLP, and scattered weights that cross heads."""

from dataclasses import dataclass

from curator.units import Block, Unit, register


def likelihood(model, sequences):
    logits = model(input_ids=sequences.tokens, use_cache=False).logits[:, :-1].log_softmax(-1)
    own = logits.gather(-1, sequences.tokens[:, 1:, None])[..., 0]
    return (own * sequences.valid()[:, 1:]).sum() / len(sequences.tokens)


@dataclass(frozen=True)
class Addressed(Unit):
    layer: int
    number: int

    @property
    def name(self):
        return f"{self.kind}:{self.layer}.{self.number}"

    @classmethod
    def parse(cls, address, model):
        layer, number = address.split(".")
        return [cls(int(layer), int(number))]

    def metric(self, model, sequences):
        return float(likelihood(model, sequences))

    def probe(self, model, sequences):
        return likelihood(model, sequences)


@register
class Neuron(Addressed):
    kind = "test-neuron"

    def subspace(self, model):
        mlp, own = f"gpt_neox.layers.{self.layer}.mlp", range(self.number, self.number + 1)
        everything = range(model.config.hidden_size)
        return [
            Block("in", f"{mlp}.dense_h_to_4h", everything, own),
            Block("out", f"{mlp}.dense_4h_to_h", own, everything),
        ]


@register
class Scattered(Addressed):
    kind = "test-scattered"

    def subspace(self, model):
        rows = tuple(range(self.number, 3 * model.config.hidden_size, 7))
        name = f"gpt_neox.layers.{self.layer}.attention.query_key_value"
        return [Block("some", name, (0, 2, 3, 20), rows)]
'''


@pytest.fixture
def user_units(tmp_path: Path) -> Iterator[Path]:
    """The user's file, its kinds registered for one test."""
    before = dict(registry._kinds)
    path = tmp_path / "my_units.py"
    path.write_text(USER_FILE)
    load_unit_module(path)
    yield path
    registry._kinds.clear()
    registry._kinds.update(before)


@dataclass(frozen=True)
class Case:
    """One unit as the engine sees it, and the same as the oracle writes it down."""

    unit: Unit
    parts: dict[str, oracle.Part]
    probe: Callable[[PreTrainedModel, list[list[int]]], Tensor]

    def sequences(self) -> Sequences:
        return self.unit.sequences(SETTINGS, vocab_size=61, max_length=32)


def induction_case(model: PreTrainedModel, layer: int, head: int) -> Case:
    (unit,) = parse_units([f"induction:{layer}.{head}"], model, "paper")
    return Case(unit, oracle.head_parts(model, layer, head), oracle.induction_probe)


def previous_token_case(model: PreTrainedModel, layer: int, head: int) -> Case:
    (unit,) = parse_units([f"previous-token:{layer}.{head}"], model, "paper")
    probe = partial(oracle.previous_token_probe, layer=layer, head=head)
    return Case(unit, {"qk": oracle.head_parts(model, layer, head)["qk"]}, probe)


def duplicate_token_case(model: PreTrainedModel, layer: int, head: int) -> Case:
    (unit,) = parse_units([f"duplicate-token:{layer}.{head}"], model, "paper")
    probe = partial(oracle.duplicate_token_probe, layer=layer, head=head)
    return Case(unit, oracle.head_parts(model, layer, head), probe)


def likelihood(model: PreTrainedModel, sequences: list[list[int]]) -> Tensor:
    """The probe of the user's file, a second time."""
    total = torch.zeros(())
    for tokens in sequences:
        logits = model(input_ids=torch.tensor([tokens]), use_cache=False).logits[0].log_softmax(-1)
        for t in range(len(tokens) - 1):
            total = total + logits[t, tokens[t + 1]]
    return total / len(sequences)


def neuron_case(model: PreTrainedModel, layer: int, neuron: int) -> Case:
    (unit,) = parse_units([f"test-neuron:{layer}.{neuron}"], model, "paper")
    mlp, everything = f"gpt_neox.layers.{layer}.mlp", tuple(range(24))
    parts = {
        "in": oracle.Part(f"{mlp}.dense_h_to_4h", everything, (neuron,)),
        "out": oracle.Part(f"{mlp}.dense_4h_to_h", (neuron,), everything),
    }
    return Case(unit, parts, likelihood)


def scattered_case(model: PreTrainedModel, layer: int, start: int) -> Case:
    (unit,) = parse_units([f"test-scattered:{layer}.{start}"], model, "paper")
    module = f"gpt_neox.layers.{layer}.attention.query_key_value"
    return Case(unit, {"some": oracle.Part(module, (0, 2, 3, 20), tuple(range(start, 72, 7)))}, likelihood)


def every_head(model: PreTrainedModel) -> list[Case]:
    return [induction_case(model, layer, head) for layer in range(3) for head in range(3)]


def engine_says(model: PreTrainedModel, cases: list[Case], batch: int = 8) -> Engine:
    rows = random_rows()
    probes = [(case.unit, case.sequences()) for case in cases]
    return fit_and_score(model, rows, probes, random_labels(rows), batch)


@dataclass(frozen=True)
class Truth:
    """What the oracle says, by ``unit/block``."""

    gradients: dict[str, Tensor]
    blocks: dict[str, oracle.Truth]
    scores: dict[str, Tensor]
    losses: Tensor


def oracle_says(
    model: PreTrainedModel, cases: list[Case], rows: Tensor, labels: tuple[Tensor, Tensor]
) -> Truth:
    parts: dict[str, oracle.Part] = {}
    gradients: dict[str, Tensor] = {}
    for case in cases:
        sequences = case.sequences()
        tokens = [row[:n] for row, n in zip(sequences.tokens.tolist(), sequences.lengths.tolist())]
        modules = [part.module for part in case.parts.values()]
        whole = oracle.weight_gradients(model, modules, partial(case.probe, model, tokens))
        for block, part in case.parts.items():
            parts[f"{case.unit.name}/{block}"] = part
            gradients[f"{case.unit.name}/{block}"] = part.of(whole[part.module])
    blocks = oracle.curvature_and_queries(model, rows, labels, parts, gradients)
    scores, losses = oracle.scores(model, rows, parts, {name: true.query for name, true in blocks.items()})
    return Truth(gradients, blocks, scores, losses)


def assert_equals_oracle(model: PreTrainedModel, cases: list[Case]) -> None:
    """Probe gradients, A, S, Λ, queries, scores and losses of all cases, from one pass of the engine."""
    ours = engine_says(model, cases)
    truth = oracle_says(model, cases, random_rows(), random_labels(random_rows()))
    assert ours.names == list(truth.blocks)
    for number, name in enumerate(ours.names):
        curvature, true = ours.curvature[number], truth.blocks[name]
        errors = {
            "probe gradient": relative_error(ours.probe_gradients[number], truth.gradients[name]),
            "A": relative_error(curvature.a, true.a),
            "S": relative_error(curvature.s, true.s),
            "eigenvalues": relative_error(curvature.eigenvalues, true.eigenvalues),
            "query": relative_error(ours.queries[number], true.query),
            "score": relative_error(ours.scores[number], truth.scores[name]),
        }
        assert max(errors.values()) < EXACT, (name, errors)
    assert relative_error(ours.losses, truth.losses) < EXACT


@both_residuals
def test_law_1_every_head_of_every_layer_in_one_pass_equals_the_oracle(parallel: bool) -> None:
    model = random_model(parallel)
    assert_equals_oracle(model, every_head(model))


@both_residuals
def test_law_1_several_probes_on_the_same_heads_in_one_pass_equal_the_oracle(parallel: bool) -> None:
    """Their query-key blocks are the same weights with other queries: panels that overlap."""
    model, kinds = random_model(parallel), (induction_case, previous_token_case, duplicate_token_case)
    cases = [case(model, layer, 1) for layer in range(3) for case in kinds]
    assert_equals_oracle(model, cases)


@both_residuals
def test_law_1_a_users_own_units_equal_the_oracle_without_a_change_in_the_engine(
    parallel: bool, user_units: Path
) -> None:
    """A neuron at each layer and scattered weights, beside heads whose blocks they overlap."""
    model = random_model(parallel)
    cases = [neuron_case(model, 0, 5), neuron_case(model, 2, 0), neuron_case(model, 2, 39)]
    cases += [scattered_case(model, 1, 0), induction_case(model, 1, 0), scattered_case(model, 1, 3)]
    assert_equals_oracle(model, cases)


@both_residuals
def test_law_1_a_whole_run_from_files_to_files_equals_the_oracle(
    parallel: bool, user_units: Path, tmp_path: Path
) -> None:
    """`rank` on a saved model, with heads, a user's neuron and labels of the data (empirical Fisher)."""
    model, rows = random_model(parallel), random_rows()
    model.save_pretrained(tmp_path / "model")
    np.save(tmp_path / "rows.npy", rows.numpy().astype(np.uint16))
    cases = [induction_case(model, 0, 2), neuron_case(model, 1, 7), previous_token_case(model, 1, 0)]
    cases.append(duplicate_token_case(model, 2, 1))
    request = RankSettings(
        model=str(tmp_path / "model"),
        corpus=tmp_path / "rows.npy",
        units=tuple(case.unit.name for case in cases),
        unit_modules=(user_units,),
        probe=Probe(name="paper", **SETTINGS.recorded()),
        fisher="empirical",
        dtype="float64",
        micro_batch=3,
        shard_size=7,
    )
    ranking = rank(request, tmp_path / "ranking")
    truth = oracle_says(model, cases, rows, (rows[:, 1:], rows[:, 1:]))
    assert list(map(str, ranking.block_keys)) == list(truth.scores)
    for scores, (name, true) in zip(ranking.blocks, truth.scores.items()):
        assert relative_error(scores, true) < EXACT, name
    for case in cases:
        own = [true for name, true in truth.scores.items() if name.startswith(f"{case.unit.name}/")]
        assert relative_error(ranking.unit_scores(case.unit.name), torch.stack(own).sum(0)) < EXACT
    assert relative_error(ranking.losses, truth.losses) < EXACT


def test_law_1_a_unit_alone_scores_as_it_does_among_all_others() -> None:
    """The lowest tapped layer is another one, so the backward pass is cut at another place."""
    model = random_model()
    together = engine_says(model, every_head(model))
    for layer, head in ((0, 1), (1, 2), (2, 0)):
        alone = engine_says(model, [induction_case(model, layer, head)])
        rows = [together.names.index(name) for name in alone.names]
        assert relative_error(alone.scores, together.scores[rows]) < 1e-12


@pytest.mark.parametrize(
    "specs", [["induction:0.1"], ["induction:1.2", "previous-token:1.1"], ["induction:2.3"]]
)
def test_law_1_skipping_other_heads_of_the_lowest_layer_changes_no_score(specs: list[str]) -> None:
    """SDPA in float64: taps that skip heads nobody asked about against taps that skip none."""
    model = golden_model(torch.float64)
    rows = golden_rows()[:5]
    blocks = [block for unit in parse_units(specs, model, "paper") for block in unit.subspace(model)]
    modules = [block.module for block in blocks]
    some, every = Taps.of_blocks(model, blocks), Taps(model, modules)
    assert some.lowest is not None and every.lowest is None
    a, b = some.run(rows), every.run(rows)
    for block in blocks:
        torch.testing.assert_close(a.x[block.module], b.x[block.module], rtol=1e-12, atol=0)
        ours, theirs = (take(tapped.g[block.module], block.outputs) for tapped in (a, b))
        assert (ours - theirs).abs().max() <= 1e-12 * theirs.abs().max()
    assert model.config._attn_implementation == "sdpa"


@both_residuals
@pytest.mark.parametrize("heads", [[(0, 1)], [(1, 2)], [(1, 0), (1, 2)], [(0, 2), (2, 0)], [(2, 1)]], ids=str)
def test_law_1_sdpa_that_skips_heads_equals_the_oracle(parallel: bool, heads: list[tuple[int, int]]) -> None:
    """Heads at one or two layers, adjacent or not, where the unpatched SDPA is the oracle's."""
    model = random_model(parallel, attention="sdpa")
    cases = [induction_case(model, *head) for head in heads]
    blocks = [block for case in cases for block in case.unit.subspace(model)]
    assert (lowest_heads(model, blocks) is None) == (heads == [(1, 0), (1, 2)])
    assert_equals_oracle(model, cases)


@both_residuals
def test_law_1_sdpa_that_skips_heads_beside_a_neuron_of_the_layer_equals_the_oracle(
    parallel: bool, user_units: Path
) -> None:
    """With a sequential residual, the MLP reads what the attention of its layer wrote."""
    model = random_model(parallel, attention="sdpa")
    cases = [induction_case(model, 1, 0), neuron_case(model, 1, 3), scattered_case(model, 2, 1)]
    assert_equals_oracle(model, cases)
    assert_equals_oracle(model, [neuron_case(model, 0, 3), induction_case(model, 1, 0)])


def test_law_1_a_pass_that_fails_leaves_the_attention_as_it_was() -> None:
    model = random_model(attention="sdpa")
    blocks = induction_case(model, 0, 1).unit.subspace(model)
    with pytest.raises((RuntimeError, IndexError)):
        Taps.of_blocks(model, blocks).run(random_rows(), labels=torch.zeros(3, 2, dtype=torch.long))
    assert model.config._attn_implementation == "sdpa"
    assert_equals_oracle(model, [induction_case(model, 2, 1)])


def test_law_1_heads_are_skipped_only_where_no_gradient_passes() -> None:
    model = golden_model()
    blocks = {
        spec: parse_units([spec], model, "paper")[0].subspace(model)
        for spec in ("induction:0.1", "induction:2.3")
    }
    both = [*blocks["induction:0.1"], *blocks["induction:2.3"]]
    assert lowest_heads(model, both) == ("gpt_neox.layers.0.attention", range(1, 2))
    foreign = Block("up", "gpt_neox.layers.0.mlp.dense_h_to_4h", range(64), range(3, 4))
    assert lowest_heads(model, [*blocks["induction:2.3"], foreign]) is None
    unknown = Block("out", "lm_head", range(64), range(3, 4))
    assert lowest_heads(model, [*both, unknown]) is None
    every = [
        block for unit in parse_units(["induction:0.*"], model, "paper") for block in unit.subspace(model)
    ]
    assert lowest_heads(model, every) is None
