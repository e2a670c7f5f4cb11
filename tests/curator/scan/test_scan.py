"""A scan finds what the attention patterns say, when the paper says, and measures nothing twice."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from engine_parts import GOLDEN, golden_model, random_model
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

import curator.scan.scan
from curator.artifacts.files import load_json
from curator.errors import CuratorError, UsageError
from curator.report.plots import Curve, plot_curves, plot_scan, spread
from curator.scan.checkpoint import BLOCK_BYTES, WHOLE_FILE_BYTES, checkpoint_fingerprint
from curator.scan.formation import Thresholds, Window, crossing, durable_index, formation_window
from curator.scan.metrics import kinds_called, measure
from curator.scan.scan import Scan, scan_checkpoints
from curator.units import ProbeSettings, Sequences, draw_random, draw_repeated, registry
from curator.units.induction import InductionHead
from curator.units.previous_token import PreviousTokenHead

FEW = ProbeSettings(sequences=5, min_length=3, max_length=6, seed=4)
PLAIN = Thresholds(noise_floor=0.1, attribution=0.2, sufficiency=0.4)


def measured(model: Any, sequences: Sequences) -> dict[str, np.ndarray]:
    """The metric of all units of all kinds, on the same sequences."""
    units = {kind: unit.instances(model) for kind, unit in kinds_called(None).items()}
    return measure(model, units, dict.fromkeys(units, sequences))


curves = st.lists(st.floats(0, 1), min_size=1, max_size=12).map(np.array)


# --- metrics -------------------------------------------------------------------------------------------


def stripe_patterns(distance: torch.Tensor, length: int) -> torch.Tensor:
    """[n, 1, T, T] patterns in which every query attends to the key ``distance`` [n] before it alone."""
    patterns = torch.zeros(len(distance), 1, length, length, dtype=torch.float64)
    for row, back in enumerate(distance.tolist()):
        for query in range(length):
            patterns[row, 0, query, max(query - back, 0)] = 1
    return patterns


def test_metric_of_perfect_heads_is_one_and_of_the_other_kind_zero() -> None:
    sequences = draw_repeated(ProbeSettings(sequences=20), 200, 64)
    assert sequences.period is not None
    length = sequences.tokens.shape[1]
    induction = stripe_patterns(sequences.period - 1, length)
    previous = stripe_patterns(torch.ones(20, dtype=torch.int64), length)
    assert InductionHead.pattern_scores(induction, sequences).tolist() == [1.0]
    assert PreviousTokenHead.pattern_scores(previous, sequences).tolist() == [1.0]
    assert InductionHead.pattern_scores(previous, sequences).tolist() == [0.0]
    # a first copy of two tokens or more away: only query 1, whose keys 0 and 1 - (L - 1) < 0 clamp to 0
    expected = np.mean([1 / (period - 1) for period in sequences.period.tolist()])
    assert PreviousTokenHead.pattern_scores(induction, sequences).item() == pytest.approx(expected, abs=1e-12)


def test_metric_of_even_attention_follows_the_formula() -> None:
    sequences = draw_repeated(ProbeSettings(sequences=30), 200, 64)
    assert sequences.period is not None
    periods = sequences.period.tolist()
    induction = np.mean([np.mean([1 / (L + i + 1) for i in range(L - 1)]) for L in periods])
    previous = np.mean([np.mean([1 / (t + 1) for t in range(1, L)]) for L in periods])
    assert InductionHead.chance(sequences) == pytest.approx(induction, abs=1e-12)
    assert PreviousTokenHead.chance(sequences) == pytest.approx(previous, abs=1e-12)


def test_metrics_equal_a_plain_loop_over_unpadded_sequences() -> None:
    model = golden_model(torch.float64)
    sequences = draw_repeated(ProbeSettings(sequences=12, seed=3), 512, 128)
    assert sequences.period is not None
    eager = golden_model(torch.float64, "eager")
    expected = {kind: np.zeros((3, 4)) for kind in ("induction", "previous-token", "duplicate-token")}
    for tokens, period in zip(sequences.tokens, sequences.period.tolist()):
        with torch.no_grad():
            attentions = eager(tokens[None, : 2 * period], output_attentions=True).attentions
        for layer in range(3):
            for head in range(4):
                pattern = attentions[layer][0, head].numpy()
                stripe = [pattern[period + i, i + 1] for i in range(period - 1)]
                below = [pattern[t, t - 1] for t in range(1, period)]
                expected["induction"][layer, head] += np.mean(stripe) / 12
                copies = [pattern[period + i, i] for i in range(period)]
                expected["previous-token"][layer, head] += np.mean(below) / 12
                expected["duplicate-token"][layer, head] += np.mean(copies) / 12
    found = measured(model, sequences)
    assert found.keys() == expected.keys()
    for kind, values in expected.items():
        np.testing.assert_allclose(found[kind], values, atol=1e-12)


def test_all_kinds_share_one_forward_pass() -> None:
    model, passes = random_model(), []
    hook = model.gpt_neox.register_forward_hook(lambda *_: passes.append(1))
    measured(model, draw_repeated(FEW, 61, 32))
    hook.remove()
    assert len(kinds_called(None)) >= 2 and len(passes) == 1


@pytest.mark.parametrize("kind", kinds_called(None))
def test_law_3_the_metric_of_a_unit_is_what_a_scan_holds_of_it(kind: str) -> None:
    """Measured alone, and among all units of all kinds."""
    model, sequences = random_model(), draw_repeated(FEW, 61, 32)
    units = kinds_called([kind])[kind].instances(model)
    together = measured(model, sequences)[kind].ravel().tolist()
    assert len(units) > 1 and [unit.metric(model, sequences) for unit in units] == together


# --- when a curve crosses ------------------------------------------------------------------------------


@settings(deadline=None)
@given(curves, st.floats(0.01, 1), st.integers(1, 4))
def test_crossing_is_the_first_place_that_holds(values: np.ndarray, threshold: float, hold: int) -> None:
    steps = 10 * np.arange(len(values))
    step = crossing(steps, values, threshold, hold)
    holds = [bool((values[i : i + hold] >= threshold).all()) for i in range(len(values))]
    if step is None:
        assert not any(holds)
        return
    first = holds.index(True)
    assert durable_index(values, threshold, hold) == first
    assert steps[max(first - 1, 0)] <= step <= steps[first]
    if first:
        assert values[first - 1] < threshold
        assert np.interp(step, steps, values) == pytest.approx(threshold, abs=1e-9)


@settings(deadline=None)
@given(curves, st.floats(0.01, 1), st.floats(0.01, 1))
def test_crossing_rises_with_the_threshold(values: np.ndarray, a: float, b: float) -> None:
    steps = np.arange(len(values)) ** 2 + np.arange(len(values))
    low, high = crossing(steps, values, min(a, b)), crossing(steps, values, max(a, b))
    assert high is None or (low is not None and low <= high)


def test_crossing_examples() -> None:
    steps = [0, 100, 200, 300, 400]
    assert crossing(steps, np.array([0, 0.2, 0.6, 0.8, 0.9]), 0.4) == pytest.approx(150)
    assert crossing(steps, np.array([0, 0.5, 0.0, 0.0, 0.5]), 0.25, hold=2) == pytest.approx(350), (
        "a spike is none"
    )
    assert crossing(steps, np.array([0, 0.2, 0.3, 0.2, 0.1]), 0.4) is None
    assert crossing(steps, np.array([0.5, 0.5, 0.5, 0.1, 0.1]), 0.4) == 0, (
        "above from the start: an upper bound"
    )
    with pytest.raises(CuratorError, match="rising step"):
        crossing([0, 0], np.array([0.1, 0.2]), 0.4)
    with pytest.raises(CuratorError, match="step 100"):
        crossing([0, 100], np.array([0.1, np.nan]), 0.4)


def window_of(*values: float) -> Window:
    return formation_window("induction:0.0", 10 * np.arange(len(values)), np.array(values), PLAIN)


def test_window_starts_before_the_floor_is_left_and_ends_where_it_suffices() -> None:
    window = window_of(0.05, 0.06, 0.12, 0.25, 0.39, 0.4, 0.8)
    assert (window.t_start, window.t_end, window.attribution_step) == (10, 50, 30)
    assert window.note == ""


def test_window_ignores_a_spike_before_the_metric_durably_leaves_the_floor() -> None:
    window = window_of(0.05, 0.5, 0.05, 0.05, 0.15, 0.3, 0.5)
    assert (window.t_start, window.t_end, window.attribution_step) == (30, 60, 50)


@pytest.mark.parametrize(
    ("values", "found", "note"),
    [
        ((0.05, 0.05, 0.06), (None, None, None), "never durably leaves the noise floor 0.1"),
        ((0.05, 0.15, 0.25), (0, None, 20), "never reaches the sufficiency threshold 0.4"),
        ((0.05, 0.15, 0.15), (0, None, None), "attribution threshold 0.2"),
        ((0.2, 0.3, 0.5), (None, 20, 0), "above the noise floor 0.1 at the first checkpoint already, step 0"),
    ],
)
def test_window_says_none_and_why_where_the_scan_does_not_show_it(
    values: tuple[float, ...], found: tuple[int | None, ...], note: str
) -> None:
    window = window_of(*values)
    assert (window.t_start, window.t_end, window.attribution_step) == found
    assert note in window.note


def test_default_thresholds_are_the_papers_for_induction_and_clear_of_even_attention_for_others() -> None:
    sequences = draw_repeated(ProbeSettings(), 50304, 2048)
    induction = Thresholds().resolved(InductionHead.chance(sequences))
    assert (induction.noise_floor, induction.attribution, induction.sufficiency) == (0.1, 0.2, 0.4)
    even = PreviousTokenHead.chance(sequences)
    assert even > 0.1
    previous = Thresholds().resolved(even)
    assert previous.noise_floor == pytest.approx(1.5 * even)
    assert Thresholds(noise_floor=0.15).resolved(even).noise_floor == 0.15, "what is asked is kept"
    with pytest.raises(UsageError, match="above the sufficiency"):
        Thresholds(noise_floor=0.5).resolved(0.05)


# --- a folder of checkpoints ---------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Four checkpoints of a tiny model."""
    for step in (0, 10, 20, 100):
        random_model(seed=step).float().save_pretrained(tmp_path / "run" / f"step{step}")
    return tmp_path / "run"


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the checkpoints whose weights were loaded."""
    names: list[str] = []
    load = curator.scan.scan.load_model

    def counted(path: Path, *args: Any) -> object:
        names.append(path.name)
        return load(path, *args)

    monkeypatch.setattr(curator.scan.scan, "load_model", counted)
    return names


def test_scan_measures_every_checkpoint_and_opens_as_it_was(run: Path, tmp_path: Path) -> None:
    scan = scan_checkpoints(run, tmp_path / "scan", settings=FEW)
    assert scan.steps.tolist() == [0, 10, 20, 100]
    sequences = draw_repeated(FEW, 61, 32)
    for number, step in enumerate(scan.steps):
        metrics = measured(random_model(seed=int(step)).float(), sequences)
        for kind, values in metrics.items():
            np.testing.assert_allclose(scan.values[kind][number], values, atol=1e-6)
    opened = Scan.open(tmp_path / "scan")
    assert opened.thresholds == scan.thresholds and opened.manifest == scan.manifest
    assert (
        opened.chance == scan.chance
        and opened.names == scan.names
        and opened.steps.tolist() == scan.steps.tolist()
    )
    for kind, values in scan.values.items():
        np.testing.assert_array_equal(opened.values[kind], values)
        best = opened.best(kind)
        finals = [float(opened.curve(unit)[-1]) for unit in best]
        assert finals == sorted(values[-1].ravel().tolist(), reverse=True)[:5]
        assert opened.window(best[0]) == scan.window(best[0])
        saved = load_json(tmp_path / "scan" / "scan.json")["kinds"][kind]
        assert list(saved["best"]) == best and saved["window"]["unit"] == best[0]
    plot_scan(opened, tmp_path / "scan.png")
    assert (tmp_path / "scan.png").read_bytes().startswith(b"\x89PNG")


def test_law_8_a_scan_whose_numbers_were_changed_is_refused(run: Path, tmp_path: Path) -> None:
    scan_checkpoints(run, tmp_path, settings=FEW, steps=(0, 10))
    file = tmp_path / "metrics-induction.npy"
    np.save(file, np.load(file)[::-1])
    with pytest.raises(CuratorError, match=r"metrics-induction\.npy: has fingerprint .*curator scan"):
        Scan.open(tmp_path)


def test_scan_resumes_and_measures_only_what_is_new(run: Path, tmp_path: Path, loads: list[str]) -> None:
    out = tmp_path / "scan"
    first = scan_checkpoints(run, out, settings=FEW, steps=(0, 20))
    assert loads == ["step0", "step10", "step20"]
    loads.clear()
    whole = scan_checkpoints(run, out, settings=FEW, thresholds=Thresholds(noise_floor=0.01))
    assert loads == ["step100"], "other thresholds measure nothing again"
    np.testing.assert_array_equal(whole.values["induction"][:3], first.values["induction"])
    loads.clear()
    assert list(scan_checkpoints(run, out, settings=FEW, kinds=["induction"]).values) == ["induction"]
    assert loads == []


def test_scan_measures_again_when_weights_or_sequences_change(
    run: Path, tmp_path: Path, loads: list[str]
) -> None:
    out = tmp_path / "scan"
    before = scan_checkpoints(run, out, settings=FEW)
    weights = run / "step10" / "model.safetensors"
    tensors = load_file(weights)
    key = "gpt_neox.layers.0.attention.query_key_value.weight"
    save_file({**tensors, key: 3 * tensors[key]}, weights, {"format": "pt"})
    loads.clear()
    after = scan_checkpoints(run, out, settings=FEW)
    assert loads == ["step10"]
    assert not np.allclose(after.values["induction"][1], before.values["induction"][1])
    loads.clear()
    scan_checkpoints(run, out, settings=ProbeSettings(sequences=5, min_length=3, max_length=6, seed=5))
    assert len(loads) == 4


def test_scan_measures_again_when_a_kind_is_edited(
    run: Path, tmp_path: Path, loads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    scan_checkpoints(run, tmp_path / "scan", settings=FEW, steps=(0, 0))
    monkeypatch.setattr(curator.scan.scan, "definition", lambda unit: f"edited {unit.__name__}")
    scan_checkpoints(run, tmp_path / "scan", settings=FEW, steps=(0, 0))
    assert loads == ["step0", "step0"]


def test_fingerprint_of_a_large_file_sees_header_size_and_sampled_blocks(tmp_path: Path) -> None:
    weights = tmp_path / "model.safetensors"
    (tmp_path / "config.json").write_text("{}")
    data = bytearray(WHOLE_FILE_BYTES + BLOCK_BYTES)
    data[0] = 100  # a header of 100 bytes
    seen = set()
    for position in (None, 50, 108, len(data) - 1):
        changed = bytearray(data)
        if position is not None:
            changed[position] = 7
        weights.write_bytes(changed)
        seen.add(checkpoint_fingerprint(tmp_path))
    weights.write_bytes(data + b"x")
    seen.add(checkpoint_fingerprint(tmp_path))
    (tmp_path / "config.json").write_text("{ }")
    seen.add(checkpoint_fingerprint(tmp_path))
    assert len(seen) == 6


def test_scan_refuses_what_it_cannot_measure(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "scan"
    with pytest.raises(
        UsageError, match=r"no kind of unit 'inductive'; there are: duplicate-token, induction, prev"
    ):
        scan_checkpoints(run, out, kinds=["inductive"])
    with pytest.raises(CuratorError, match="no checkpoints of steps 1 to 9"):
        scan_checkpoints(run, out, steps=(1, 9))
    with pytest.raises(CuratorError, match="not a finished scan"):
        Scan.open(out)
    (run / "step200").symlink_to(GOLDEN / "model")
    with pytest.raises(CuratorError, match=r"step200 is another model.*vocab_size: there 61, asked for 512"):
        scan_checkpoints(run, out)
    (run / "step200").unlink()
    broken = random_model().float()
    broken.gpt_neox.embed_in.weight.fill_(float("nan"))
    broken.save_pretrained(run / "step200")
    with pytest.raises(CuratorError, match=r"step200: the induction metric is not a finite number"):
        scan_checkpoints(run, out, settings=FEW)


def test_unknown_units_of_a_scan_list_what_there_is(run: Path, tmp_path: Path) -> None:
    scan = scan_checkpoints(run, tmp_path / "scan", settings=FEW, steps=(0, 0))
    with pytest.raises(UsageError, match=r"of induction it has 9: induction:0\.0 to induction:2\.2"):
        scan.curve("induction:0.3")
    with pytest.raises(UsageError, match="it has: induction, previous-token"):
        scan.best("neuron")


NORMS = """
from dataclasses import dataclass

