"""The study file: one YAML file that says arms × seeds, strictly, and finds its way into every installation."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from engine_parts import ROOT

from curator.errors import UsageError
from curator.study.arm import Arm
from curator.study.study import FILES, Study, load_study
from synth.demo.study import InsertStudy

CONFIGS = ROOT / "configs" / "studies"
DEMO = (CONFIGS / "demo.yml").read_text()


def refused(tmp_path: Path, text: str, kind: type[Study] = Study) -> str:
    """What is said of a study file, without its path."""
    file = tmp_path / "study.yml"
    file.write_text(text)
    with pytest.raises(UsageError) as error:
        load_study(file, kind)
    said = str(error.value)
    assert said.startswith(str(file))
    return said.removeprefix(str(file))


def line_of(text: str, part: str) -> int:
    return next(number for number, line in enumerate(text.splitlines(), 1) if part in line)


@pytest.mark.parametrize(
    "old, new, said",
    [
        ("percent: 10", "percnt: 10", "percnt: unknown key; did you mean 'percent'?"),
        (
            "start: 150",
            "begin: 150",
            "window.begin: unknown key; known: after, attribution, before, end, start",
        ),
        ("draws: 2, says: random masked", "draw: 2", "arms[1].draw: unknown key; did you mean 'draws'?"),
        ("name: mask-top", "name: corpus", "arms[0].name: 'corpus' is not allowed; expected words joined by"),
        ("name: mask-top", "name: ../x-y", "arms[0].name: '../x-y' is not allowed"),
        ("mask: top", "mask: best", "arms[0].mask: unknown value 'best'"),
        (
            "repeat: top,",
            "repeat: top, mask: top,",
            "arms[3]: an arm has one of 'mask', 'keep', 'repeat', 'insert' and 'tokens'",
        ),
        ("mask: top,", "insert: top,", "arms[0]: 'insert' needs 'count'"),
        ("repeat: top,", "repeat: top, spread: 32,", "arms[3]: 'spread' is of 'insert' alone"),
        ("drill_fraction: 0.5", "drill_fraction: 1.5", "drill_fraction: 1.5 is not allowed"),
        ("steps: 1000", "steps: many", "train.steps: expected a whole number"),
    ],
)
def test_what_a_study_file_must_not_say_is_told_with_its_line(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    text = DEMO.replace(old, new, 1)
    assert f":{line_of(text, new)}: {said}" in refused(tmp_path, text)


@pytest.mark.parametrize(
    "old, new, said",
    [
        ("name: repeat-top", "name: mask-top", "arms need names of their own"),
        ("factor_samples: 4000", "samples: [0, 9]", "'rank.samples' is for the study to say"),
        ("gradient_clip: 1.0", "seed: 1", "'train.seed' is for the study to say"),
        ("start: 150", "start: 160", "'window.start' is a checkpoint's step"),
        ("percent: 10", "stop_step: 2000", "'stop_step' is within 'train.steps'"),
        ("name: mask-top", "name: mask-random-1", "arms need names of their own"),
        (
            "against: [mask-random,",
            "against: [mask-randm,",
            "unknown arm 'mask-randm'; did you mean 'mask-random'?",
        ),
        ("factor_samples: 4000", "model: somewhere", "'rank.model' is for the study to say"),
        ("[0.1, 0.2, 0.4]", "[0.4, 0.2]", "rising 'thresholds'"),
        ("mask: top,", "insert: top, count: 33,", "mask-top: 33 rows are no whole batches of 32"),
        ("start: 100,", "start: 100, arms: [x],", "quick.arms: unknown arm 'x'"),
    ],
)
def test_what_contradicts_itself_is_told_with_both_sides(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    assert said in refused(tmp_path, DEMO.replace(old, new, 1))


def test_a_synth_study_compares_all_three_kinds(tmp_path: Path) -> None:
    text = (CONFIGS / "synth-demo.yml").read_text()
    lines = [line for line in text.splitlines() if not line.startswith("  - {name: top-256-spread")]
    assert "256 rows, spread: has random, synthetic; needs" in refused(
        tmp_path, "\n".join(lines), InsertStudy
    )
    assert "distill: unknown key" in refused(tmp_path, text)


def test_the_demos_are_found_by_name_as_a_package_has_them() -> None:
    """The package holds a link to ``configs/studies``; what is installed holds the files."""
    assert {file.resolve() for file in FILES.glob("*.yml")} == set(CONFIGS.resolve().glob("*.yml"))
    assert load_study("demo", Study) == load_study(CONFIGS / "demo.yml", Study)
    with pytest.raises(UsageError, match="no such file"):
        load_study("no-such-study", Study)


def test_an_arm_has_a_run_per_draw_and_runs_are_numbered_in_order() -> None:
    demo = load_study("demo", Study)
    assert [run for run, _ in demo.runs] == [
        f"{kind}-{what}"
        for kind in ("mask", "repeat")
        for what in ("top", "random-1", "random-2", "random-in-category-1")
    ]
    synth = load_study("synth-demo", InsertStudy)
    assert len(synth.runs) == 24 and {len(arms) for arms in synth.factorial.values()} == {3}
    assert list(synth.factorial)[:2] == [("burst", 128), ("burst", 256)]
    assert (
        Arm(name="a-b", mask="random").is_control
        and not Arm(name="a-b", insert="rendered", count=32).is_control
    )


def test_quick_changes_what_it_names_and_nothing_else() -> None:
    demo = load_study("demo", Study)
    small = demo.quickened()
    changes: dict[str, Any] = {"train": {"steps": 450}, "window": {"start": 100}, "drill_fraction": 0.7}
    given = yaml.safe_load(DEMO) | {"drill_fraction": 0.7}
    assert small.train == demo.train.changed(**changes["train"]) and small.last_step == 450
    assert small.window == demo.window.changed(**changes["window"])
    assert small.drill_fraction == given["drill_fraction"]
    assert small.arms == demo.arms and small.rank == demo.rank
    synth = load_study("synth-demo", InsertStudy).quickened()
    assert list(synth.factorial) == [("spread", 512)] and len(synth.arms) == 3


def test_words_and_pictures_decide_no_number() -> None:
    demo = load_study("demo", Study)
    arms = [arm.changed(says="other", against=(), plot=False) for arm in demo.arms]
    assert demo.changed(title="other", arms=arms, thresholds=(0.3,)).decided() == demo.decided()
    assert demo.changed(percent=20.0).decided() != demo.decided()
    assert demo.changed(arms=[*arms[1:], arms[0]]).decided() != demo.decided()


def test_the_probe_of_a_study_is_decided_by_name_and_the_papers_needs_none(tmp_path: Path) -> None:
    """So that what earlier versions trained and ranked by the paper's, unsaid, is gone on with where a file says so."""
    unsaid, gain = DEMO.replace("{name: paper, ", "{"), DEMO.replace("name: paper", "name: gain")
    decided = []
    for text in (DEMO, unsaid, gain, f"{unsaid}\nprobes: [gain, paper]"):
        (tmp_path / "study.yml").write_text(text)
        decided.append(load_study(tmp_path / "study.yml", Study).decided()["probe"]["name"])
    assert decided == [None, "gain", "gain", None]
