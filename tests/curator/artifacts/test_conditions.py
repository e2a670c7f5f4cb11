"""Settings that contradict each other or say nothing: refused by one rule in every class, and only where given."""

import importlib
import pkgutil
import re
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
from commands import done, refused
from engine_parts import ROOT

import curator
import neox_patches
import synth
from curator.artifacts.conditions import Not, Only, is_said, laid_over, marks
from curator.artifacts.flags import merge_flags
from curator.artifacts.schema import Settings, annotation_of, members, section_of
from curator.errors import UsageError
from curator.planning.settings import InjectSettings, MaskSettings
from curator.ranking.settings import RankSettings
from curator.settings import Experiment, load_experiment
from curator.study.study import Study, load_study
from synth.cli.app import main as synth_main


def every_class() -> list[type[Settings]]:
    """All classes of settings of the three packages."""
    for package in (curator, synth, neox_patches):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if module.name.endswith(("settings", ".study", ".arm", "records", "fields", "curvature")):
                importlib.import_module(module.name)
    found, left = [], [Settings]
    while left:
        kinds = left.pop().__subclasses__()
        found += kinds
        left += kinds
    return sorted(
        (kind for kind in set(found) if not kind.__module__.startswith("test")), key=lambda k: k.__name__
    )


CLASSES = every_class()
MARKED = [(kind, name, mark) for kind in CLASSES if not issubclass(kind, Study) for name, mark in marks(kind)]
"""A study needs a whole recipe: what it refuses is in test_trainers.py."""


def some(kind: type[Settings], name: str, *other_than: Any) -> Any:
    """A value that the field may have."""
    return value_of(annotation_of(kind.model_fields[name]), other_than)


def value_of(annotation: Any, other_than: tuple[Any, ...] = ()) -> Any:
    member = members(annotation)[0]
    if get_origin(member) is Literal:
        return next(one for one in reversed(get_args(member)) if one not in other_than)
    if get_origin(member) is tuple:
        items = get_args(member)
        return [value_of(items[0], other_than)] if items[-1] is Ellipsis else (1, 2)
    if isinstance(member, type) and issubclass(member, Settings):
        name = next(
            name for name, info in member.model_fields.items() if members(annotation_of(info))[0] is int
        )
        return {name: 128}
    return {int: 128, float: 0.5, bool: True, Path: "somewhere"}.get(member, "cuda")


def needed(kind: type[Settings]) -> dict[str, Any]:
    """What the class cannot do without; 128 of almost everything is a recipe, too."""
    few = {"n_heads": 2} if "n_heads" in kind.model_fields else {}
    return {name: some(kind, name) for name, info in kind.model_fields.items() if info.is_required()} | few


def label(value: Any) -> str:
    return value.__name__ if isinstance(value, type) else value if isinstance(value, str) else ""


def test_the_walk_sees_the_classes_of_all_stages() -> None:
    names = {kind.__name__ for kind in CLASSES}
    assert names >= {"RankSettings", "TrainSettings", "ShowSettings", "DistillSettings", "RenderSettings"}
    assert names >= {"ChatSettings", "Study", "Arm", "PatchFile", "Gradients", "Damping", "EmbeddedSettings"}
    assert len(MARKED) > 30


@pytest.mark.parametrize(("kind", "name", "mark"), MARKED, ids=label)
def test_what_says_nothing_is_refused_where_it_is_given_and_never_as_a_default(
    kind: type[Settings], name: str, mark: Only | Not
) -> None:
    base = needed(kind)
    value = some(kind, name, kind.model_fields[name].get_default())
    if isinstance(mark, Not):
        for other in mark.fields:
            theirs = some(kind, other)
            with pytest.raises(UsageError) as error:
                kind(**base, **{name: value, other: theirs})
            assert f"'{name}'" in str(error.value) and f"'{other}'" in str(error.value)
            assert other not in laid_over(kind, {other: theirs}, {name: value})
            assert name not in laid_over(kind, {name: value}, {other: theirs})
        kind(**base, **{name: value})
        return
    assert mark.field in kind.model_fields
    if mark.values:
        against = {mark.field: some(kind, mark.field, *mark.values)}
        beside = {mark.field: [mark.values[0]] if isinstance(against[mark.field], list) else mark.values[0]}
    else:
        against, beside = {}, {mark.field: some(kind, mark.field)}
    kind(**base, **against)
    kind(**base, **{**beside, name: value})
    usual = kind.model_fields[name].get_default(call_default_factory=True)
    for given in (value, usual):  # the default, too, where it is given
        if is_said(given):
            with pytest.raises(UsageError) as error:
                kind(**base, **{**against, name: given})
            assert f"'{name}'" in str(error.value) and f"'{mark.field}'" in str(error.value)
    if usual is None:
        kind(**base, **{**against, name: None})
    assert name not in laid_over(kind, {name: value}, against)


