"""Statistics with known answers: curves that are shifts of each other, coverage, Holm by closed testing, SciPy's t."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from curator.analysis.effects import Effect, bootstrap, holm, mean_over, p_value, sigma
from curator.analysis.intervals import Mean
from curator.scan.formation import crossing

probabilities = st.lists(st.floats(0, 1), min_size=1, max_size=6)
numbers = st.lists(st.floats(-100, 100), min_size=3, max_size=12)


# -- curves ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delay", [0, 10, 35])
def test_of_shifted_curves_emergence_differs_by_the_shift_and_area_by_the_shift_times_the_rise(
    delay: int,
) -> None:
    steps = np.arange(0, 401, 5)
    early, late = (0.05 + 0.6 / (1 + np.exp(-(steps - 150 - by) / 8)) for by in (0, delay))
    for threshold in (0.1, 0.2, 0.4):
        ours, theirs = crossing(steps, late, threshold), crossing(steps, early, threshold)
        assert ours is not None and theirs is not None
        assert ours - theirs == pytest.approx(delay, abs=1e-9)  # whole steps of the grid: equal to rounding
    difference = mean_over(steps, late, 0, 400) - mean_over(steps, early, 0, 400)
    assert difference == pytest.approx(-delay * 0.6 / 400, abs=1e-7)


@settings(deadline=None)
@given(numbers, st.floats(0, 60), st.floats(61, 130))
def test_the_mean_of_a_curve_is_that_of_its_points_laid_out_densely(
    values: list[float], first: float, last: float
) -> None:
    steps = 10.0 * np.arange(len(values))
    dense = np.linspace(first, last, 200_001)
    plain = np.interp(dense, steps, values).mean()
    assert mean_over(steps, np.array(values), first, last) == pytest.approx(float(plain), abs=0.05)


# -- intervals ------------------------------------------------------------------------------------------------------


def within(hits: int, draws: int, level: float) -> bool:
    """Whether a share of hits is the level, within four standard errors of a binomial."""
    return abs(hits / draws - level) < 4 * math.sqrt(level * (1 - level) / draws)


def test_students_interval_covers_the_mean_of_normal_data_at_its_level() -> None:
    random, draws = np.random.default_rng(0), 4000
    for n in (2, 5):
        hits = 0
        for values in random.normal(3, 2, (draws, n)).tolist():
            one = Mean.of(values)
            assert one.mean is not None and one.half is not None
            hits += abs(one.mean - 3) <= one.half
        assert within(hits, draws, 0.95), (n, hits / draws)


def test_the_bootstraps_interval_covers_with_many_seeds_and_is_too_narrow_with_five() -> None:
    random, draws = np.random.default_rng(1), 400
    covered = {}
    for n in (5, 60):
        hits = 0
        for values in random.normal(3, 2, (draws, n)).tolist():
            one = bootstrap(values, resamples=400)
            assert one is not None and one.method == "bca"
            hits += one.low <= 3 <= one.high
        covered[n] = hits / draws
    assert within(round(covered[60] * draws), draws, 0.95), covered
    assert 0.72 < covered[5] < 0.92, covered  # what docs/guide.md says


def test_the_bootstrap_follows_skew_and_its_seed() -> None:
    values = [1.0, 1.1, 1.2, 1.3, 1.2, 9.0]
    one, again = bootstrap(values), bootstrap(values)
    assert one == again and one is not None
    mean = float(np.mean(values))
    assert one.high - mean > 1.5 * (mean - one.low)
    assert bootstrap(values, seed=1) != one
    assert bootstrap([2.0, None]) is None and bootstrap([]) is None
    alike = bootstrap([2.0, 2.0, 2.0])
    assert alike is not None and (alike.low, alike.high) == (2, 2)
    two = bootstrap([1.0, 2.0])
    assert two is not None and (two.low, two.high, two.method) == (1, 2, "percentile")


# -- p values -------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(numbers)
def test_p_is_scipys(values: list[float]) -> None:
    if np.std(values) < 1e-6:
        return
    assert p_value([*values, None]) == pytest.approx(
        float(stats.ttest_1samp(values, 0).pvalue), rel=1e-9, abs=1e-14
    )


def test_p_of_few_and_of_equal_differences() -> None:
    assert p_value([3.0]) is None and p_value([None, None]) is None
    assert p_value([0.0, 0.0]) == 1 and p_value([2.0, 2.0]) == 0


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.01, 0.02, 0.03, 0.04, 0.05]) == pytest.approx(
        [0.05, 0.08, 0.09, 0.09, 0.09]
    )  # R's p.adjust
    assert holm([0.5, None, 0.04, 0.9]) == [1.0, None, pytest.approx(0.12), 1.0]
    assert holm([]) == [] and holm([None]) == [None]


@settings(deadline=None)
@given(probabilities)
def test_holm_is_the_closed_test_of_bonferroni(values: list[float]) -> None:
    """Adjusted is the largest corrected p of any set of hypotheses that holds it."""
    for number, adjusted in enumerate(holm(values)):
        sets = (
            some
            for n in range(1, len(values) + 1)
            for some in itertools.combinations(range(len(values)), n)
            if number in some
        )
        assert adjusted == pytest.approx(
            max(min(1.0, len(some) * min(values[k] for k in some)) for some in sets)
        )


def test_of_ten_comparisons_that_show_nothing_any_is_called_something_one_time_in_twenty() -> None:
    random, draws = np.random.default_rng(2), 3000
    plain = corrected = 0
    for values in random.normal(0, 1, (draws, 10, 5)).tolist():
        p_values = [p_value(one) for one in values]
        plain += any(p is not None and p < 0.05 for p in p_values)
        corrected += any(p is not None and p < 0.05 for p in holm(p_values))
    assert within(plain, draws, 1 - 0.95**10), plain / draws
    assert within(corrected, draws, 0.05) or corrected / draws < 0.05, corrected / draws


# -- sigma ----------------------------------------------------------------------------------------------------------


def test_an_effect_is_told_in_what_random_runs_scatter() -> None:
    effect = Effect.of([3.0, 4.0, 5.0, None], [1.0, -1.0, None, 1.0, -1.0])
    assert effect.sigma == pytest.approx(math.sqrt(4 / 3)) and effect.mean.n == 3
    assert effect.sigmas == pytest.approx(4 / math.sqrt(4 / 3))
    assert sigma([1.0]) is None and Effect.of([1.0, 2.0]).sigmas is None
    assert Effect.of([1.0, 2.0], [0.5, 0.5]).sigmas is None and Effect.of([None], [1.0, 2.0]).sigmas is None
