"""A study with several orders of one window: what its arms leave out, what its effects are, and whether it foretells.

One tiny run serves all: the unit has not formed in it, and nothing here asks that it has.
"""

import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from commands import done, process
from engine_parts import ROOT

from curator.artifacts.files import load_json
from curator.corpus import open_corpus
from curator.corpus.repetition import copyable
from curator.errors import UsageError
from curator.plan.plan import Plan
from curator.ranking.ranking import Ranking, highest_first
from curator.study.arm import Arm
from curator.study.replicate import Replicate
from curator.study.result import Result
from curator.study.study import Study, load_study
from curator.study.validate import keeps, validate

NATURAL = ROOT / "configs" / "studies" / "natural.yml"


def tiny(**changes: Any) -> dict[str, Any]:
    """The natural study, so small that nothing forms."""
    study: dict[str, Any] = yaml.safe_load(NATURAL.read_text())
    study["train"] |= {
        "steps": 60,
        "batch_size": 8,
        "d_model": 16,
        "d_mlp": 16,
        "seq_length": 32,
        "warmup_steps": 5,
        "vocab_size": 300,
    }
    study |= {
        "checkpoint_every": 10,
        "window": {"before": 20, "attribution": 0.001, "after": 20},
        "thresholds": [0.01],
        "validation": None,
        "measure_every": 10,
        "probes": ["gain", "paper"],
        "statistics": ["copyable", "loss"],
        "rank": {"factor_samples": 60},
        "probe": {"max_length": 12, "sequences": 10},
        "arms": [
            {"name": "mask-gain", "mask": "top", "by": "gain", "against": ["mask-random", "mask-copyable"]},
            {"name": "mask-first", "mask": "top"},
            {"name": "mask-copyable", "mask": "top", "by": "copyable"},
            {"name": "repeat-loss", "repeat": "top", "by": "loss"},
            {"name": "keep-most", "keep": "top", "percent": 60},
            {"name": "repeat-before", "repeat": "top", "steps": [30, 45], "place": "top", "count": 16},
            {"name": "repeat-lowest", "repeat": "random", "place": "bottom", "percent": 5},
            {"name": "insert-after", "insert": "top", "when": "after", "count": 16, "spread": 20},
            {"name": "mask-alike", "mask": "loss-matched", "by": "gain"},
            {"name": "mask-random", "mask": "random", "draws": 2},
            {"name": "no-copyable", "tokens": "copyable", "against": ["as-many-tokens"]},
            {"name": "as-many-tokens", "tokens": "random"},
            {"name": "no-copyable-top", "tokens": "copyable", "mask": "top"},
        ],
    }
    return study | changes


Ran = tuple[Study, Path, str]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    folder = tmp_path_factory.mktemp("study")
    (folder / "tiny.yml").write_text(yaml.safe_dump(tiny()))
    said = done("study", "run", folder / "tiny.yml", "--out", folder / "out", "--seeds", 1)
    return load_study(folder / "tiny.yml", Study), folder / "out", said


def test_every_order_is_of_the_same_window_and_arms_leave_out_its_top_tenth(
    ran: Ran,
) -> None:
    out = ran[1]
    ranking, told = Ranking.open(out / "seed0" / "ranking"), Ranking.open(out / "seed0" / "statistics")
    assert told.units == ["statistic:copyable", "statistic:loss"]
    unit = load_json(out / "seed0" / "result.json")["unit"]
    assert ranking.units == [f"{unit}:gain", unit]
    assert (
        ranking.samples.tolist() == told.samples.tolist() == list(range(60 * 8))
    )  # an arm takes rows after it
    window = np.arange(40 * 8)
    tenth = len(window) // 10
    for arm, scores in (
        ("mask-gain", ranking.unit_scores(f"{unit}:gain")),
        ("mask-first", ranking.unit_scores(f"{unit}:gain")),
        ("mask-copyable", told.unit_scores("statistic:copyable")),
    ):
        masked = Plan.load(out / "seed0" / "plans" / arm).masked_slots()
        assert masked.tolist() == sorted(highest_first(scores[window])[:tenth].tolist())
    plan = Plan.load(out / "seed0" / "plans" / "repeat-loss")
    put = plan.lookup(window).sample
    top = highest_first(told.unit_scores("statistic:loss")[window])[:tenth]
    assert sorted(put[put != window].tolist()) == sorted(top.tolist())
    assert not np.isin(window[put != window], top).any()
    alike = Plan.load(out / "seed0" / "plans" / "mask-alike").masked_slots()
    gain = ranking.unit_scores(f"{unit}:gain")
    assert len(alike) == tenth and not np.isin(alike, highest_first(gain[window])[:tenth]).any()


