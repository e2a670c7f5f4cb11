"""`curator mask --tokens` as a user meets it: what is masked is what the rows say, counted in plain Python."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import done, refused
from tiny_runs import assert_same_bits

from curator.corpus import open_corpus
from curator.plan.plan import Plan
from curator.ranking.ranking import Ranking

BATCH, N, TARGETS = 16, 480, 16


def by_hand(row: list[int], tokens: str) -> list[bool]:
    """Which of the row's tokens, all but the first, are left out."""
    last: dict[int, int] = {}
    seen: set[tuple[int, int]] = set()
    left_out = []
    for before, token in pairwise(row):
        left_out.append(last.get(before) == token if tokens == "copyable" else (before, token) in seen)
        last[before] = token
        seen.add((before, token))
    return left_out


def left_out(folder: Path) -> np.ndarray:
    """[slots, targets] which tokens do not count."""
    counted = Plan.load(folder).counted(np.arange(N))
    assert counted is not None
    return ~counted


@pytest.mark.parametrize("tokens", ["copyable", "repeated"])
def test_tokens_of_all_samples_are_masked_as_the_rows_say(study: Path, tmp_path: Path, tokens: str) -> None:
    words = ["mask", "--corpus", study / "corpus", "--batch-size", BATCH]
    said = done(*words, "--tokens", tokens, "--out", tmp_path / "plan")
    rows = open_corpus(study / "corpus").rows(slice(0, N)).astype(int).tolist()
    expected = np.array([by_hand(row, tokens) for row in rows])
    assert np.array_equal(left_out(tmp_path / "plan"), expected) and expected.any()
    slots = int(expected.any(1).sum())
    assert f"Masked {expected.sum()} of {slots * TARGETS} tokens ({tokens}) of {slots} slots (all)" in said
    selection = json.loads((tmp_path / "plan" / "selection.json").read_text())
    assert (selection["tokens"], selection["select"], selection["n_samples"]) == (tokens, "all", N)


def test_tokens_of_a_rankings_top_of_some_steps_or_of_a_list(study: Path, tmp_path: Path) -> None:
    words = ["mask", "--corpus", study / "corpus", "--batch-size", BATCH, "--tokens", "copyable"]
    done(*words, "--out", tmp_path / "all")
    everything = left_out(tmp_path / "all")

    ranked = ["--ranking", study / "ranking", "--unit", "induction:1.0", "--percent", 10]
    done(*words, *ranked, "--out", tmp_path / "top")
    top = Ranking.open(study / "ranking").top(32, "induction:1.0")
    assert np.array_equal(np.load(tmp_path / "top" / "samples.npy"), np.sort(top))
    np.save(tmp_path / "list.npy", top)
    done(*words, "--samples", tmp_path / "list.npy", "--out", tmp_path / "list")
    done(*words, "--steps", "10:12", "--out", tmp_path / "steps")
    for name, samples in {"top": top, "list": top, "steps": np.arange(160, 192)}.items():
        others = np.setdiff1d(np.arange(N), samples)
        found = left_out(tmp_path / name)
        assert np.array_equal(found[samples], everything[samples]) and found.any(), name
        assert not found[others].any(), name
    assert Plan.load(tmp_path / "top").fingerprint() == Plan.load(tmp_path / "list").fingerprint()


