"""`curator inject` and `curator schedule` as a user meets them."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from commands import STUDY, done, refused
from engine_parts import GOLDEN
from tiny_runs import assert_same_bits

from curator.plan.plan import Plan
from curator.ranking.ranking import Ranking

BATCH, STEPS = 16, 30


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """study.yml, corpus, baseline checkpoints, ranking of steps 10 to 29, and rows to inject; tests write elsewhere."""
    folder = tmp_path_factory.mktemp("inject") / "a study"
    folder.mkdir()
    (folder / "study.yml").write_text(STUDY)
    size = ("--samples", 480, "--seq-length", 16, "--vocab-size", 300)
    done("corpus", "build", "--out", folder / "corpus", *size)
    done("train", "-e", folder / "study.yml")
    done("rank", "-e", folder / "study.yml")
    rows = np.random.default_rng(3).integers(0, 300, (40, 17)).astype(np.uint16)
    np.save(folder / "rows.npy", rows)
    return folder


def inject(study: Path, out: Path, *more: Any) -> list[Any]:
    return ["inject", "--corpus", study / "corpus", "--batch-size", BATCH, "--out", out, *more]


def held(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """(source, sample) of every slot."""
    plan = Plan.load(folder)
    slots = plan.lookup(np.arange(plan.n_slots))
    return slots.source, slots.sample


def extra_steps(folder: Path) -> list[int]:
    """The steps that hold injected rows alone."""
    source, _ = held(folder)
    return np.flatnonzero((source.reshape(-1, BATCH) == 1).all(1)).tolist()


# -- what and where -------------------------------------------------------------------------------------------------


def test_a_burst_of_ranked_samples_after_a_step(study: Path, tmp_path: Path) -> None:
    out = tmp_path / "plan"
    words = ["--ranking", study / "ranking", "--unit", "induction:1.0", "--select", "top", "--count", 32]
    said = done(*inject(study, out, *words, "--after", 10))
    scores = Ranking.open(study / "ranking").unit_scores("induction:1.0")
    top = np.sort(np.argsort(-scores, kind="stable")[:32] + 160)
    source, sample = held(out)
    assert not source.any() and Plan.load(out).sources == ()
    corpus = np.arange(480)
    np.testing.assert_array_equal(sample, np.concatenate([corpus[:160], top, corpus[160:]]))
    np.testing.assert_array_equal(np.load(out / "samples.npy"), top)
    assert json.loads((out / "selection.json").read_text())["select"] == "top"
    for part in ("2 extra steps: 32 instead of 30", "train-iters", "train.steps", "lr-decay-iters"):
        assert part in " ".join(said.split()), part


def test_a_ranking_alone_names_its_corpus_and_from_steps_restricts_the_choice(
    study: Path, tmp_path: Path
) -> None:
    words = [
        "inject",
        "--ranking",
        study / "ranking",
        "--batch-size",
        BATCH,
        "--select",
        "random",
        "--count",
        16,
    ]
    done(*words, "--from-steps", "12:20", "--seed", 4, "--after", 30, "--out", tmp_path / "plan")
    samples = np.load(tmp_path / "plan" / "samples.npy")
    assert len(samples) == 16 and samples.min() >= 192 and samples.max() < 320
    np.testing.assert_array_equal(held(tmp_path / "plan")[1][480:], samples)


def test_rows_of_a_corpus_are_spread_over_steps(study: Path, tmp_path: Path) -> None:
    out = tmp_path / "plan"
    done(*inject(study, out, "--rows", study / "rows.npy", "--count", 32, "--spread", "10:20"))
    source, sample = held(out)
    assert extra_steps(out) == [12, 18]  # before steps 12 and 17: the middles of 10 to 15 and 15 to 20
    np.testing.assert_array_equal(sample[source == 1], np.arange(32))
    np.testing.assert_array_equal(sample[source == 0], np.arange(480))
    described = json.loads((out / "injected.json").read_text())
    assert described["rows"] == str(study / "rows.npy") and described["samples"] == 32
    assert described["spread"] == [10, 20] and described["steps"] == {"before": 30, "after": 32}
    (known,) = Plan.load(out).sources
    assert known["path"] == str(study / "rows.npy") and known["fingerprint"] == described["fingerprint"]
    assert not (out / "samples.npy").exists()


def test_more_extra_steps_than_places_stand_behind_each_other(study: Path, tmp_path: Path) -> None:
    words = ["--rows", study / "rows.npy", "--count", 16, "--repeat", 5, "--spread", "4:6"]
    done(*inject(study, tmp_path / "plan", *words))
    assert extra_steps(tmp_path / "plan") == [4, 5, 7, 8, 9]  # before 4, 4, 5, 5, 5


def test_repeat_and_shuffle_keep_one_drawn_order(study: Path, tmp_path: Path) -> None:
    words = ["--rows", study / "rows.npy", "--after", 0, "--repeat", 2, "--shuffle-seed", 1]
    done(*inject(study, tmp_path / "plan", *words))
    source, sample = held(tmp_path / "plan")
    first, second = sample[source == 1].reshape(2, 40)
    np.testing.assert_array_equal(first, second)
    assert sorted(first.tolist()) == list(range(40)) and first.tolist() != list(range(40))
    assert source[:80].all() and not source[80:].any()
    done(*inject(study, tmp_path / "again", *words))
    assert Plan.load(tmp_path / "again").fingerprint() == Plan.load(tmp_path / "plan").fingerprint()


def test_replace_needs_no_whole_steps_and_lists_what_stood_there(study: Path, tmp_path: Path) -> None:
    out = tmp_path / "plan"
    said = done(*inject(study, out, "--rows", study / "rows.npy", "--count", 7, "--replace", "10:12"))
    source, sample = held(out)
    slots, replaced = np.load(out / "slots.npy"), np.load(out / "replaced.npy")
    np.testing.assert_array_equal(np.flatnonzero(source), slots)
    np.testing.assert_array_equal(sample[slots], np.arange(7))
    np.testing.assert_array_equal(replaced, slots)  # in the corpus as it is, slot s holds sample s
    assert slots.min() >= 160 and slots.max() < 192 and set(np.diff(slots)) <= {4, 5}
    np.testing.assert_array_equal(np.delete(sample, slots), np.delete(np.arange(480), slots))
    assert "number of steps stays" in said and "replaced.npy" in said


def test_replace_leaves_masked_slots_earlier_sets_and_the_injected_samples_themselves_alone(
    study: Path, tmp_path: Path
) -> None:
    ranked = ["--ranking", study / "ranking", "--unit", "induction:1.0"]
    done("mask", *ranked, "--select", "bottom", "--count", 20, "--batch-size", BATCH, "--out", tmp_path / "m")
    rows = ["--rows", study / "rows.npy", "--plan", tmp_path / "m", "--replace", "10:20"]
    done(*inject(study, tmp_path / "r", *rows))
    top = [*ranked, "--count", 12, "--replace", "10:30", "--plan", tmp_path / "r"]
    done("inject", *top, "--out", tmp_path / "t")
    slots, samples = np.load(tmp_path / "t" / "slots.npy"), np.load(tmp_path / "t" / "samples.npy")
    assert len(slots) == 12 and not np.isin(slots, np.load(tmp_path / "r" / "slots.npy")).any()
    assert not np.isin(np.load(tmp_path / "t" / "replaced.npy"), samples).any()
    masked = [Plan.load(tmp_path / name).masked_slots().tolist() for name in ("m", "r", "t")]
    assert masked[0] == masked[1] == masked[2] and len(masked[0]) == 20


def test_plans_are_edited_one_after_the_other(study: Path, tmp_path: Path) -> None:
    """Steps are those of the edited plan; its masks, sets and divisor stay."""
    mask = ["--ranking", study / "ranking", "--count", 20, "--batch-size", BATCH]
    done("mask", *mask, "--divisor", "renormalised", "--out", tmp_path / "mask")
    rows = ["--rows", study / "rows.npy", "--count", 16]
    done(*inject(study, tmp_path / "one", *rows, "--after", 5, "--plan", tmp_path / "mask"))
    words = ["inject", "--corpus", study / "corpus", *rows, "--after", 31, "--plan", tmp_path / "one"]
    done(*words, "--out", tmp_path / "two")  # the batch size is the plan's
    plan, mask_plan = Plan.load(tmp_path / "two"), Plan.load(tmp_path / "mask")
    assert extra_steps(tmp_path / "two") == [5, 31] and len(plan.sources) == 1
    assert plan.divisor == "renormalised" and plan.n_slots == 32 * BATCH
    moved = mask_plan.masked_slots() + BATCH * (mask_plan.masked_slots() >= 5 * BATCH)
    np.testing.assert_array_equal(plan.masked_slots(), moved)
    done(*words, "--divisor", "kept", "--out", tmp_path / "kept")
    assert Plan.load(tmp_path / "kept").divisor == "kept"


def test_the_experiment_file_says_all_of_it_and_flags_override(study: Path, tmp_path: Path) -> None:
    shutil.copytree(study, tmp_path / "study")
    file = tmp_path / "study" / "study.yml"
    section = "inject: {out: plan-a, rows: rows.npy, count: 16, repeat: 2, spread: [3, 9]}\n"
    file.write_text(STUDY + section)
    done("inject", "-e", file)
    assert len(extra_steps(tmp_path / "study" / "plan-a")) == 2
    done("inject", "-e", file, "--repeat", 1, "--out", tmp_path / "b")
    assert extra_steps(tmp_path / "b") == [6]
    file.write_text(STUDY + "inject: {spred: [3, 9]}\n")
    assert "inject.spred: unknown key; did you mean 'spread'?" in refused(2, "inject", "-e", file)


# -- training on it -------------------------------------------------------------------------------------------------


def test_train_follows_an_injected_plan_to_its_end(study: Path, tmp_path: Path) -> None:
    """Law 6 through the commands: a plan from a checkpoint on, and the same rows written into a corpus."""
    done(*inject(study, tmp_path / "plan", "--rows", study / "rows.npy", "--count", 32, "--after", 20))
    file = tmp_path / "study.yml"
    longer = STUDY.replace("steps: 30\n", "steps: 32\n  decay_steps: 30\n")
    file.write_text(longer.replace("corpus: corpus", f"corpus: {json.dumps(str(study / 'corpus'))}"))
    train = ["train", "-e", file, "--plan", tmp_path / "plan", "--out", tmp_path / "run"]
    done(*train, "--start-from", study / "runs/baseline/step20")
    own, rows = np.load(study / "corpus" / "rows.npy"), np.load(study / "rows.npy")
    np.save(tmp_path / "written.npy", np.concatenate([own[:320], rows[:32], own[320:]]))
    words = ["train", "-e", file, "--corpus", tmp_path / "written.npy", "--out", tmp_path / "written"]
    done(*words)
    assert_same_bits(tmp_path / "run" / "step32", tmp_path / "written" / "step32")


# -- refusals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--after", 3], "say what to inject: --ranking; or --rows CORPUS"),
        (["--rows", "R"], "say where: --after STEP; --spread A:B; --replace A:B"),
        (["--rows", "R", "--after", 3, "--spread", "1:2"], "--after and --spread exclude each other"),
        (["--rows", "R", "--ranking", "K", "--after", 3], "--ranking and --rows exclude each other"),
        (
            ["--rows", "R", "--percent", 3, "--after", 3],
            "--percent cannot stand beside --rows: that chooses from a ranking; give --count",
        ),
        (["--rows", "R", "--after", 3], "40 samples do not fill whole steps of 16: inject 32 or 48"),
        (["--rows", "R", "--count", 5, "--spread", "1:9"], "5 samples do not fill; of 16: inject 16 in all"),
        (["--rows", "R", "--count", 16, "--after", 31], "--after 31: the plan has 30 steps; give 0 to 30"),
        (["--rows", "R", "--count", 16, "--after", -1], "--after: -1; at least 0"),
        (["--rows", "R", "--count", 16, "--spread", "20:31"], "--spread 20:31: the plan has steps 0 to 29"),
        (["--rows", "R", "--count", 16, "--spread", "9"], "--spread takes FIRST:LAST"),
        (["--rows", "R", "--replace", "29:31"], "--replace 29:31: the plan has steps 0 to 29; end at 30"),
        (["--rows", "R", "--replace", "3:5"], "--replace 3:5 has 32 slots, 32 of them free; 40 samples"),
        (["--rows", "R", "--count", 41, "--after", 3], "--count is 41, but; rows.npy has 40 rows"),
        (["--rows", "R", "--repeat", 0, "--after", 3], "--repeat: 0; at least 1"),
        (["--ranking", "K", "--after", 3], "a count or a percent"),
        (["--ranking", "K", "--count", 999, "--after", 3], "999 samples asked for, but there are 320"),
        (["--ranking", "K", "--count", 16, "--from-steps", "2:12", "--after", 3], "hold samples 160 to 479"),
        (["--ranking", "K", "--count", 16, "--select", "tpo", "--after", 3], "did you mean 'top'?"),
    ],
    ids=str,
)
def test_inject_refuses_and_says_what_is_allowed(
    study: Path, tmp_path: Path, flags: list[Any], says: str
) -> None:
    places = {"R": study / "rows.npy", "K": study / "ranking"}
    message = refused(2, *inject(study, tmp_path / "plan", *(places.get(flag, flag) for flag in flags)))
    for part in says.split("; "):
        assert part in message
    assert not (tmp_path / "plan").exists()


def test_inject_refuses_rows_plans_and_folders_that_do_not_fit_naming_both_sides(
    study: Path, tmp_path: Path
) -> None:
    out, after = tmp_path / "plan", ["--count", 16, "--after", 3]
    message = refused(1, *inject(study, out, "--rows", GOLDEN / "rows.npy", *after))
    assert "129 tokens wide" in message and "are 17" in message
    np.save(tmp_path / "big.npy", np.full((16, 17), 300, np.uint16))
    message = refused(1, *inject(study, out, "--rows", tmp_path / "big.npy", *after))
    assert "token id 300 is outside the vocabulary of 300" in message
    message = refused(1, *inject(study, out, "--rows", tmp_path / "none.npy", *after))
    assert "none.npy: no such file" in message

    rows = ["--rows", study / "rows.npy", *after]
    done(*inject(study, tmp_path / "first", *rows))
    other = np.load(study / "corpus" / "rows.npy")
    other[0, 0] ^= 1
    np.save(tmp_path / "other.npy", other)
    plan = ["--plan", tmp_path / "first", "--out", out]
    message = refused(1, "inject", "--corpus", tmp_path / "other.npy", *rows, *plan)
    assert "corpus_fingerprint: there" in message and str(tmp_path / "first") in message
    words = ["inject", "--corpus", study / "corpus", *rows, *plan]
    assert "batch_size: there 16, asked for 8" in refused(1, *words, "--batch-size", 8)
    assert "holds a plan already" in refused(1, *inject(study, tmp_path / "first", *rows))
    assert "not empty" in refused(1, *inject(study, study, *rows))
    assert "give --batch-size" in refused(2, "inject", "--corpus", study / "corpus", *rows, "--out", out)
    assert "'corpus' is missing" in refused(2, "inject", "--batch-size", 16, *rows, "--out", out)
    assert "'out' is missing" in refused(2, "inject", "--corpus", study / "corpus", *rows)
    assert not out.exists()


# -- schedule -------------------------------------------------------------------------------------------------------


def test_schedule_prints_yaml_with_both_ends_sorted_and_unique(tmp_path: Path) -> None:
    said = done("schedule", "--window", "100:125", "--every", 10, "--also", "0,1,2,110,4:8:4")
    assert yaml.safe_load(said) == {"extra-save-iters": [0, 1, 2, 4, 8, 100, 110, 120, 125]}
    out = tmp_path / "configs" / "save.yml"
    words = ["schedule", "--window", "100:120", "--every", 10, "--out", out]
    assert "3 checkpoints, steps 100 to 120" in done(*words)
    assert yaml.safe_load(out.read_text()) == {"extra-save-iters": [100, 110, 120]}
    done(*words)  # again: the same file
    assert "says something else" in refused(1, *words, "--also", 3)
    assert yaml.safe_load(out.read_text()) == {"extra-save-iters": [100, 110, 120]}


def test_schedule_takes_the_window_of_an_experiment(tmp_path: Path) -> None:
    file = tmp_path / "study.yml"
    file.write_text(STUDY)
    assert yaml.safe_load(done("schedule", "-e", file, "--every", 20)) == {"extra-save-iters": [10, 30]}
    said = done("schedule", "-e", file, "--every", 20, "--window", "0:40")
    assert yaml.safe_load(said) == {"extra-save-iters": [0, 20, 40]}


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--every", 5], "'window' is missing: give --window"),
        (["--window", "3:9"], "--every"),
        (["--window", "3:9", "--every", 0], "--every"),
        (["--window", "9:3", "--every", 1], "--window: (9, 3) is not allowed; expected two whole"),
        (["--window", "3-9", "--every", 1], "--window takes FIRST:LAST"),
        (["--window", "3:9", "--every", 1, "--also", "1,x"], "--also takes steps"),
        (["--window", "0:143000", "--every", 1], "makes 143001 checkpoints, more than 10000"),
    ],
    ids=str,
)
def test_schedule_refuses_and_says_what_is_allowed(flags: list[Any], says: str) -> None:
    assert says in refused(2, "schedule", *flags)


@pytest.mark.parametrize("command", ["inject", "schedule"])
def test_every_help_has_an_example_that_starts_with_the_command(command: str) -> None:
    assert f"Example: curator {command}" in " ".join(done(command, "--help").split())