def test_arms_keep_replace_and_insert_what_they_say_and_no_other_row_moves(ran: Ran) -> None:
    seed = ran[1] / "seed0"
    unit = load_json(seed / "result.json")["unit"]
    scores = Ranking.open(seed / "ranking").unit_scores(f"{unit}:gain")
    window, slots = np.arange(40 * 8), np.arange(60 * 8)
    order = highest_first(scores[window])

    def best(first: int, last: int, count: int) -> list[int]:
        return sorted((first * 8 + highest_first(scores[first * 8 : last * 8])[:count]).tolist())

    keep = Plan.load(seed / "plans" / "keep-most")
    assert sorted(set(window.tolist()) - set(keep.masked_slots().tolist())) == sorted(order[:192].tolist())

    before = Plan.load(seed / "plans" / "repeat-before").lookup(slots).sample
    taken = sorted(
        order[:16].tolist()
    )  # the places of the window's top, save where a sample stays where it was
    assert sorted(before[taken].tolist()) == best(30, 45, 16)
    assert np.delete(before, taken).tolist() == np.delete(slots, taken).tolist()

    lowest = Plan.load(seed / "plans" / "repeat-lowest").lookup(slots).sample
    moved = np.flatnonzero(lowest != slots)
    assert set(moved.tolist()) <= set(highest_first(-scores[window])[:16].tolist()) and len(moved) > 8
    assert lowest.max() < 60 * 8 and np.isin(lowest[moved], window).all()

    after = Plan.load(seed / "plans" / "insert-after")
    rows = after.lookup(np.arange(after.n_slots)).sample
    assert after.n_slots == 62 * 8 and after.fingerprint() != keep.fingerprint()
    extra = list(rows.tolist())
    for sample in slots.tolist():
        extra.remove(sample)  # every base row is there
    assert sorted(extra) == best(40, 60, 16)


def test_arms_leave_out_tokens_of_the_window_or_of_its_top(ran: Ran) -> None:
    out = ran[1] / "seed0"
    corpus, ranking = open_corpus(out / "corpus"), Ranking.open(out / "ranking")
    slots = np.arange(60 * 8)
    hits = copyable(corpus.rows(slice(0, len(slots))))[:, 1:]
    plans = {
        name: Plan.load(out / "plans" / name) for name in ("no-copyable", "as-many-tokens", "no-copyable-top")
    }
    masks = {name: np.zeros(hits.shape, bool) for name in plans}
    for name, plan in plans.items():
        counted = plan.counted(slots)
        assert counted is not None and not len(plan.weights)
        masks[name] = ~counted
    window = slots < 40 * 8
    assert np.array_equal(masks["no-copyable"], hits & window[:, None]) and hits[window].any()
    assert np.array_equal(masks["as-many-tokens"].sum(1), masks["no-copyable"].sum(1))
    top = np.isin(slots, highest_first(ranking.unit_scores(ranking.units[0])[window])[:32])
    assert np.array_equal(masks["no-copyable-top"], hits & top[:, None])
    study = ran[0]
    control = {arm.name for arm in study.arms if arm.is_control}
    assert control == {"mask-alike", "mask-random", "as-many-tokens", "repeat-lowest"}


