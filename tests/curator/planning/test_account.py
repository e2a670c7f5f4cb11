"""The account of a plan against bookkeeping by hand, and a plan that does not do what its folder says."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import done
from commands import refused as refused_by_cli
from hypothesis import given, settings
from hypothesis import strategies as st

from curator.corpus import open_corpus
from curator.plan.plan import Plan
from curator.plan.token_masks import pack
from curator.planning.account import account_of

STEPS, BATCH = 12, 4
N, TARGETS = STEPS * BATCH, 9


@st.composite
def edited(draw: st.DrawFn) -> tuple[Plan, dict[str, Any]]:
    """(a plan, what was done to it): up to one row in a step replaced, extra steps anywhere, of a set or the corpus."""
    epoch = draw(st.sampled_from([None, 20, 17]))
    corpus = N if epoch is None else epoch
    plan = Plan.identity(N, BATCH, "corpus-a", epoch_samples=epoch)
    plan, source = plan.with_source("set", "/set", "set-a")
    steps = draw(st.lists(st.integers(0, STEPS - 1), unique=True))
    slots = np.array([step * BATCH + draw(st.integers(0, BATCH - 1)) for step in steps], np.int64)
    rows = np.array([draw(st.integers(0, 5)) for _ in steps], np.int64)
    plan = plan.replace(slots, rows, source)
    last = STEPS if epoch is None else STEPS - 1  # at the end they might be the next steps of the pass
    where = np.array(sorted(draw(st.lists(st.integers(0, last), max_size=4))), np.int64)  # less than a pass
    of_set = draw(st.booleans())
    put = draw(st.integers(0, corpus - 1)) + np.arange(len(where) * BATCH)
    put = (put[::-1] % corpus).copy()
    plan = plan.insert(where, put, source if of_set else 0)
    from_set = [*rows.tolist(), *(put.tolist() if of_set else [])]
    from_corpus = [] if of_set else put.tolist()
    return plan, {
        "steps": STEPS,
        "extra_steps": len(where),
        "at_home": N - len(slots),
        "replaced": len(slots),
        "put": {
            name: (len(samples), len(set(samples)))
            for name, samples in (("the corpus", from_corpus), ("set", from_set))
            if samples
        },
    }


@given(edited())
@settings(max_examples=300, deadline=None)
def test_every_base_row_is_where_it_should_be_and_every_insertion_counted(
    pair: tuple[Plan, dict[str, Any]],
) -> None:
    plan, expected = pair
    found = account_of(plan)
    put = {one.name: (one.slots, one.different) for one in found.put}
    told = {name: getattr(found, name) for name in ("steps", "extra_steps", "at_home", "replaced")}
    assert {**told, "put": put} == expected


@given(edited(), st.data())
@settings(max_examples=50, deadline=None)
def test_what_does_not_count_is_counted(pair: tuple[Plan, dict[str, Any]], data: st.DataObject) -> None:
    plan, _ = pair
    held = plan.lookup(np.arange(plan.n_slots))
    samples = np.unique(held.sample[held.source == 0])
    chosen = np.array(data.draw(st.lists(st.sampled_from(samples.tolist()), unique=True)), np.int64)
    counted = np.random.default_rng(len(chosen)).random((len(chosen), TARGETS)) < 0.5
    masked = samples[:2]
    found = account_of(plan.mask_tokens(chosen, pack(counted), TARGETS).mask(masked))
    whole = {int(sample) for sample, row in zip(chosen, counted) if not row.any()} | set(masked.tolist())
    by_sample = {int(sample): int((~row).sum()) for sample, row in zip(chosen, counted)}
    slots = [int(s) for s, source in zip(held.sample, held.source) if source == 0]
    assert found.masked == sum(sample in whole for sample in slots)
    left = [by_sample.get(sample, 0) for sample in slots if sample not in whole]
    assert (found.masked_tokens, found.token_slots) == (sum(left), sum(number > 0 for number in left))


def test_a_step_replaced_as_a_whole_is_no_extra_step_and_a_step_repeated_is_one() -> None:
    plan, source = Plan.identity(N, BATCH, "corpus-a").with_source("set", "/set", "set-a")
    whole = account_of(plan.replace(np.arange(8, 12), np.arange(4), source))
    assert (whole.steps, whole.extra_steps, whole.replaced) == (STEPS, 0, 4)
    again = account_of(
        plan.insert(np.array([9]), np.arange(8, 12))
    )  # looks as if seven steps had been put in
    assert (again.steps, again.extra_steps, again.replaced) == (STEPS, 1, 0)
    last = account_of(plan.insert(np.array([STEPS, STEPS]), np.arange(8), source))
    assert (last.steps, last.extra_steps, last.at_home) == (STEPS, 2, N)


# -- the commands ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("check") / "rows.npy"
    np.save(path, np.random.default_rng(0).integers(0, 6, (N, TARGETS + 1)).astype(np.uint16))
    return path


def test_show_and_check_count_masked_tokens_against_the_corpus(rows: Path, tmp_path: Path) -> None:
    base = ["mask", "--corpus", rows, "--batch-size", BATCH]
    np.save(tmp_path / "list.npy", np.arange(4))
    done(*base, "--samples", tmp_path / "list.npy", "--out", tmp_path / "first")
    done(*base, "--tokens", "copyable", "--plan", tmp_path / "first", "--out", tmp_path / "plan")
    plan = Plan.load(tmp_path / "plan")
    share = f"{plan.masked_tokens()}, {100 * plan.masked_tokens() / (N * TARGETS):.1f} % of all"
    shown = done("plan", "show", tmp_path / "plan")
    assert share in shown and "Next: curator plan check" in shown
    said = done("plan", "check", tmp_path / "plan", "--corpus", rows)
    assert share in said
    assert (
        f"The copyable tokens of all {N - 4} slots that hold the {N - 4} chosen samples are masked." in said
    )
    slots = len(plan.mask_slots)
    assert (
        f"{plan.masked_tokens()} tokens of {slots} slots do not count: of {slots} just the copyable" in said
    )
    assert "All 4 slots that hold the 4 chosen samples are masked" in done(
        "plan", "check", tmp_path / "first", "--corpus", rows
    )


def test_check_counts_what_was_put_in(rows: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "extra.npy", np.load(rows)[::-1][: 3 * BATCH])
    put = ["inject", "--corpus", rows, "--batch-size", BATCH, "--rows", tmp_path / "extra.npy", "--repeat", 2]
    for name, where in (
        ("burst", ["--after", 5]),
        ("spread", ["--spread", "2:9"]),
        ("in", ["--replace", "4:12"]),
    ):
        done(*put, *where, "--out", tmp_path / name)
        said = done("plan", "check", tmp_path / name, "--corpus", rows)
        steps = 0 if name == "in" else 6
        assert f"As injected.json says, {6 * BATCH} rows were put in, and {steps} steps added." in said
        assert "24 rows, 12 different ones" in said


def test_check_refuses_a_plan_that_does_something_else_than_it_says(rows: Path, tmp_path: Path) -> None:
    base = ["mask", "--corpus", rows, "--batch-size", BATCH]
    check = ["plan", "check", tmp_path / "plan", "--corpus", rows]
    done(*base, "--tokens", "copyable", "--out", tmp_path / "plan")
    plan = Plan.load(tmp_path / "plan")
    slot = int(plan.mask_slots[3])
    counted = plan.counted(np.array([slot]))
    assert counted is not None
    token = int(np.flatnonzero(~counted[0])[0])
    plan.replace(np.array([slot]), np.array([slot])).save(tmp_path / "plan")
    assert f"but token {token + 1} of slot {slot} does" in refused_by_cli(1, *check)

    np.save(tmp_path / "list.npy", np.array([3, 5]))
    done(*base, "--samples", tmp_path / "list.npy", "--out", tmp_path / "masked")
    Plan.load(tmp_path / "masked").replace(np.array([5]), np.array([5])).save(tmp_path / "masked")
    says = refused_by_cli(1, "plan", "check", tmp_path / "masked", "--corpus", rows)
    assert "says that 2 samples are masked, but slot 5 trains on one of them" in says

    other = np.load(rows)
    other[0, 0] += 1
    np.save(tmp_path / "other.npy", other)
    says = refused_by_cli(1, "plan", "check", tmp_path / "plan", "--corpus", tmp_path / "other.npy")
    assert open_corpus(rows).fingerprint() in says

    put = ["inject", "--corpus", rows, "--batch-size", BATCH, "--rows", rows, "--count", 8, "--after", 5]
    done(*put, "--out", tmp_path / "put")
    file = tmp_path / "put" / "injected.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"samples": 12}))
    says = refused_by_cli(1, "plan", "check", tmp_path / "put", "--corpus", rows)
    assert "'rows put in': 12}, but the plan has {'extra steps': 2, 'rows put in': 8}" in says
