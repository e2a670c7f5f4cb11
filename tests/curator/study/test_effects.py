"""A study's effects on curves laid out by hand: known shifts, areas, σ, hand-over; and the tables they end in."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyarrow import parquet

from curator.analysis.intervals import Mean
from curator.study.effects import Comparison, comparisons, hand_over, save_effects
from curator.study.result import Result
from curator.study.study import Study, load_study
from curator.study.table import save_study_curves

STEPS = np.arange(100, 301, 10)
RANKED = {0: (1, 0), 1: (1, 1), 2: (1, 0)}
"""Seed -> layer and head."""
SHIFTS = {
    "mask-top": (10, 20, 30),
    "mask-random-1": (2, 4, 6),
    "mask-random-2": (-2, 8, 0),
    "mask-alike-1": (5, 5, 5),
}
DEMO = load_study("demo", Study)
STUDY = DEMO.changed(
    arms=[
        arm.changed(name=name, against=against)
        for arm, name, against in (
            (DEMO.arms[0], "mask-top", ("mask-random", "mask-alike")),
            (DEMO.arms[1], "mask-random", ()),
            (DEMO.arms[2], "mask-alike", ()),
        )
    ],
    quick={},
)


def ramp(delay: float) -> np.ndarray:
    """From 0.1 to 0.7 between steps 150 and 210, ``delay`` later."""
    return 0.1 + 0.01 * np.clip(STEPS - 150 - delay, 0, 60)


def result_of(seed: int) -> Result:
    """The ranked head is the strongest of layer 1; where it comes late, the other head of its layer gains a little."""
    layer, head = RANKED[seed]
    curves = {}
    for run in ("baseline", *SHIFTS):
        delay = SHIFTS[run][seed] if run in SHIFTS else 0
        later = delay + 4 * seed  # every seed's head forms at its own time
        scores = np.full((len(STEPS), 2, 2), 0.05)
        scores[:, layer, head] = ramp(later)
        scores[:, layer, 1 - head] += 0.001 * delay
        losses = 2 - 0.001 * (STEPS - 100) + 0.01 * later
        curves[run] = {
            "steps": STEPS.tolist(),
            "scores": scores.tolist(),
            "copy_log_probability": [-1.0] * len(STEPS),
            "quantities": {
                "metric": {"units": ["previous-token:0.0"], "values": [[0.5]] * len(STEPS)},
                "loss": {"units": [""], "values": [[value] for value in losses.tolist()]},
                "ablation": {
                    "units": [f"induction:{n // 2}.{n % 2}" for n in range(4)],
                    "values": [(2 * one).ravel().tolist() for one in scores],
                },
            },
        }
    content = {"unit": f"induction:{layer}.{head}", "layer": layer, "head": head, "window": [100, 300]}
    return Result(
        {**content, "identity": {"seed": seed}, "attribution_step": 170, "last_step": 300, "curves": curves}
    )


@pytest.fixture(scope="module")
def results() -> list[Result]:
    return [result_of(seed) for seed in RANKED]


def one(found: list[Comparison], arm: str, against: str, kind: str, **outcome: Any) -> Comparison:
    [match] = [
        each
        for each in found
        if (each.arm, each.against, each.outcome.kind) == (arm, against, kind)
        and all(getattr(each.outcome, name) == value for name, value in outcome.items())
    ]
    return match


def test_emergence_and_area_are_the_shifts_that_were_put_in(results: list[Result]) -> None:
    found = comparisons(STUDY, results)
    for threshold in STUDY.thresholds[1:]:
        shift = one(found, "mask-top", "baseline", "emergence", threshold=threshold).effect
        assert shift.mean.mean == pytest.approx(20, abs=0.5) and shift.mean.n == 3
    area = one(found, "mask-top", "baseline", "area", quantity="metric").effect
    assert area.mean.mean == pytest.approx(-20 * 0.6 / 200)
    # draws are averaged within a seed: (0, 6, 3) of the random arm
    both = one(found, "mask-top", "mask-random", "area", quantity="metric").effect
    expected = Mean.of([-(10 - 0) * 0.003, -(20 - 6) * 0.003, -(30 - 3) * 0.003])
    assert (both.mean.mean, both.mean.half) == pytest.approx((expected.mean, expected.half))
    assert both.bootstrap is not None and both.bootstrap.low < both.mean.mean < both.bootstrap.high
    scatter = [-0.003 * shift for name in ("mask-random-1", "mask-random-2") for shift in SHIFTS[name]]
    assert both.sigma == pytest.approx(float(np.std(scatter, ddof=1)))
    assert both.sigmas == pytest.approx(expected.mean / np.std(scatter, ddof=1))
    assert one(found, "mask-top", "baseline", "area", quantity="metric").effect.sigma is None


def test_other_quantities_are_compared_for_the_head_and_the_model(results: list[Result]) -> None:
    found = comparisons(STUDY, results)
    assert {each.outcome.quantity for each in found} == {"metric", "copy", "loss", "ablation"}
    loss = one(found, "mask-top", "mask-alike", "area", quantity="loss").effect
    assert loss.mean.mean == pytest.approx(0.01 * (20 - 5))
    ablation = one(found, "mask-top", "baseline", "area", quantity="ablation")
    assert ablation.outcome.unit == "head" and ablation.effect.mean.mean == pytest.approx(-2 * 20 * 0.003)


def test_p_is_corrected_over_the_comparisons_of_one_outcome(results: list[Result]) -> None:
    found = comparisons(STUDY, results)
    own = [each for each in found if each.outcome.kind == "area" and each.outcome.quantity == "metric"]
    with_arms = [each for each in own if each.against != "baseline"]
    assert [(each.arm, each.against) for each in with_arms] == [
        ("mask-top", "mask-random"),
        ("mask-top", "mask-alike"),
    ]
    raw = sorted(each.effect.p or 0 for each in with_arms)
    assert sorted(each.p_holm or 0 for each in with_arms) == pytest.approx(
        [2 * raw[0], max(2 * raw[0], raw[1])]
    )
    with_baseline = [each for each in own if each.against == "baseline"]
    smallest = min(with_baseline, key=lambda each: each.effect.p or 0)
    assert smallest.effect.p is not None and smallest.p_holm == pytest.approx(3 * smallest.effect.p)


def test_runs_that_never_cross_are_counted_and_left_out_with_their_seed(results: list[Result]) -> None:
    late = result_of(1)
    late.content["curves"]["mask-top"]["scores"] = [[[0.01, 0.01], [0.01, 0.01]]] * len(STEPS)
    found = comparisons(STUDY, [results[0], late, results[2]])
    shift = one(found, "mask-top", "mask-random", "emergence", threshold=0.4)
    assert shift.never == (1, 0) and shift.effect.mean.n == 2


def test_hand_over_orders_heads_by_the_baseline_and_shows_who_gains(results: list[Result]) -> None:
    handed = hand_over(STUDY, results, "mask-top", "mask-random")
    assert handed.heads == {0: [[0, 1], [0, 1]], 1: [[0, 1], [1, 0]], 2: [[0, 1], [0, 1]]}
    strongest, second = handed.changes[1]
    area = one(comparisons(STUDY, results), "mask-top", "mask-random", "area", quantity="metric").effect
    assert strongest == area.mean, "of the ranked head, the area between the curves"
    assert second.mean == pytest.approx(0.001 * np.mean([10, 14, 27])) and second.n == 3
    assert [each.mean for each in handed.changes[0]] == [0, 0]


def test_effects_and_curves_are_tables_that_others_read(results: list[Result], tmp_path: Path) -> None:
    found = comparisons(STUDY, results)
    save_effects(tmp_path / "effects.parquet", found)
    rows = parquet.read_table(tmp_path / "effects.parquet").to_pylist()
    assert len(rows) == len(found)
    [row] = [
        each
        for each in rows
        if (each["arm"], each["against"], each["outcome"], each["quantity"])
        == ("mask-top", "mask-alike", "area", "metric")
    ]
    assert row["difference"] == pytest.approx(-15 * 0.003) and row["seeds"] == 3 and row["threshold"] is None
    save_study_curves(tmp_path / "curves.parquet", STUDY, results, "mine")
    points = parquet.read_table(tmp_path / "curves.parquet").to_pylist()
    assert len(
        {tuple(each[name] for name in ("seed", "arm", "draw", "step", "quantity", "unit")) for each in points}
    ) == len(points)
    assert len(points) == 3 * 5 * len(STEPS) * (4 + 1 + 1 + 1 + 4)
    second = [each for each in points if (each["arm"], each["draw"]) == ("mask-random", 2)]
    own = [
        each
        for each in second
        if each["seed"] == 1 and each["unit"] == "induction:1.1" and each["quantity"] == "metric"
    ]
    assert [each["value"] for each in own] == pytest.approx(ramp(8 + 4).tolist())
    assert own[3]["tokens"] == 130 * 32 * 32 and own[3]["study"] == "mine"


def test_results_of_before_have_fewer_rows_and_are_read(results: list[Result], tmp_path: Path) -> None:
    old = result_of(0)
    for curve in old.content["curves"].values():
        del curve["quantities"]
    assert {each.outcome.quantity for each in comparisons(STUDY, [old])} == {"metric", "copy"}
    save_study_curves(tmp_path / "curves.parquet", STUDY, [old], "old")
    assert parquet.read_table(tmp_path / "curves.parquet").num_rows == 5 * len(STEPS) * (4 + 1)