def test_the_effect_is_the_area_between_an_arms_curve_and_the_baselines(ran: Ran) -> None:
    _, out, printed = ran
    result = Result(load_json(out / "seed0" / "result.json"))
    assert result.content["window"] == [0, 40] and result.last_step == 40
    steps, values = result.head("mask-gain")
    assert steps.tolist() == [0, 10, 20, 30, 40]
    base = result.head("baseline")[1][:5]
    trapezoid = [1 / 8, 1 / 4, 1 / 4, 1 / 4, 1 / 8]
    assert result.area("mask-gain") == pytest.approx(float(np.dot(trapezoid, values - base)))
    said = load_json(out / "results.json")
    [difference] = [one for one in said["differences"] if one["against"] == "mask-copyable"]
    assert difference["area"]["mean"] == pytest.approx(
        result.area("mask-gain") - result.area("mask-copyable")
    )
    [random] = [one for one in said["effects"] if one["arm"] == "mask-random"]
    both = [result.area("mask-random-1"), result.area("mask-random-2")]
    assert random["area"]["mean"] == pytest.approx(np.mean(both))
    assert "Δ score" in printed and "--unit" in printed


def test_what_is_finished_is_not_done_again(ran: Ran) -> None:
    study, out, _ = ran
    curves = out / "seed0" / "curves"
    (out / "seed0" / "result.json").unlink()
    (curves / "mask-first.json").unlink()
    before = {file: file.stat().st_mtime_ns for file in (out / "seed0").rglob("*") if file.is_file()}
    Replicate(study, 0, out / "seed0").run()
    now = {file: file.stat().st_mtime_ns for file in (out / "seed0").rglob("*") if file.is_file()}
    changed = {str(file.relative_to(out / "seed0")) for file, when in now.items() if before.get(file) != when}
    assert "curves/mask-first.json" in changed and "result.json" in changed
    others = {name.split("/")[0] for name in changed if "mask-first" not in name}
    assert others == {"result.json", "prepared.json", "scan", "top"}  # chosen again, from what is there


def test_an_arm_that_is_new_or_another_is_trained_and_no_other_is(ran: Ran) -> None:
    study, out, _ = ran
    curves = out / "seed0" / "curves"
    before = {file.name: file.stat().st_mtime_ns for file in curves.iterdir()}
    first, second, *others = study.arms
    more = study.changed(
        arms=[first, second.changed(percent=20.0), *others, Arm(name="mask-last", mask="bottom")]
    )
    result = Replicate(more, 0, out / "seed0").run()
    now = {file.name: file.stat().st_mtime_ns for file in curves.iterdir()}
    assert {name for name, when in now.items() if before.get(name) != when} == {
        f"{second.name}.json",
        "mask-last.json",
    }
    assert list(result["curves"]) == ["baseline", *(run for run, _ in more.runs)]
    again = Replicate(study, 0, out / "seed0").run()
    assert list(again["curves"]) == ["baseline", *(run for run, _ in study.runs)]


def test_an_arm_by_what_the_study_does_not_rank_by_is_told(tmp_path: Path) -> None:
    study = tiny()
    study["arms"][0]["by"] = "copyabel"
    (tmp_path / "study.yml").write_text(yaml.safe_dump(study))
    with pytest.raises(
        UsageError, match=r"mask-gain\.by: unknown ranking 'copyabel'; did you mean 'copyable'"
    ):
        load_study(tmp_path / "study.yml", Study)
    (tmp_path / "study.yml").write_text(yaml.safe_dump(tiny(window={"before": 20, "start": 10})))
    with pytest.raises(UsageError, match="one of 'start' and 'before'"):
        load_study(tmp_path / "study.yml", Study)


def test_a_folder_that_no_study_made_is_left_alone(tmp_path: Path, ran: Ran) -> None:
    (tmp_path / "seed0").mkdir()
    (tmp_path / "seed0" / "thesis.txt").write_text("mine")
    with pytest.raises(Exception, match="holds something that no study made"):
        Replicate(ran[0], 0, tmp_path / "seed0").run()
    assert (tmp_path / "seed0" / "thesis.txt").read_text() == "mine"


def test_the_natural_study_is_well_formed_and_its_controls_are_told_apart() -> None:
    study = load_study("natural", Study)
    assert study.drill_fraction == 0 and study.orders[0] == "gain" and "copyable" in study.orders
    assert {arm.by for arm in study.arms if arm.by} <= set(study.orders)
    assert Arm(name="a-b", mask="loss-matched").is_control and not Arm(name="a-b", mask="top").is_control


