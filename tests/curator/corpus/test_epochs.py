"""Runs that pass over their corpus more than once: slot s holds sample s modulo its length, wherever that is asked."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from commands import done, rank_golden, refused
from hypothesis import given
from hypothesis import strategies as st
from laid import lay
from tiny_runs import CONFIG, SLOTS, assert_same_bits, make_corpus

from curator.errors import CuratorError, UsageError
from curator.plan.plan import Plan
from curator.plan.rows import PlannedRows
from curator.plan.rules import samples_of_steps
from curator.ranking.ranking import Ranking
from curator.ranking.selection import Selection
from curator.training import train

N, BATCH, STEPS = 10, 4, 6  # 2.4 passes; steps 2 and 4 hold both ends


def wrapped(divisor: str = "kept") -> Plan:
    return Plan.identity(STEPS * BATCH, BATCH, "corpus", divisor, epoch_samples=N)  # type: ignore[arg-type]


def test_the_unedited_plan_holds_slots_modulo_the_corpus() -> None:
    plan = wrapped()
    held = plan.lookup(np.arange(plan.n_slots))
    assert held.sample.tolist() == [slot % N for slot in range(24)] and not held.source.any()
    assert plan.first_edited_slot() == plan.n_slots and plan.highest_sample() == N - 1
    assert (
        plan.epoch_samples == N and Plan.identity(8, BATCH, "corpus", epoch_samples=N).epoch_samples is None
    )


@given(
    st.lists(st.integers(0, N - 1), max_size=3),
    st.dictionaries(st.integers(0, 23), st.integers(0, N - 1), max_size=3),
)
def test_edits_of_a_wrapped_plan_agree_with_a_list_of_slots(
    masked: list[int], replaced: dict[int, int]
) -> None:
    """Every occurrence of a masked sample is masked, and the first edit is the first slot that differs."""
    plan = wrapped().mask(np.array(masked, np.int64))
    plan = plan.replace(np.array([*replaced], np.int64), np.array([*replaced.values()], np.int64))
    held = plan.lookup(np.arange(24))
    expected = [(slot % N, 0.0 if slot % N in masked else 1.0) for slot in range(24)]
    for slot, sample in replaced.items():
        expected[slot] = (sample, 1.0)
    assert list(zip(held.sample.tolist(), held.weight.tolist())) == expected
    differs = [slot for slot in range(24) if expected[slot] != (slot % N, 1.0)]
    assert plan.first_edited_slot() == min(differs, default=24)
    assert wrapped().insert(np.array([3]), np.arange(BATCH)).first_edited_slot() == 12


def test_a_wrapped_plan_says_so_on_disk_and_others_are_as_they_were(tmp_path: Path) -> None:
    plan = wrapped().mask(np.array([3]))
    plan.save(tmp_path / "wrapped")
    there = Plan.load(tmp_path / "wrapped")
    assert there.fingerprint() == plan.fingerprint() and there.epoch_samples == N
    header = json.loads((tmp_path / "wrapped" / "plan.json").read_text())
    assert header["epoch_samples"] == N
    plain = Plan.identity(30, 5, "c", epoch_samples=30)
    plain.save(tmp_path / "plain")
    assert "epoch_samples" not in json.loads((tmp_path / "plain" / "plan.json").read_text())
    assert (
        plain.fingerprint() == Plan.load(tmp_path / "plain").fingerprint() == "c0801a677403663b"
    )  # as before
    header["epoch_samples"] = 9
    (tmp_path / "wrapped" / "plan.json").write_text(json.dumps(header))
    with pytest.raises(CuratorError, match="holds sample 9, but epoch_samples says that the corpus has 9"):
        Plan.load(tmp_path / "wrapped")
    with pytest.raises(CuratorError, match="epoch_samples is 0"):
        replace(wrapped(), epoch_samples=0)


@pytest.mark.parametrize(
    ("steps", "samples"),
    [((0, 2), (0, 8)), ((3, 5), (2, 10)), ((5, 6), (0, 4))],
)
def test_steps_of_later_passes_are_samples_of_the_corpus(
    steps: tuple[int, int], samples: tuple[int, int]
) -> None:
    assert samples_of_steps(steps, BATCH, N) == samples
    held = wrapped().lookup(np.arange(steps[0] * BATCH, steps[1] * BATCH)).sample
    assert held.tolist() == list(range(*samples))


@pytest.mark.parametrize(
    ("steps", "mend"), [((1, 4), "up to 2, or from 3 on"), ((4, 6), "up to 5, or from 5 on")]
)
def test_steps_that_hold_both_ends_of_the_corpus_are_refused(steps: tuple[int, int], mend: str) -> None:
    if steps == (4, 6):  # slot 20 begins the third pass, with step 5
        assert samples_of_steps((5, 6), BATCH, N) == (0, 4)
    with pytest.raises(UsageError, match=mend):
        samples_of_steps(steps, BATCH, N)


def test_commands_count_steps_through_all_passes(tmp_path: Path) -> None:
    """256 rows of the golden corpus, 16 a step: step 20 is step 4 of the second pass."""
    words = [word for word in rank_golden(tmp_path / "ranking", "--unit", "induction:1.2") if word != "0:8"]
    words.remove("--samples")
    passes = ["--batch-size", 16, "--epochs", 2]
    assert "give steps up to 16, or from 16 on" in refused(2, *words, "--window", "15:17", *passes)
    assert "end at 32" in refused(2, *words, "--window", "31:33", *passes)
    assert "256 samples" in refused(2, *words, "--window", "20:22", "--batch-size", 16)
    said = done(*words, "--window", "20:22", *passes)
    assert "samples 64 to 95, in epoch 2 of 2 (sample = slot modulo 256)" in " ".join(said.split())
    ranking = Ranking.open(tmp_path / "ranking")
    assert (ranking.first_sample, len(ranking)) == (64, 32)
    assert ranking.manifest["request"]["window"] == {"steps": [20, 22], "batch_size": 16, "epochs": 2}

    chosen = ["--ranking", tmp_path / "ranking", "--count", 4, *passes]
    said = done("mask", *chosen, "--steps", "21:22", "--out", tmp_path / "mask")
    plan, samples = Plan.load(tmp_path / "mask"), Selection.open(tmp_path / "mask").samples
    assert samples.min() >= 80 and plan.masked_slots().tolist() == sorted([*samples, *(samples + 256)])
    assert "Masked 8 of 512 slots" in said and "modulo 256, and a masked sample is masked each time" in said
    done("inject", *chosen, "--from-steps", "20:21", "--replace", "18:19", "--out", tmp_path / "inject")
    plan = Plan.load(tmp_path / "inject")
    assert plan.epoch_samples == 256 and 18 * 16 <= plan.first_edited_slot() < 19 * 16
    assert Selection.open(tmp_path / "inject").samples.max() < 80
    assert Plan.load(tmp_path / "mask").lookup(np.array([300])).sample == 44


def test_gpt_neox_s_own_order_has_no_further_passes(tmp_path: Path) -> None:
    maps = lay(tmp_path, [40] * 8).map()
    words = ["inject", "--corpus", maps, "--rows", maps, "--after", 1, "--batch-size", 4, "--epochs", 2]
    assert "holds all epochs of its run" in refused(2, *words, "--out", tmp_path / "plan")


def test_law_7_the_embedded_trainer_reads_slots_modulo_the_corpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A masked sample is left out each time, and a wrapped plan without edits trains as epochs without a plan."""
    read: list[np.ndarray] = []
    rows = PlannedRows.rows
    monkeypatch.setattr(PlannedRows, "rows", lambda self, slots: read.append(rows(self, slots)) or read[-1])
    corpus = make_corpus(20)
    identity = Plan.identity(SLOTS, CONFIG.batch_size, corpus.fingerprint(), epoch_samples=20)
    train(CONFIG, corpus, tmp_path / "plan", plan=identity, checkpoint_steps=[])
    assert np.array_equal(np.concatenate(read), corpus.array[np.arange(SLOTS) % 20])
    train(CONFIG, corpus, tmp_path / "epochs", epochs=3, checkpoint_steps=[])
    assert_same_bits(tmp_path / "plan" / f"step{CONFIG.steps}", tmp_path / "epochs" / f"step{CONFIG.steps}")
    read.clear()
    train(CONFIG, corpus, tmp_path / "mask", plan=identity.mask(np.array([7])), checkpoint_steps=[])
    kept = np.delete(np.arange(SLOTS), [7, 27, 47])
    assert np.array_equal(np.concatenate(read), corpus.array[kept % 20])
    with pytest.raises(CuratorError, match=r"ends with sample 19.*--epochs 3 passes over it again"):
        train(CONFIG, corpus, tmp_path / "short", epochs=2, checkpoint_steps=[])
