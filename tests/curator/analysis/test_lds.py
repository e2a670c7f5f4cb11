"""The linear datamodeling score on cases of known answer: a linear model, noise, ties, and a lead that is there."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from curator.analysis.lds import RESAMPLES, datamodeling_scores, spearman

SAMPLES, SUBSETS = 300, 120


def halves(seed: int) -> np.ndarray:
    """[subsets, samples] 1 for the half that a subset keeps."""
    random = np.random.default_rng(seed)
    kept = np.zeros((SUBSETS, SAMPLES))
    for row in kept:
        row[random.choice(SAMPLES, SAMPLES // 2, replace=False)] = 1
    return kept


def test_of_a_linear_model_the_score_of_its_own_weights_is_one() -> None:
    kept, weights = halves(0), np.random.default_rng(1).normal(size=SAMPLES)
    found = datamodeling_scores({"own": kept @ weights, "against": -kept @ weights}, 3 + 0.1 * kept @ weights)
    own, against = found.correlations["own"], found.correlations["against"]
    assert (own.value, own.low, own.high) == pytest.approx((1, 1, 1))
    assert (against.value, against.low, against.high) == pytest.approx((-1, -1, -1))
    assert found.lead("own", "against").low == pytest.approx(2)


def test_of_noise_the_interval_holds_zero_nineteen_times_in_twenty() -> None:
    covered = 0
    for seed in range(20):
        random, kept = np.random.default_rng(seed), halves(seed)
        found = datamodeling_scores(
            {"noise": kept @ random.normal(size=SAMPLES)}, random.normal(size=SUBSETS)
        )
        covered += found.correlations["noise"].low <= 0 <= found.correlations["noise"].high
    assert covered >= 15  # of 20 at 95 %: fewer has a chance of one in three thousand


def test_a_lead_that_is_there_is_seen_and_what_would_be_seen_is_told() -> None:
    random, kept = np.random.default_rng(5), halves(5)
    weights = random.normal(size=SAMPLES)
    measured = kept @ weights + random.normal(size=SUBSETS) * 2
    rough = weights + 2 * random.normal(size=SAMPLES)
    found = datamodeling_scores({"good": kept @ weights, "rough": kept @ rough}, measured)
    lead = found.lead("good", "rough")
    assert 0 < lead.low < lead.value < lead.high
    assert lead.value > found.visible("good", "rough") > 0.5 * (lead.high - lead.low) / 2
    assert found.lead("rough", "good").high == pytest.approx(-lead.low)


def test_spearman_is_scipys_with_ties_too() -> None:
    random = np.random.default_rng(3)
    a, b = random.integers(0, 5, (4, 30)), random.integers(0, 9, (4, 30))
    theirs = [spearmanr(one, other).statistic for one, other in zip(a, b, strict=True)]
    np.testing.assert_allclose(spearman(a, b), theirs)
    assert np.isnan(spearman(np.ones((1, 5)), b[:1, :5])).all()


def test_the_same_seed_gives_the_same_interval() -> None:
    kept, measured = halves(2), np.random.default_rng(2).normal(size=SUBSETS)
    once, again = (datamodeling_scores({"a": kept[:, 0] + kept[:, 1]}, measured, seed=4) for _ in range(2))
    assert once.correlations == again.correlations and once.draws["a"].shape == (RESAMPLES,)


def test_what_cannot_be_scored_is_refused() -> None:
    with pytest.raises(ValueError, match="2 subsets say nothing"):
        datamodeling_scores({"a": np.ones(2)}, np.ones(2))
    with pytest.raises(ValueError, match="not finite"):
        datamodeling_scores({"a": np.array([1, 2, np.nan])}, np.arange(3.0))
