"""Laws 3 and 4 of the probes that a kind has beside the paper's, and where their tokens come from.

Tolerances as in tests/curator/influence/test_engine_probes.py: log-likelihoods are exact in float64, attention patterns
have a float32 softmax.
"""

import copy
from collections.abc import Mapping
from functools import cache
from operator import itemgetter
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar, cast, get_args

import numpy as np
import oracle
import pytest
import torch
from engine_parts import golden_model, golden_rows, padded
from torch import Tensor

from curator.artifacts.fields import ProbeName
from curator.corpus import Corpus, open_corpus
from curator.corpus.npy import NpyCorpus
from curator.errors import CuratorError, UsageError
from curator.influence.probe_gradient import probe_gradient
from curator.units import ProbeSettings, Sequences, Unit, kinds, parse_units, register
from curator.units.induction import InductionHead
from curator.units.natural import draw_frequent, draw_repeated_frequent, draw_rows

ASKED = [
    *(("induction", probe) for probe in ("frequency", "gain", "natural", "attention")),
    *(("previous-token", probe) for probe in ("frequency", "natural")),
]
every_probe = pytest.mark.parametrize(("kind", "probe"), ASKED)
EXACT = {"frequency", "gain", "natural"}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    path = tmp_path_factory.mktemp("corpus") / "rows.npy"
    np.save(path, golden_rows().numpy().astype(np.uint16))
    return open_corpus(path)


def settings(corpus: Corpus, seed: int = 0, **known: object) -> ProbeSettings:
    return ProbeSettings(sequences=12, min_length=5, max_length=12, seed=seed, corpus=corpus, **known)  # type: ignore[arg-type]


def unit_of(kind: str, probe: str, layer: int = 1, head: int = 2) -> Unit:
    [unit] = parse_units([f"{kind}:{layer}.{head}:{probe}"], golden_model())
    return unit


def test_every_probe_is_a_name_and_every_name_a_probe() -> None:
    named = {
        probe for kind in kinds().values() if kind.__module__.startswith("curator.") for probe in kind.PROBES
    }
    assert named == set(get_args(ProbeName))
    assert {(kind, probe) for kind in ("induction", "previous-token") for probe in kinds()[kind].PROBES} == {
        *ASKED, ("induction", "paper"), ("previous-token", "paper")
    }  # fmt: skip


@every_probe
def test_law_3_a_probes_gradient_agrees_with_finite_differences(
    kind: str, probe: str, corpus: Corpus
) -> None:
    """Along the gradient and along a random direction, in every block of the probe's subspace, below other layers."""
    layer = 0
    model = copy.deepcopy(golden_model(torch.float64, "sdpa"))
    unit = unit_of(kind, probe, layer, layer + 1)
    sequences = unit.sequences(settings(corpus), 512, 128)
    gradients = probe_gradient(model, unit, sequences)[1]
    step, tolerance = (1e-5, 1e-6) if kind == "induction" and probe in EXACT else (5e-3, 2e-3)
    generator = torch.Generator().manual_seed(layer)
    parts = oracle.head_parts(model, layer, layer + 1)
    assert list(gradients) == [block.name for block in unit.subspace(model)]
    for name, gradient in gradients.items():
        assert float(gradient.abs().max()) > 1e-5
        for direction in (gradient, torch.randn(gradient.shape, generator=generator, dtype=torch.float64)):
            direction = direction / direction.norm()
            slope = oracle.slope(model, parts[name], direction, step, lambda: unit.probe(model, sequences))
            expected = float((gradient * direction).sum())
            assert slope == pytest.approx(expected, abs=tolerance * float(gradient.norm())), name