CONDITIONAL = re.compile(
    r"needs --|\balone\b|^(builtin|llm):|\bof loss-matched|\bfor length|\bOf random choices"
)
FREE = {
    ("RankSettings", "window"): "needs --batch-size, which is asked for when it is missing",
    ("StatisticsSettings", "window"): "the same",
    ("StatisticsSettings", "statistics"): "says what each needs",
    ("RankSettings", "preconditioner"): "says of which the others are",
    ("CombineSettings", "how"): "says what one of its words needs",
    ("MaskSettings", "tokens"): "alone stands for of no sample",
    ("Probe", "name"): "says what is asked",
    ("InsertStudy", "probes"): "no condition",
    ("Study", "probes"): "no condition",
}


@pytest.mark.parametrize("kind", CLASSES, ids=label)
def test_a_help_text_that_names_a_condition_has_one(kind: type[Settings]) -> None:
    marked = {name for name, _ in marks(kind)}
    for name, info in kind.model_fields.items():
        if CONDITIONAL.search(info.description or "") and (kind.__name__, name) not in FREE:
            if kind.__module__.startswith(("curator.neox.records", "neox_patches", "curator.study")):
                continue  # rules of their own, in `check`
            assert name in marked, (kind.__name__, name, info.description)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            "rank --preconditioner identity --alpha 0.1",
            "--alpha says nothing beside --preconditioner identity",
        ),
        (
            "rank --preconditioner adam --fisher sampled --floor 1",
            "--fisher, --floor say nothing beside --preconditioner adam, only beside ekfac or kfac",
        ),
        ("rank --samples 0:3 --window 2:3", "--samples and --window exclude each other"),
        ("statistics --samples 0:3 --window 2:3", "--samples and --window exclude each other"),
        ("statistics --statistic copyable --padding 3", "--padding says nothing beside --statistic copyable"),
        ("rank --epochs 2", "--epochs says nothing without --window"),
        ("rank --emitted e --micro-batch 3", "--micro-batch cannot stand beside --emitted"),
        ("mask --seed 3", "--seed says nothing beside --select top"),
        ("mask --select random --loss-bins 3", "--loss-bins says nothing beside --select random"),
        ("inject --rows r --unit a:0 --after 3", "--unit cannot stand beside --rows"),
        ("inject --plan p --epochs 3", "--epochs cannot stand beside --plan"),
        ("show ranking --seed 3", "--seed says nothing without --random"),
        ("arm --out a --insist unrecorded", "--insist says nothing without --from"),
        ("rank --queries-of r --queries-only --out o", "--queries-only cannot stand beside --queries-of"),
        ("rank --queries-only --worker 1/2 --out o", "leave out --worker"),
        ("synth distill r --out o --least 3 --most 4", "--least, --most say nothing beside --engine llm"),
        (
            "synth distill r --out o --engine builtin --per-request 3 --model m --price-in 2",
            "--per-request, --model, --price-in say nothing beside --engine builtin, only beside llm",
        ),
        (
            "synth generate p --out o --engine builtin --tries 2",
            "--tries says nothing beside --engine builtin",
        ),
        ("synth generate p --out o --only p001 --all", "--only and --carrying exclude each other"),
        ("synth render g --pad-id 3", "--pad-id says nothing beside --fill packed"),
        ("synth render g --fill padded --pad-id 3 --separator-id 2", "--separator-id says nothing to padded"),
        ("synth render rows --verify 3 --fill padded", "--verify looks at rendered rows"),
    ],
)
def test_a_flag_for_nothing_is_refused_by_its_name(words: str, says: str) -> None:
    program, *rest = words.split() if words.startswith("synth") else ["curator", *words.split()]
    assert says in refused(2, *rest, **({"main": synth_main} if program == "synth" else {}))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("rank --alpha 0.1 --alpha=0.5", "--alpha: given twice"),
        ("mask --count 3 --percent 2 --count 3", "--count: given twice"),
        ("corpus info x --vocab 3 --vocab-size 5", "--vocab/--vocab-size: given twice"),
        ("doctor --checkpoints a --checkpoints b", "--checkpoints: given twice"),
        ("rank -e a.yml --experiment b.yml", "--experiment/-e: given twice"),
        ("rank --normalise --normalise", "--normalise: given twice"),
        ("synth generate p --out o --carrying --all", "--carrying/--all: given twice"),
        ("synth audit data r --ranking a --out o --ranking b", "--ranking: given twice"),
    ],
)
def test_a_flag_given_twice_is_refused_where_it_is_no_list(words: str, says: str) -> None:
    program, *rest = words.split() if words.startswith("synth") else ["curator", *words.split()]
    assert says in refused(2, *rest, **({"main": synth_main} if program == "synth" else {}))


def test_lists_are_given_as_often_as_one_likes() -> None:
    assert "'out' is missing" in refused(2, "rank", "--unit", "a:0", "--unit", "b:0")


