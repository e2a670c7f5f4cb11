"""A selection has the asked size, comes from the asked range, and its controls are what they say they are."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from curator.artifacts.block_key import BlockKey
from curator.errors import CuratorError, UsageError
from curator.ranking.candidates import Candidates, average_ranks, gather_candidates, sources_of
from curator.ranking.ranking import Ranking
from curator.ranking.selection import Selection, choose, loss_bins, select

examples = settings(deadline=None, max_examples=60)


def ranking_of(
    scores: Any,
    first_sample: int = 0,
    losses: Any = None,
    units: tuple[str, ...] = ("induction:1.0",),
    corpus: str = "c0ffee",
    name: str = "ranking",
) -> Ranking:
    table = np.atleast_2d(np.asarray(scores, np.float64))
    return Ranking(
        path=Path(name),
        manifest={"fingerprints": {"corpus": corpus}, "request": {"corpus": "the corpus"}},
        scores=table,
        blocks=table,
        losses=np.arange(table.shape[1], dtype=np.float64) if losses is None else np.asarray(losses),
        units=list(units),
        block_keys=[BlockKey(unit, "qk") for unit in units],
        first_sample=first_sample,
    )


@st.composite
def candidates(draw: st.DrawFn, scores: st.SearchStrategy[float] | None = None) -> Candidates:
    """Up to 40 candidates with many ties, from some first sample on, in random storage order."""
    n = draw(st.integers(2, 40))
    values = scores or st.integers(-3, 3).map(float)
    column = st.lists(values, min_size=n, max_size=n).map(np.array)
    samples = draw(st.integers(0, 1000)) + np.array(draw(st.permutations(range(n))))
    names = np.array(draw(st.lists(st.sampled_from(["drill", "natural"]), min_size=n, max_size=n)))
    return Candidates.of(samples, draw(column), draw(column), names)


def by_sample(pool: Candidates, values: np.ndarray) -> dict[int, Any]:
    return dict(zip(pool.samples.tolist(), values.tolist()))


# --- invariants of every choice ------------------------------------------------------------------------


@examples
@given(candidates(), st.data())
def test_top_and_bottom_bound_the_rest_and_ties_go_to_the_smaller_index(
    pool: Candidates, data: st.DataObject
) -> None:
    n = data.draw(st.integers(1, len(pool)))
    score = by_sample(pool, pool.scores)
    for how, sign in (("top", 1), ("bottom", -1)):
        chosen = choose(pool, how, n)  # type: ignore[arg-type]
        expected = sorted(score, key=lambda sample: (-sign * score[sample], sample))[:n]
        assert chosen.tolist() == sorted(expected)
        assert chosen.dtype == np.int64


@examples
@given(candidates(), st.data())
def test_random_is_exact_seeded_and_disjoint_from_the_top(pool: Candidates, data: st.DataObject) -> None:
    n = data.draw(st.integers(1, len(pool)))
    seed = data.draw(st.integers(0, 5))
    top = set(choose(pool, "top", n).tolist())
    if 2 * n > len(pool):
        with pytest.raises(CuratorError, match=f"only {len(pool) - n} are left"):
            choose(pool, "random", n, seed=seed)
    else:
        chosen = choose(pool, "random", n, seed=seed)
        assert len(set(chosen.tolist())) == n and not top & set(chosen.tolist())
        assert set(chosen.tolist()) <= set(pool.samples.tolist())
        np.testing.assert_array_equal(chosen, choose(pool, "random", n, seed=seed))
    free = choose(pool, "random", n, seed=seed, exclude_top=False)
    assert len(set(free.tolist())) == n and set(free.tolist()) <= set(pool.samples.tolist())


@examples
@given(candidates(), st.sampled_from([1, 2, 5]), st.data())
def test_loss_matched_has_the_tops_histogram_of_losses(
    pool: Candidates, bins: int, data: st.DataObject
) -> None:
    n = data.draw(st.integers(1, len(pool)))
    groups = by_sample(pool, loss_bins(pool.losses, bins))
    top = choose(pool, "top", n).tolist()
    wanted = np.bincount([groups[sample] for sample in top], minlength=bins)
    there = np.bincount(list(groups.values()), minlength=bins) - wanted
    if (wanted > there).any():
        with pytest.raises(CuratorError, match="no loss-matched control"):
            choose(pool, "loss-matched", n, bins=bins)
        return
    chosen = choose(pool, "loss-matched", n, bins=bins, seed=3).tolist()
    assert len(set(chosen)) == n and not set(chosen) & set(top)
    assert np.bincount([groups[sample] for sample in chosen], minlength=bins).tolist() == wanted.tolist()
    assert chosen == choose(pool, "loss-matched", n, bins=bins, seed=3).tolist()


@examples
@given(candidates(), st.data())
def test_random_in_category_has_as_many_of_each_category_as_the_top(
    pool: Candidates, data: st.DataObject
) -> None:
    n = data.draw(st.integers(1, len(pool) // 2))
    assert pool.categories is not None
    category = by_sample(pool, pool.categories)
    top = choose(pool, "top", n).tolist()
    wanted = sorted(category[sample] for sample in top)
    short = [name for name in set(wanted) if 2 * wanted.count(name) > list(category.values()).count(name)]
    if short:
        with pytest.raises(CuratorError, match=f"{short[0]}: {wanted.count(short[0])} wanted"):
            choose(pool, "random-in-category", n)
        return
    chosen = choose(pool, "random-in-category", n, seed=1).tolist()
    assert sorted(category[sample] for sample in chosen) == wanted
    assert len(set(chosen)) == n and not set(chosen) & set(top)


@examples
@given(
    candidates(),
    st.sampled_from(["top", "bottom", "random", "loss-matched", "random-in-category"]),
    st.data(),
)
def test_storage_order_changes_no_choice(pool: Candidates, how: Any, data: st.DataObject) -> None:
    order = np.array(data.draw(st.permutations(range(len(pool)))))
    assert pool.categories is not None
    shuffled = Candidates.of(
        pool.samples[order], pool.scores[order], pool.losses[order], pool.categories[order]
    )
    try:
        expected = choose(pool, how, 2, seed=7, bins=2)
    except CuratorError:
        assume(False)
    np.testing.assert_array_equal(choose(shuffled, how, 2, seed=7, bins=2), expected)


def test_seeds_draw_differently_and_hit_every_candidate_alike() -> None:
    pool = Candidates.of(np.arange(20), np.arange(20.0), np.zeros(20))
    drawn = np.array([choose(pool, "random", 5, seed=seed) for seed in range(2000)])
    counts = np.bincount(drawn.ravel(), minlength=20)
    assert counts[15:].sum() == 0, "the top is left out"
    assert abs(counts[:15] / 2000 - 1 / 3).max() < 0.05
    matched = np.array([choose(pool, "loss-matched", 5, seed=seed) for seed in range(2000)])
    assert abs(np.bincount(matched.ravel(), minlength=20)[:15] / 2000 - 1 / 3).max() < 0.05


def test_loss_matched_says_how_many_bins_would_do() -> None:
    losses = np.arange(100.0)
    pool = Candidates.of(np.arange(100), -(np.arange(100) % 10.0), losses)  # the top: losses 0, 10, 20, …
    with pytest.raises(CuratorError, match=r"in 10 of 100 loss bins .*\(bin 0: 1 wanted, 0 left\); 50 bins"):
        choose(pool, "loss-matched", 10)
    lowest = Candidates.of(np.arange(100), -np.arange(100.0), losses)
    with pytest.raises(CuratorError, match="choose fewer samples"):
        choose(lowest, "loss-matched", 60)
    assert len(choose(lowest, "loss-matched", 10, bins=5)) == 10


# --- from rankings to a selection ----------------------------------------------------------------------


def test_selection_takes_count_or_percent_of_the_samples_of_a_step_range() -> None:
    ranking = ranking_of(np.sin(np.arange(80)), first_sample=40)
    pair = sources_of([ranking])
    chosen = select(pair, count=7, steps=(5, 9), batch_size=10)
    assert len(chosen) == 7 and chosen.samples.min() >= 50 and chosen.samples.max() < 90
    inside = np.arange(50, 90)
    best = inside[np.argsort(-np.sin(inside - 40))][:7]
    assert chosen.samples.tolist() == sorted(best.tolist())
    assert len(select(pair, percent=25)) == 20
    assert len(select(pair, percent=25, steps=(5, 9), batch_size=10)) == 10
    assert len(select(pair, percent=100)) == 80


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({}, "either a count or a percent"),
        ({"count": 1, "percent": 1.0}, "either a count or a percent"),
        ({"count": 0}, "0 samples asked for, but there are 80"),
        ({"count": 81}, "81 samples asked for, but there are 80"),
        ({"percent": 0.1}, r"0.1 % \(0 samples\)"),
        ({"percent": 101.0}, "at most 100"),
        ({"count": 1, "steps": (5, 6)}, "batch size"),
        ({"count": 1, "steps": (3, 6), "batch_size": 10}, "are samples 30 to 59, but .* samples 40 to 119"),
        ({"count": 1, "steps": (6, 6), "batch_size": 10}, "samples 40 to 119"),
        ({"count": 1, "how": "best"}, "'best' is not one of: top, bottom, random, loss-matched"),
        ({"count": 1, "how": "random-in-category"}, "knows its samples' categories"),
    ],
)
def test_senseless_requests_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        select(sources_of([ranking_of(np.arange(80.0), first_sample=40)]), **wrong)


@examples
@given(st.lists(st.integers(-4, 4), min_size=1, max_size=30))
def test_average_ranks_equal_counting(values: list[int]) -> None:
    ranks = average_ranks(np.array(values, np.float64))
    for value, rank in zip(values, ranks):
        lower, equal = sum(other < value for other in values), values.count(value)
        assert rank == lower + (equal + 1) / 2


@examples
@given(st.data())
def test_several_rankings_average_their_ranks_over_the_common_samples(data: st.DataObject) -> None:
    values = st.lists(st.integers(-5, 5).map(float), min_size=12, max_size=12)
    a = ranking_of(data.draw(values), first_sample=10, name="a")
    b = ranking_of(data.draw(values), first_sample=14, name="b")
    pool = gather_candidates(sources_of([a, b]))
    assert pool.samples.tolist() == list(range(14, 22))
    expected = (average_ranks(a.scores[0, 4:]) + average_ranks(b.scores[0, :8])) / 16
    np.testing.assert_allclose(pool.scores, expected, atol=1e-15)
    np.testing.assert_array_equal(gather_candidates(sources_of([b, a])).scores, pool.scores)
    scaled = ranking_of(1e6 * b.scores + 3, first_sample=14, name="b")
    np.testing.assert_array_equal(gather_candidates(sources_of([a, scaled])).scores, pool.scores)


def test_units_choose_the_scores_that_count() -> None:
    both = ranking_of([[1.0, 2, 3], [3.0, 2, 1]], units=("induction:1.0", "previous-token:0.2"))
    one = ranking_of([9.0, 0, 0], name="one")
    assert [unit for _, unit in sources_of([both])] == both.units
    named = sources_of([both, one], ["induction:1.0"])
    assert [(ranking.path.name, unit) for ranking, unit in named] == [
        ("ranking", "induction:1.0"),
        ("one", "induction:1.0"),
    ]
    bare, pairs = select(both, count=2), select(sources_of([both]), count=2)
    assert bare.samples.tolist() == pairs.samples.tolist() and bare.description == pairs.description
    assert select(sources_of([both], ["previous-token:0.2"]), count=1).samples.tolist() == [0]
    assert select(sources_of([both], ["induction:1.0"]), count=1).samples.tolist() == [2]
    with pytest.raises(UsageError, match=r"unit 'induction:9.9'.*ranking: induction:1.0, previous-token:0.2"):
        sources_of([both], ["induction:9.9"])
    with pytest.raises(UsageError, match=r"one has none of previous-token:0.2"):
        sources_of([both, one], ["previous-token:0.2"])
    with pytest.raises(UsageError, match="no ranking given"):
        sources_of([])


def test_rankings_of_different_corpora_or_ranges_are_refused_naming_both() -> None:
    a, b = ranking_of([1.0, 2], name="a"), ranking_of([1.0, 2], corpus="decade", name="b")
    with pytest.raises(CuratorError, match=r"a ranks the corpus .* c0ffee .*, but b has decade"):
        select(sources_of([a, b]), count=1)
    later = ranking_of([1.0, 2], first_sample=2, name="later")
    with pytest.raises(CuratorError, match="no sample in common: a has 0 to 1, later has 2 to 3"):
        select(sources_of([a, later]), count=1)


def test_scores_and_losses_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(CuratorError, match=r"score of induction:1.0 is nan for sample 11 \(1 such"):
        select(sources_of([ranking_of([1, np.nan, 2], first_sample=10)]), count=1)
    with pytest.raises(CuratorError, match="loss is inf for sample 0"):
        select(sources_of([ranking_of([1, 2], losses=[np.inf, 1.0])]), count=1)


def test_categories_are_those_of_the_whole_corpus() -> None:
    categories = np.array(["drill", "drill", "natural", "drill", "natural", "natural"])
    pair = sources_of([ranking_of([0.0, 5, 0, 0], first_sample=2)])  # the top is sample 3, a drill
    chosen = select(pair, count=2, categories=categories, how="top")
    assert chosen.samples.tolist() == [2, 3]
    with pytest.raises(CuratorError, match=r"drill: 1 wanted, 0 left"):
        select(pair, count=2, categories=categories, how="random-in-category")
    with pytest.raises(CuratorError, match="categories for 3 samples, but candidates up to 5"):
        select(pair, count=2, categories=categories[:3])


def test_what_was_chosen_and_how_can_always_be_listed(tmp_path: Path) -> None:
    ranking = ranking_of(np.cos(np.arange(300)))
    chosen = select(
        sources_of([ranking]), how="loss-matched", count=10, bins=2, seed=5, steps=(1, 3), batch_size=100
    )
    chosen.save(tmp_path)
    opened = Selection.open(tmp_path)
    np.testing.assert_array_equal(opened.samples, chosen.samples)
    assert opened.description == chosen.description
    told = opened.description
    assert told["candidates"] == {"samples": 200, "first": 100, "last": 299}
    assert (told["select"], told["seed"], told["loss_bins"], told["excludes_top"]) == (
        "loss-matched",
        5,
        2,
        True,
    )
    assert told["rankings"][0]["unit"] == "induction:1.0" and told["corpus_fingerprint"] == "c0ffee"
    np.save(tmp_path / "samples.npy", chosen.samples + 1)
    with pytest.raises(CuratorError, match=r"it was changed.*choose the samples again"):
        Selection.open(tmp_path)
