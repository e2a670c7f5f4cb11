"""Shares, duplicates and exhaustion as arithmetic, with candidates that are numbers."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curator.errors import CuratorError
from synth.render.mix import Mix, apportion

Content = Callable[[str, int], object]


def run(mix: Mix, content: Content) -> list[list[tuple[str, int, int]]]:
    """The waves of ranges, where candidate k of a pattern is the row ``content(pattern, k)``."""
    waves = []
    while ranges := mix.ranges():
        waves.append(ranges)
        for name, start, stop in ranges:
            rows = [(k, str(content(name, k)).encode()) for k in range(start, stop)]
            mix.add(name, stop, rows, [], None)
    return waves


@given(
    st.integers(0, 10_000),
    st.lists(st.floats(0.01, 100), min_size=1, max_size=30),
)
def test_parts_sum_to_the_count_and_lie_within_one_of_the_exact_share(
    count: int, weights: list[float]
) -> None:
    parts = apportion(count, {str(number): weight for number, weight in enumerate(weights)})
    assert sum(parts.values()) == count
    for number, weight in enumerate(weights):
        assert abs(parts[str(number)] - count * weight / sum(weights)) < 1 + 1e-6


def test_distinct_rows_need_one_wave_of_exactly_the_quota() -> None:
    mix = Mix(100, {"a": 3.0, "b": 1.0})
    assert run(mix, lambda name, k: (name, k)) == [[("a", 0, 75), ("b", 0, 25)]]
    assert mix.tried["a"].taken == list(range(75)) and mix.tried["a"].duplicates == 0


def test_missing_rows_are_asked_for_until_they_are_there() -> None:
    mix = Mix(100, {"a": 1.0})
    waves = run(mix, lambda name, k: k // 2)  # every row twice
    assert waves[0] == [("a", 0, 100)] and waves[1][0][1] == 100
    assert len(mix.tried["a"].taken) == 100 and mix.tried["a"].taken[:3] == [0, 2, 4]
    assert not mix.limits


def test_an_exhausted_share_goes_to_the_others_by_weight() -> None:
    mix = Mix(700, {"a": 1.0, "b": 1.0, "c": 2.0})
    run(mix, lambda name, k: (name, k % 25 if name == "a" else k))
    assert mix.limits == {"a": 25}
    assert [len(mix.tried[name].taken) for name in "abc"] == [25, 225, 450]


def test_a_pattern_that_still_gives_five_percent_is_not_exhausted() -> None:
    mix = Mix(200, {"a": 1.0})
    run(mix, lambda name, k: k if k < 150 or k % 10 == 0 else "again")
    assert len(mix.tried["a"].taken) == 200 and not mix.limits


def test_the_first_pattern_in_order_keeps_a_row_that_two_give() -> None:
    mix = Mix(100, {"a": 1.0, "b": 1.0})
    run(mix, lambda name, k: k if name == "a" or k % 2 else ("b", k))
    assert mix.tried["a"].taken == list(range(50)) and len(mix.tried["b"].taken) == 50
    # b's odd candidates up to 49 are a's rows, later ones are its own
    assert mix.tried["b"].duplicates == 25


def test_a_generator_is_dropped_over_more_than_two_failures_in_a_hundred_candidates() -> None:
    mix = Mix(200, {"a": 1.0, "b": 1.0})
    first = True
    while ranges := mix.ranges():
        for name, start, stop in ranges:
            failed = 3 if name == "a" else 2
            failures = ["timeout: too long"] * failed if first else []
            rows = [(k, f"{name}{k}".encode()) for k in range(start + (failed if first else 0), stop)]
            mix.add(name, stop, rows, failures, None)
        first = False
    assert mix.dropped == {"a": "timeout: too long"} and len(mix.tried["b"].taken) == 200


def test_one_row_and_no_row_are_said_as_such() -> None:
    with pytest.raises(CuratorError, match=r"give 1 distinct row in all, 500 .*at most 1 \(--count\)"):
        run(Mix(500, {"a": 1.0}), lambda name, k: "same")
    mix = Mix(10, {"a": 1.0})
    mix.ranges()
    mix.add("a", 10, [], [], "empty: no token")
    with pytest.raises(CuratorError, match="give 0 distinct rows in all, 10 were asked for; generate more"):
        mix.ranges()


def test_nothing_left_says_what_there_is() -> None:
    with pytest.raises(CuratorError, match="give 12 distinct rows in all, 100 were asked for"):
        run(Mix(100, {"a": 1.0, "b": 1.0}), lambda name, k: (name, k % 6))


@given(st.integers(1, 300), st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 400), min_size=1))
def test_whatever_the_patterns_hold_the_count_is_met_or_refused(count: int, holds: dict[str, int]) -> None:
    """A pattern with n distinct rows never gives more, and rows are never shared out twice."""
    mix = Mix(count, dict.fromkeys(holds, 1.0))
    try:
        run(mix, lambda name, k: (name, k % holds[name]))
    except CuratorError:
        assert sum(holds.values()) < count + 0.3 * sum(holds.values())
        return
    taken = {name: len(mix.tried[name].taken) for name in holds}
    assert sum(taken.values()) == count
    assert all(taken[name] <= holds[name] for name in holds)