@every_probe
def test_law_4_a_step_along_the_gradient_of_a_sample_moves_the_probe_by_what_the_product_says(
    kind: str, probe: str, corpus: Corpus
) -> None:
    """With the identity for curvature the score is -⟨∇L, ∇f⟩: the change of f by a small step along -∇L."""
    model = copy.deepcopy(golden_model(torch.float64, "sdpa"))
    unit = unit_of(kind, probe)
    sequences = unit.sequences(settings(corpus), 512, 128)
    gradients = probe_gradient(model, unit, sequences)[1]
    parts = {name: part for name, part in oracle.head_parts(model, 1, 2).items() if name in gradients}
    modules = {part.module for part in parts.values()}
    rows, scores = golden_rows()[:12], []
    for row in rows:
        with torch.enable_grad():
            losses = oracle.weight_gradients(model, modules, lambda row=row: oracle.sample_loss(model, row))
        directions = {name: part.of(losses[part.module]) for name, part in parts.items()}
        score = -sum(float((gradients[name] * direction).sum()) for name, direction in directions.items())
        scores.append((score, directions))
    with torch.no_grad():
        before = float(unit.probe(model, sequences))
        for score, directions in (min(scores, key=itemgetter(0)), max(scores, key=itemgetter(0))):
            stepped, step = copy.deepcopy(model), 1e-3 / abs(score)
            for name, part in parts.items():
                weight, rows = (
                    stepped.get_parameter(f"{part.module}.weight"),
                    torch.tensor(part.outputs)[:, None],
                )
                weight[rows, torch.tensor(part.inputs)] -= step * directions[name].T
            change = float(unit.probe(stepped, sequences)) - before
            assert change == pytest.approx(step * score, rel=0.05)
    assert min(scores, key=itemgetter(0))[0] < 0 < max(scores, key=itemgetter(0))[0]


@every_probe
def test_law_3_same_seed_same_probe_other_seed_other_probe(kind: str, probe: str, corpus: Corpus) -> None:
    unit = unit_of(kind, probe)
    first, again, other = (unit.sequences(settings(corpus, seed), 512, 128) for seed in (3, 3, 4))
    assert torch.equal(first.tokens, again.tokens) and not torch.equal(first.tokens, other.tokens)
    assert (first.control is None) == (probe != "gain")


# -- what they ask ----------------------------------------------------------------------------------------------