def test_masks_of_samples_and_of_tokens_compose_in_any_order_and_with_what_is_put_in(
    study: Path, tmp_path: Path
) -> None:
    base = ["mask", "--corpus", study / "corpus", "--batch-size", BATCH]
    np.save(tmp_path / "list.npy", np.arange(100, 120))
    one = [*base, "--samples", tmp_path / "list.npy"]
    two = [*base, "--tokens", "copyable", "--divisor", "renormalised"]
    done(*one, "--out", tmp_path / "s")
    done(*two, "--plan", tmp_path / "s", "--out", tmp_path / "st")
    done(*two, "--out", tmp_path / "t")
    done(*one, "--plan", tmp_path / "t", "--out", tmp_path / "ts")
    plan = Plan.load(tmp_path / "st")
    assert plan.fingerprint() == Plan.load(tmp_path / "ts").fingerprint() and plan.divisor == "renormalised"
    assert plan.masked_slots().tolist() == list(range(100, 120))
    tokens = left_out(tmp_path / "t")
    tokens[100:120] = False
    assert np.array_equal(left_out(tmp_path / "st"), tokens)

    np.save(tmp_path / "rows.npy", open_corpus(study / "corpus").rows(slice(0, 32)))
    put = ["inject", "--corpus", study / "corpus", "--rows", tmp_path / "rows.npy", "--after", 5]
    done(*put, "--plan", tmp_path / "st", "--out", tmp_path / "more")
    counted = Plan.load(tmp_path / "more").counted(np.arange(N + 32))
    assert counted is not None and counted[80:112].all(), "what is put in counts whole"
    assert np.array_equal(~np.delete(counted, np.s_[80:112], 0), tokens)


def test_random_tokens_are_as_many_in_every_row_elsewhere_and_seeded(study: Path, tmp_path: Path) -> None:
    words = ["mask", "--corpus", study / "corpus", "--batch-size", BATCH, "--tokens"]
    done(*words, "copyable", "--out", tmp_path / "copyable")
    done(*words, "random", "--out", tmp_path / "a")
    done(*words, "random", "--seed", 1, "--out", tmp_path / "b")
    done(*words, "random", "--steps", "20:30", "--out", tmp_path / "late")
    copyable, a, b, late = (left_out(tmp_path / name) for name in ("copyable", "a", "b", "late"))
    assert np.array_equal(a.sum(1), copyable.sum(1)) and np.array_equal(b.sum(1), copyable.sum(1))
    assert (a != copyable).any() and (a != b).any()
    assert np.array_equal(late[320:], a[320:]), "a sample's places do not hang on what else is masked"


def test_the_embedded_trainer_follows_and_the_divisor_matters(study: Path, tmp_path: Path) -> None:
    words = ["mask", "--corpus", study / "corpus", "--batch-size", BATCH, "--tokens", "copyable"]
    for divisor in ("kept", "renormalised"):
        plan = tmp_path / divisor
        done(*words, "--divisor", divisor, "--steps", "0:4", "--out", plan)
        run = ["train", "-e", study / "study.yml", "--plan", plan, "--out", tmp_path / f"run-{divisor}"]
        done(*run, "--stop-step", 4)
    with pytest.raises(AssertionError):
        assert_same_bits(tmp_path / "run-kept" / "step4", tmp_path / "run-renormalised" / "step4")


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (
            [],
            "say what to mask: --ranking RANKING with --count or --percent, --samples LIST.npy, or --tokens",
        ),
        (["--tokens", "copiable"], "did you mean 'copyable'?"),
        (["--tokens", "copyable", "--percent", 10], "--percent chooses from a ranking"),
        (["--tokens", "copyable", "--steps", "20:31"], "the plan has steps 0 to 29; end at 30"),
        (["--samples", "LIST", "--ranking", "RANKING"], "--ranking and --samples exclude each other"),
        (["--samples", "LIST", "--steps", "0:2"], "none of its samples is trained on in these steps"),
        (["--samples", "LIST", "--select", "random"], "--select chooses from a ranking"),
    ],
    ids=str,
)
def test_what_says_too_little_or_too_much_is_refused(
    study: Path, tmp_path: Path, flags: list[Any], says: str
) -> None:
    np.save(tmp_path / "list.npy", np.arange(100, 120))
    words = {"LIST": tmp_path / "list.npy", "RANKING": study / "ranking"}
    base = ["mask", "--corpus", study / "corpus", "--batch-size", BATCH, "--out", tmp_path / "plan"]
    assert says in refused(2, *base, *(words.get(flag, flag) for flag in flags))
    assert not (tmp_path / "plan").exists()