from curator.units import Unit, draw_random, register


@register
@dataclass(frozen=True)
class Norm(Unit):
    '''How large the first tokens' rows of a matrix are: no head, and with names of its own.'''

    matrix: str
    kind = "test-norm"

    @property
    def name(self):
        return f"{self.kind}:{self.matrix}"

    @classmethod
    def parse(cls, address, model):
        return [cls(name) for name in ("embed_in", "embed_out") if address in ("*", name)]

    @classmethod
    def metric_sequences(cls, settings, vocab_size, max_length):
        return draw_random(settings, vocab_size, max_length)

    def metric(self, model, sequences):
        embedding = {"embed_in": model.gpt_neox.embed_in, "embed_out": model.get_output_embeddings()}[self.matrix]
        return float(embedding.weight[sequences.tokens[:, 0]].norm())

    def subspace(self, model):
        raise NotImplementedError

    probe = subspace
"""


def test_a_scan_calls_the_metric_of_a_users_own_unit_on_its_own_sequences(
    run: Path, tmp_path: Path, loads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "_kinds", dict(registry._kinds))
    (tmp_path / "own.py").write_text(NORMS)
    chosen = ["test-norm", "induction"]
    scan = scan_checkpoints(
        run, tmp_path / "a", settings=FEW, kinds=chosen, unit_modules=[tmp_path / "own.py"]
    )
    tokens = draw_random(FEW, 61, 32).tokens[:, 0]
    for number, step in enumerate(scan.steps.tolist()):
        model = random_model(seed=step).float()
        for name, weight in (("in", model.gpt_neox.embed_in), ("out", model.get_output_embeddings())):
            found = scan.curve(f"test-norm:embed_{name}")[number]
            assert found == pytest.approx(float(weight.weight[tokens].norm()), rel=1e-6)
    heads = scan_checkpoints(run, tmp_path / "heads", settings=FEW, kinds=["induction"])
    np.testing.assert_array_equal(scan.values["induction"], heads.values["induction"])
    assert scan.chance["test-norm"] == 0 and scan.values["test-norm"].shape == (4, 2)
    opened = Scan.open(tmp_path / "a")
    assert opened.best("test-norm") == scan.best("test-norm") and opened.names == scan.names
    assert "units" not in load_json(tmp_path / "a" / "scan.json")["kinds"]["induction"]
    plot_scan(opened, tmp_path / "scan.png")
    loads.clear()
    again = scan_checkpoints(run, tmp_path / "a", settings=FEW, kinds=["test-norm"])
    assert loads == [] and np.array_equal(again.values["test-norm"], scan.values["test-norm"])


# --- plots ---------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=9))
def test_labels_keep_their_order_and_do_not_overlap(heights: list[float]) -> None:
    placed = np.array(spread(heights, 0.05))
    order = np.argsort(heights, kind="stable")
    assert (np.diff(placed[order]) >= 0.05 - 1e-9).all()
    if (np.diff(np.sort(heights)) >= 0.05).all():
        np.testing.assert_allclose(placed, heights)


def test_curves_of_replicates_and_of_a_mapping_make_pictures(tmp_path: Path) -> None:
    steps = np.arange(0, 50, 10)
    replicates = [Curve(group="mask top", steps=steps, values=steps / 100 + seed) for seed in (0.0, 0.1)]
    plot_curves(replicates, tmp_path / "a.png", title="t", ylabel="y", thresholds={"sufficient": 0.4})
    plot_curves({"one": ([5], [0.3])}, tmp_path / "b.png", title="t", ylabel="y", thresholds=[0.4])
    for name in ("a.png", "b.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.png"]
    with pytest.raises(CuratorError, match="no curves"):
        plot_curves([], tmp_path / "c.png", title="t", ylabel="y")


def test_importing_plots_does_not_import_matplotlib() -> None:
    code = "import sys, curator.report.plots, curator.scan.formation; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.split()
    assert "curator.report.plots" in loaded and "matplotlib" not in loaded and "torch" not in loaded