def test_a_flag_overrides_what_the_file_says_in_another_way(tmp_path: Path) -> None:
    """Percent of the file and a count on the command line, and the like; the file alone may not say both."""
    file = tmp_path / "study.yml"
    file.write_text(
        "window: [3, 5]\nepochs: 2\nbatch_size: 4\nmask: {percent: 5, ranking: [r]}\n"
        "rank: {alpha: 0.5, floor: 0.1}\ninject: {after: 3}\n"
    )
    study = load_experiment(file)
    mask = merge_flags(MaskSettings, {"count": 3}, study.said_for("mask"))
    assert (mask.count, mask.percent, mask.ranking) == (3, None, (tmp_path / "r",))
    rank = merge_flags(RankSettings, {"preconditioner": "identity"}, study.said_for("rank"))
    assert (rank.alpha, rank.window, rank.epochs) == (0.1, (3, 5), 2) and "alpha" not in rank.given()
    rank = merge_flags(RankSettings, {"samples": (0, 9)}, study.said_for("rank"))
    assert (rank.samples, rank.window, rank.epochs, rank.alpha) == ((0, 9), None, 1, 0.5)
    inject = merge_flags(InjectSettings, {"spread": (0, 9)}, study.said_for("inject"))
    assert (inject.after, inject.spread, inject.epochs) == (None, (0, 9), 2)
    assert study.stage("rank").changed(samples=(1, 2)).window is None
    with pytest.raises(UsageError, match=r"^--alpha says nothing beside --preconditioner identity"):
        merge_flags(RankSettings, {"alpha": 0.1}, {"preconditioner": "identity"})


def test_a_window_of_the_command_line_keeps_the_epochs_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "study.yml").write_text("epochs: 3\nbatch_size: 4\n")
    study = load_experiment(tmp_path / "study.yml")
    assert study.stage("rank").epochs == 1  # nothing to say without a window
    assert merge_flags(RankSettings, {"window": (0, 2)}, study.said_for("rank")).epochs == 3


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "rank:\n  units: [a]\n  alpha: 3\n  preconditioner: adam",
            "yml:3: rank: 'alpha' says nothing beside",
        ),
        ("mask:\n  seed: 1\n  count: 3\n  percent: 3", "yml:3: mask: 'count' and 'percent' exclude"),
        ("rank: {}\nprobe:\n  seed: 1\n  max_length: 3", "yml:4: probe: lengths must satisfy"),
        (
            "units: []\nbatch_size: 3\nmask:\n  batch_size: 4",
            "yml:2: batch_size is 3 but mask.batch_size is 4",
        ),
        ("rank:\n  batch_size: 3\nmask:\n  batch_size: 4", "yml:2: rank.batch_size is 3 but mask.batch_size"),
        ("epochs: 3\nbatch_size: 4\nmask:\n  epochs: 4", "yml:1: epochs is 3 but mask.epochs is 4"),
        ("scan:\n  batch_size: 3\nbatch_size: 4", "yml:3: batch_size is 4 but scan.batch_size is 3"),
    ],
)
def test_a_rule_of_several_fields_names_the_line_of_the_first(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "study.yml").write_text(text)
    with pytest.raises(UsageError) as error:
        load_experiment(tmp_path / "study.yml")
    assert says in str(error.value)


def test_a_rule_that_names_an_arm_has_its_line(tmp_path: Path) -> None:
    text = (ROOT / "configs" / "studies" / "demo.yml").read_text()
    arm = next(line for line in text.splitlines() if "name: repeat-top" in line)
    number = text.splitlines().index(arm) + 1
    for more, says in ((", by: nobody", "repeat-top.by: unknown ranking 'nobody'"), (", spread: 3", "arms[")):
        (tmp_path / "study.yml").write_text(text.replace(arm, arm.replace(", ", f"{more}, ", 1)))
        with pytest.raises(UsageError) as error:
            load_study(tmp_path / "study.yml", Study)
        assert f"study.yml:{number}: " in str(error.value) and says in str(error.value)


def test_what_is_the_same_in_two_places_is_no_contradiction(tmp_path: Path) -> None:
    (tmp_path / "study.yml").write_text("batch_size: 4\nmask: {batch_size: 4}\nrank: {batch_size: null}\n")
    assert load_experiment(tmp_path / "study.yml").mask.batch_size == 4
    assert section_of(Experiment.model_fields["mask"].annotation) is MaskSettings


def test_the_help_of_a_command_is_as_it_was() -> None:
    assert "--alpha" in done("rank", "--help") and "--percent" in done("mask", "--help")


def test_a_field_that_two_others_may_ask_for_is_heeded_beside_either() -> None:
    """A seed is of samples that are drawn, or of tokens that are."""
    assert MaskSettings(select="random", seed=3).seed == MaskSettings(tokens="random", seed=3).seed == 3
    for fields in ({}, {"select": "top"}, {"tokens": "copyable"}):
        with pytest.raises(
            UsageError, match=r"'seed' says nothing beside 'select' top.*, or 'tokens' random: leave"
        ):
            MaskSettings(**fields, seed=3)
    assert laid_over(MaskSettings, {"select": "random", "seed": 3}, {"select": "top"}) == {"select": "top"}
    kept = laid_over(MaskSettings, {"select": "random", "seed": 3}, {"select": "top", "tokens": "random"})
    assert kept["seed"] == 3