@cache
def _bigram_logits() -> Tensor:
    return torch.randn(10, 10, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


class Bigram:
    """A model that knows the token before and nothing else."""

    device = torch.device("cpu")

    def __call__(self, input_ids: Tensor, use_cache: bool) -> object:
        return type("Output", (), {"logits": _bigram_logits()[input_ids]})


def test_the_gain_of_a_model_that_copies_nothing_is_zero_and_the_likelihood_is_not() -> None:
    sequences = padded([5, 7, 9, 5, 7, 9], [1, 2, 1, 2], period=[3, 2])
    control = padded([4, 4, 4, 5, 7, 9], [0, 3, 1, 2]).tokens
    sequences = Sequences(sequences.tokens, sequences.lengths, sequences.period, control)
    assert float(InductionHead(0, 0, "gain").probe(Bigram(), sequences)) == 0  # type: ignore[arg-type]
    assert float(InductionHead(0, 0).probe(Bigram(), sequences)) != 0  # type: ignore[arg-type]


def test_the_gain_by_hand() -> None:
    """Second copies at 3 … 5 and 2 … 3; their first tokens are given, so 2 + 1 positions are scored."""

    class Positions:
        def __call__(self, input_ids: Tensor, use_cache: bool) -> object:
            seen = input_ids.double().cumsum(1)[..., None]  # depends on all that came before
            return type("Output", (), {"logits": torch.sin(seen * torch.arange(1, 11) / 7)})

    model = Positions()
    rows, others = [[5, 7, 9, 5, 7, 9], [1, 2, 1, 2, 0, 0]], [[4, 4, 2, 5, 7, 9], [0, 3, 1, 2, 0, 0]]
    sequences = Sequences(
        torch.tensor(rows), torch.tensor([6, 4]), torch.tensor([3, 2]), torch.tensor(others)
    )
    places = [(0, 3, 7), (0, 4, 9), (1, 2, 2)]
    expected = 0.0
    for sign, tokens in ((1, rows), (-1, others)):
        logits = model(torch.tensor(tokens), False).logits.log_softmax(-1)  # type: ignore[attr-defined]
        expected += sign * sum(float(logits[place]) for place in places)
    assert float(InductionHead(0, 0, "gain").probe(model, sequences)) == pytest.approx(expected / 2)  # type: ignore[arg-type]


def test_the_natural_probe_scores_what_is_copied_indeed() -> None:
    """Of 3 1 4 3 1 3 2: after the second 3 comes what followed the first, after the third does not."""
    logits = _bigram_logits().log_softmax(-1)
    value = InductionHead(0, 0, "natural").probe(Bigram(), padded([3, 1, 4, 3, 1, 3, 2]))  # type: ignore[arg-type]
    assert float(value) == pytest.approx(float(logits[3, 1]))
    value = InductionHead(0, 0).probe(Bigram(), padded([3, 1, 4, 3, 1, 3, 2]))  # type: ignore[arg-type]
    targets = [(3, 1), (1, 4), (3, 1)]  # what to copy after the last three but one, whether it comes or not
    assert float(value) == pytest.approx(sum(float(logits[place]) for place in targets))


def test_the_attention_probe_is_the_stripe_of_its_own_head() -> None:
    model, sequences = (
        golden_model(),
        unit_of("induction", "paper").sequences(ProbeSettings(sequences=9), 512, 128),
    )
    unit = InductionHead(1, 2, "attention")
    scores = InductionHead.all_heads(model, sequences)
    same = Sequences(sequences.tokens[:1], sequences.lengths[:1], sequences.period[:1])  # type: ignore[index]
    period = int(sequences.period[0])  # type: ignore[index]
    alone = float(InductionHead.all_heads(model, same)[1, 2])
    assert float(unit.probe(model, same)) == pytest.approx(alone * (period - 1), rel=1e-5)
    assert scores.shape == (3, 4)
    assert [block.name for block in unit.subspace(model)] == ["qk"]


# -- where the tokens come from --------------------------------------------------------------------------------


def counted(tmp_path: Path) -> Corpus:
    """Token 7 three times as often as 3, token 1 once a row of ten."""
    rows = np.tile(np.array([7, 7, 7, 7, 7, 7, 3, 3, 1, 7], np.uint16), (40, 1))
    np.save(tmp_path / "rows.npy", rows)
    return NpyCorpus(tmp_path / "rows.npy")


@pytest.mark.parametrize("draw", [draw_frequent, draw_repeated_frequent])
def test_tokens_are_drawn_as_often_as_they_occur(draw: object, tmp_path: Path) -> None:
    asked = ProbeSettings(sequences=400, min_length=10, max_length=20, corpus=counted(tmp_path))
    sequences = draw(asked, 12, 64)  # type: ignore[operator]
    drawn = np.bincount(sequences.tokens[sequences.valid()].numpy(), minlength=12)
    np.testing.assert_allclose(drawn / drawn.sum(), [0, 0.1, 0, 0.2, 0, 0, 0, 0.7, 0, 0, 0, 0], atol=0.02)
    assert int(sequences.lengths.min()) == 20 and int(sequences.lengths.max()) == 40


@every_probe
def test_what_a_probe_like_the_corpus_is_taken_on_is_of_the_corpus(
    kind: str, probe: str, tmp_path: Path
) -> None:
    asked = ProbeSettings(sequences=20, corpus=counted(tmp_path))
    sequences = unit_of(kind, probe).sequences(asked, 512, 64)
    assert set(sequences.tokens[sequences.valid()].tolist()) <= {1, 3, 7}
    paper = unit_of(kind, "paper").sequences(asked, 512, 64)
    assert not set(paper.tokens[paper.valid()].tolist()) <= {1, 3, 7}


def test_ids_that_stand_for_nothing_are_not_drawn(tmp_path: Path) -> None:
    asked = ProbeSettings(sequences=50, corpus=counted(tmp_path), ids=np.array([1, 3]))
    sequences = draw_frequent(asked, 12, 64)
    assert set(sequences.tokens[sequences.valid()].tolist()) == {1, 3}


def test_the_control_has_the_same_second_copy_and_another_first(corpus: Corpus) -> None:
    sequences = draw_repeated_frequent(settings(corpus), 512, 128)
    assert sequences.control is not None and sequences.period is not None
    for row, other, period in zip(
        sequences.tokens, sequences.control, sequences.period.tolist(), strict=True
    ):
        assert torch.equal(row[:period], row[period : 2 * period])
        assert torch.equal(row[period:], other[period:])
        assert not torch.equal(row[:period], other[:period])


def test_rows_come_from_outside_of_what_is_ranked_where_there_are_enough(tmp_path: Path) -> None:
    rows = np.repeat(np.arange(40, dtype=np.uint16)[:, None], 9, 1)
    np.save(tmp_path / "rows.npy", rows)
    asked = ProbeSettings(sequences=12, corpus=NpyCorpus(tmp_path / "rows.npy"), ranked=range(10, 38))
    drawn = draw_rows(asked, 64, 32)
    assert drawn.tokens[:, 0].tolist() == [*range(10), 38, 39] and drawn.tokens.shape == (12, 8)
    asked = ProbeSettings(sequences=13, corpus=asked.corpus, ranked=range(10, 38))
    assert any(10 <= sample < 38 for sample in draw_rows(asked, 64, 4).tokens[:, 0].tolist())


def test_a_unit_says_its_probe_in_its_name() -> None:
    model = golden_model()
    assert [unit.name for unit in parse_units(["induction:1.0", "induction:1.0:gain"], model, "natural")] == [
        "induction:1.0:natural", "induction:1.0:gain",
    ]  # fmt: skip
    [unit] = parse_units(["induction:1.0:gain"], model)
    assert parse_units([unit.name], model) == [unit]
    assert parse_units(["induction:1.0:paper"], model) == parse_units(["induction:1.0"], model, "paper")


def test_where_nothing_is_said_a_kind_is_asked_by_its_default() -> None:
    """The paper's is the one that names need not say, the default the one that specs need not."""
    said = parse_units(["induction:1.0", "previous-token:0.0", "duplicate-token:0.1"], golden_model())
    assert [unit.name for unit in said] == ["induction:1.0:gain", "previous-token:0.0", "duplicate-token:0.1"]
    assert [unit.name for unit in parse_units(["induction:1.0:paper"], golden_model())] == ["induction:1.0"]


def test_a_kind_whose_default_is_no_probe_of_its_own_is_not_registered() -> None:
    class Odd(InductionHead):
        kind = "test-odd"
        PROBES: ClassVar[Mapping[str, str]] = MappingProxyType({"paper": "its own", "natural": "in rows"})

    with pytest.raises(
        UsageError, match=r"'test-odd' has no probe 'gain'.*it has paper, natural: say .*DEFAULT"
    ):
        register(Odd)


def test_a_probe_that_a_kind_does_not_have_lists_those_it_has() -> None:
    with pytest.raises(UsageError, match=r"duplicate-token has no probe 'gain'; it has paper"):
        parse_units(["duplicate-token:1.0"], golden_model(), "gain")
    with pytest.raises(
        UsageError, match=r"previous-token has no probe 'attention'; it has paper \(.*frequency"
    ):
        parse_units(["previous-token:1.0:attention"], golden_model())


def test_without_a_corpus_a_probe_that_needs_it_says_so() -> None:
    for probe in ("frequency", "gain", "natural", "attention"):
        unit = InductionHead(1, 0, cast(ProbeName, probe))
        with pytest.raises(UsageError, match="needs the corpus"):
            unit.sequences(ProbeSettings(), 512, 128)


def test_given_tokens_without_a_control_have_no_gain() -> None:
    with pytest.raises(CuratorError, match="draws sequences of its own"):
        InductionHead(1, 0, "gain").probe(golden_model(), padded([1, 2, 1, 2], period=[2]))
