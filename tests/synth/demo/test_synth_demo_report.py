"""The report's arithmetic: paired by seed, Student's t, sooner is negative."""

import math
from typing import Any

import pytest

from curator.study.result import Result
from curator.study.study import load_study
from synth.demo.report import summarise
from synth.demo.study import InsertStudy


def curve(crosses: float) -> dict[str, Any]:
    """A score that rises from 0 to 1 around iteration ``crosses`` (0.4 exactly there)."""
    steps = list(range(0, 1001, 10))
    values = [min(1.0, max(0.0, 0.4 + (step - crosses) / 200)) for step in steps]
    return {"steps": steps, "scores": [[[value, 0.0]] for value in values]}


def result(seed: int, **crosses: float) -> Result:
    curves = {arm.replace("_", "-"): curve(at) for arm, at in crosses.items()}
    return Result({"identity": {"seed": seed}, "layer": 0, "head": 0, "window": [100, 700], "curves": curves})


DEMO = load_study("synth-demo", InsertStudy)
STUDY = DEMO.changed(
    quick=DEMO.quick.changed(arms=()),
    arms=[
        arm.changed(name=arm.name.replace("128", "32"), count=32)
        for arm in DEMO.arms
        if arm.count == 128 and not arm.spread
    ],
)
RESULTS = [
    result(0, baseline=600, random_32_burst=610, top_32_burst=580, synthetic_32_burst=500),
    result(1, baseline=640, random_32_burst=630, top_32_burst=630, synthetic_32_burst=560),
    result(2, baseline=620, random_32_burst=620, top_32_burst=590, synthetic_32_burst=500),
]


def test_shifts_are_against_the_baseline_of_the_same_seed() -> None:
    assert RESULTS[0].shift("synthetic-32-burst", 0.4) == pytest.approx(-100)
    assert RESULTS[1].shift("random-32-burst", 0.4) == pytest.approx(-10)
    assert RESULTS[0].score_at_window_end("baseline") == pytest.approx(0.9)


def test_the_table_pairs_arms_by_seed_with_students_t() -> None:
    [entry] = summarise(RESULTS, STUDY)
    differences = [-110.0, -70.0, -120.0]
    mean = sum(differences) / 3
    deviation = math.sqrt(sum((d - mean) ** 2 for d in differences) / 2)
    paired = entry["synthetic - random"]["shift"]
    assert paired["mean"] == pytest.approx(mean)
    t = 0.95 / math.sqrt(2 * 0.975 * 0.025)  # two degrees of freedom: in closed form
    assert paired["half"] == pytest.approx(t * deviation / math.sqrt(3), rel=1e-12)
    assert entry["random"]["shift"]["mean"] == pytest.approx(0)


def test_an_arm_that_never_crosses_is_counted_and_not_averaged() -> None:
    curves = {**RESULTS[2].content["curves"], "synthetic-32-burst": curve(5000)}
    late = [*RESULTS[:2], Result({**RESULTS[2].content, "curves": curves})]
    [entry] = summarise(late, STUDY)
    assert entry["synthetic"]["never"] == 1 and entry["synthetic"]["shift"]["n"] == 2
    assert entry["synthetic - random"]["shift"]["n"] == entry["synthetic - top"]["shift"]["n"] == 2
    assert entry["top - random"]["shift"]["n"] == 3