def test_the_study_at_pythias_shape_asks_the_same_of_gpt_neox() -> None:
    large, small = load_study("natural-14m", Study), load_study("natural", Study)
    assert (
        large.trainer == "neox"
        and large.rank.device == "cuda"
        and large.train.d_mlp == 4 * large.train.d_model
    )
    assert (large.train.n_layers, large.train.d_model, large.train.seq_length) == (6, 128, 2048)
    assert large.probes == small.probes and large.statistics == small.statistics
    assert {arm.name for arm in large.arms} < {arm.name for arm in small.arms}


def test_studies_are_listed_with_their_titles() -> None:
    lines = done("study", "list").splitlines()
    assert [line.split()[0] for line in lines] == ["demo", "natural-14m", "natural", "planted"]
    assert lines[0].split(None, 1)[1].rstrip() == load_study("demo", Study).title


# -- validation -------------------------------------------------------------------------------------------------


@pytest.mark.kill
def test_a_killed_validation_goes_on_with_the_subsets_that_are_missing(ran: Ran) -> None:
    out = ran[1]
    words = ["validate", out.parent / "tiny.yml", "--out", out, "--subsets", 16]
    place = out / "seed0" / "validation"
    first = process(*words)
    while not list(place.glob("00*.json")) and first.poll() is None:
        time.sleep(0.01)
    first.kill()
    first.communicate()
    there = {file: file.stat().st_mtime_ns for file in place.glob("00*.json")}
    assert 1 <= len(there) < 16
    printed = done(*words)
    assert len(list(place.glob("00*.json"))) == 16
    assert all(file.stat().st_mtime_ns == when for file, when in there.items())
    said = load_json(place / "validation.json")
    assert list(said["correlations"]) == ["gain", "paper", "copyable", "loss"]
    assert said["sentence"] in printed and "over 16 subsets" in said["sentence"]


def test_part_of_the_window_is_validated_in_with_its_own_samples_and_none_of_another_part(
    ran: Ran, tmp_path: Path
) -> None:
    study, out, _ = ran
    shutil.copytree(out / "seed0", tmp_path / "seed0")
    step = load_json(out / "seed0" / "result.json")["attribution_step"]
    part = study.changed(validation={"before": 10, "after": 10})
    assert validate(part, tmp_path, 0, 3).scored.subsets == 3
    place = tmp_path / "seed0" / "validation"
    assert load_json(place / "asked.json") == {"window": [step - 10, step + 10]}
    first = [load_json(place / f"{number:04}.json") for number in range(3)]
    assert len({one["mean_score"] for one in first}) > 1
    curves = tmp_path / "seed0" / "curves" / "validation"
    assert all(load_json(file)["steps"] == [step - 10, step, step + 10] for file in curves.iterdir())
    validate(study.changed(validation={"before": 20, "after": 10}), tmp_path, 0, 3)
    assert all(load_json(file)["steps"][0] == step - 20 for file in curves.iterdir())
    assert load_json(place / "asked.json") == {"window": [step - 20, step + 10]}
    assert [load_json(place / f"{number:04}.json") for number in range(3)] != first
    with pytest.raises(UsageError, match="lies within a 'window'"):
        study.changed(validation={"before": 30, "after": 10})


def test_a_subset_keeps_half_and_the_same_half_again(ran: Ran) -> None:
    study, out, _ = ran
    prepared = Replicate(study, 0, out / "seed0").prepare()
    first, again, other = (keeps(prepared, number, False) for number in (0, 0, 1))
    assert first.sum() == len(first) // 2 and (first == again).all() and (first != other).any()
    assert prepared.plans is not None
    rare = np.arange(len(open_corpus(out / "seed0" / "corpus"))) % 10 == 0
    prepared.plans.categories = np.where(rare, "b", "a")
    names = prepared.plans.categories[prepared.plans.samples]
    kept = keeps(prepared, 0, True)
    assert [int(kept[names == name].sum()) for name in "ab"] == [
        int((names == name).sum()) // 2 for name in "ab"
    ]
