"""The report's arithmetic: paired by seed, Student's t, sooner is negative."""

import math
from typing import Any

import pytest

from synth.demo.report import Mean, score_at_window_end, shift, summarise
from synth.demo.settings import InsertSettings


def curve(crosses: float) -> dict[str, Any]:
    """A score that rises from 0 to 1 around iteration ``crosses`` (0.4 exactly there)."""
    steps = list(range(0, 1001, 10))
    values = [min(1.0, max(0.0, 0.4 + (step - crosses) / 200)) for step in steps]
    return {"steps": steps, "scores": [[[value, 0.0]] for value in values]}


def result(seed: int, **crosses: float) -> dict[str, Any]:
    curves = {arm.replace("_", "-"): curve(at) for arm, at in crosses.items()}
    return {"identity": {"seed": seed}, "layer": 0, "head": 0, "window": [100, 700], "curves": curves}


INSERTS = InsertSettings(counts=(32,), schedules=("burst",))
RESULTS = [
    result(0, baseline=600, random_32_burst=610, top_32_burst=580, synthetic_32_burst=500),
    result(1, baseline=640, random_32_burst=630, top_32_burst=630, synthetic_32_burst=560),
    result(2, baseline=620, random_32_burst=620, top_32_burst=590, synthetic_32_burst=500),
]


def test_shifts_are_against_the_baseline_of_the_same_seed() -> None:
    assert shift(RESULTS[0], "synthetic-32-burst") == pytest.approx(-100)
    assert shift(RESULTS[1], "random-32-burst") == pytest.approx(-10)
    assert score_at_window_end(RESULTS[0], "baseline") == pytest.approx(0.9)


def test_the_table_pairs_arms_by_seed_with_students_t() -> None:
    [entry] = summarise(RESULTS, INSERTS)
    differences = [-110.0, -70.0, -120.0]
    mean = sum(differences) / 3
    deviation = math.sqrt(sum((d - mean) ** 2 for d in differences) / 2)
    paired = entry["synthetic - random"]["shift"]
    assert paired["mean"] == pytest.approx(mean)
    assert paired["half"] == pytest.approx(4.303 * deviation / math.sqrt(3))
    assert entry["random"]["shift"]["mean"] == pytest.approx(0)


def test_an_arm_that_never_crosses_is_counted_and_not_averaged() -> None:
    late = [
        *RESULTS[:2],
        {**RESULTS[2], "curves": {**RESULTS[2]["curves"], "synthetic-32-burst": curve(5000)}},
    ]
    [entry] = summarise(late, INSERTS)
    assert entry["synthetic"]["never"] == 1 and entry["synthetic"]["shift"]["n"] == 2


def test_means_say_their_interval_and_one_seed_has_none() -> None:
    assert Mean.of([1.0, 3.0]).text(1) == "+2.0 ± 12.7"
    assert Mean.of([-5.0]).text() == "-5"
    assert Mean.of([]).text() == "never"
