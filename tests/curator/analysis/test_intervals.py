"""Means over seeds: Student's t as scipy and tables have it, and pairs that lack a partner are left out."""

import numpy as np
import pytest
from scipy import stats

from curator.analysis.intervals import Mean, paired


def test_the_interval_is_students_t() -> None:
    values = np.random.default_rng(0).normal(3, 2, 7)
    for level in (0.5, 0.95, 0.99):
        mean = Mean.of(values.tolist(), level)
        low, high = stats.t.interval(level, 6, loc=values.mean(), scale=stats.sem(values))
        assert mean.mean == pytest.approx(values.mean(), rel=1e-14) and mean.n == 7
        assert mean.mean is not None and mean.half is not None
        assert [mean.mean - mean.half, mean.mean + mean.half] == pytest.approx([low, high], rel=1e-12)


@pytest.mark.parametrize("n, t", [(2, 12.706), (3, 4.303), (5, 2.776), (10, 2.262), (31, 2.042)])
def test_its_quantiles_are_those_of_the_tables(n: int, t: float) -> None:
    values = [0.0] * (n - 1) + [float(n)]  # the standard error of these is 1
    assert Mean.of(values).half == pytest.approx(t, abs=5e-4)


def test_means_say_their_interval_and_one_seed_has_none() -> None:
    assert Mean.of([1.0, 3.0]).text(1) == "+2.0 ± 12.7"
    assert Mean.of([-5.0]).text() == "-5" and Mean.of([-5.0]).half is None
    assert Mean.of([]).text() == Mean.of([None]).text() == "never"


def test_a_pair_of_which_one_is_not_known_is_left_out() -> None:
    differences = paired([1.0, None, 5.0, 7.0], [0.0, 2.0, None, 3.0])
    assert differences == [1.0, None, None, 4.0]
    assert Mean.of(differences) == Mean.of([1.0, 4.0]) and Mean.of(differences).n == 2
    with pytest.raises(ValueError):
        paired([1.0], [1.0, 2.0])
