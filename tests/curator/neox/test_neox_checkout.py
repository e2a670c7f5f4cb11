"""Which GPT-NeoX a folder holds is read from its code; what lacks a hook point is refused, with what was looked for."""

from pathlib import Path

import pytest
from fake_neox import fake_checkout

from curator.errors import CuratorError, UsageError
from curator.neox.checkout import (
    ARGUMENTS,
    CACHE,
    HOOK_POINTS,
    SOURCE_MARKS,
    candidates,
    choose_checkout,
    find_checkouts,
    inspect_checkout,
)

FUNCTIONS = sorted((file, name) for (file, name), parameters in HOOK_POINTS.items() if parameters)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder of a made-up HOME; the working directory is no checkout."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / CACHE


@pytest.mark.parametrize(
    ("generation", "builder"),
    [
        ("HEAD", "build_train_valid_test_data_loaders"),
        ("v1.0", "build_train_valid_test_data_iterators"),
        ("2.x", "build_train_valid_test_data_iterators"),
    ],
)
def test_a_generation_is_told_by_the_code_not_by_the_folders_name(
    tmp_path: Path, generation: str, builder: str
) -> None:
    checkout = inspect_checkout(fake_checkout(tmp_path / "named-v1.0-or-HEAD", generation))
    assert (checkout.generation, checkout.loader_builder) == (generation, builder)
    assert checkout.home == tmp_path / "named-v1.0-or-HEAD"


@pytest.mark.parametrize(("file", "name"), sorted(HOOK_POINTS))
def test_a_missing_hook_point_is_named_with_its_file(tmp_path: Path, file: str, name: str) -> None:
    home = fake_checkout(tmp_path, parameters={name: None})
    with pytest.raises(CuratorError) as refusal:
        inspect_checkout(home)
    wanted = HOOK_POINTS[file, name]
    looked_for = f"{name}({', '.join(wanted)}, ...)" if wanted else f"class {name}"
    assert f"\n  {file}: {looked_for}\n" in str(refusal.value)
    assert str(home) in str(refusal.value) and "tag v1.0" in str(refusal.value)


@pytest.mark.parametrize(("file", "name"), FUNCTIONS)
def test_a_changed_signature_is_shown_beside_the_one_looked_for(tmp_path: Path, file: str, name: str) -> None:
    home = fake_checkout(tmp_path, parameters={name: ("renamed", *HOOK_POINTS[file, name][1:])})
    with pytest.raises(CuratorError) as refusal:
        inspect_checkout(home)
    wanted = f"{file}: {name}({', '.join(HOOK_POINTS[file, name])}, ...); there it is {name}(renamed"
    assert wanted in str(refusal.value)


def test_parameters_added_at_the_end_are_no_obstacle(tmp_path: Path) -> None:
    longer = {name: (*HOOK_POINTS[file, name], "added") for file, name in FUNCTIONS}
    assert inspect_checkout(fake_checkout(tmp_path, parameters=longer)).generation == "HEAD"


@pytest.mark.parametrize(
    ("file", "mark"), [(file, mark) for file, marks in SOURCE_MARKS.items() for mark in marks]
)
def test_source_that_must_stand_in_a_file_is_looked_for(tmp_path: Path, file: str, mark: str) -> None:
    home = fake_checkout(tmp_path)
    kept = [line for line in (home / file).read_text().splitlines() if mark not in line]
    (home / file).write_text("\n".join(kept))
    with pytest.raises(CuratorError) as refusal:
        inspect_checkout(home)
    assert f"{file}: '{mark}'" in str(refusal.value)


def test_an_unknown_rule_for_the_pipeline_engine_is_no_known_generation(tmp_path: Path) -> None:
    home = fake_checkout(tmp_path, "v1.0")
    (home / ARGUMENTS).write_text("class NeoXArgs: ...\n")
    with pytest.raises(CuratorError, match=r"pipe_parallel_size >= 1 \(v1\.0\) or >= 2 \(2\.x\)"):
        inspect_checkout(home)


def test_a_file_that_cannot_be_parsed_is_named_as_in_tag_v2_0(tmp_path: Path) -> None:
    home = fake_checkout(tmp_path, "2.x")
    broken = home / "megatron" / "neox_arguments" / "deepspeed_args.py"
    broken.write_text('class Arguments:\n    steps: int = 1\n    """unclosed\n')
    with pytest.raises(CuratorError) as refusal:
        inspect_checkout(home)
    assert str(refusal.value).startswith(f"{broken}:3: this checkout cannot be imported")
    assert "Tag v2.0" in str(refusal.value) and "6534f19e" in str(refusal.value)


def test_a_folder_without_training_py_is_no_checkout(tmp_path: Path) -> None:
    with pytest.raises(CuratorError, match=r"no GPT-NeoX checkout \(no megatron/training\.py\)"):
        inspect_checkout(tmp_path)


def test_neox_home_comes_before_the_cache_and_alone(cache: Path, tmp_path: Path) -> None:
    cached, own = fake_checkout(cache / "v1.0", "v1.0"), fake_checkout(tmp_path / "own")
    environ = {"HOME": str(tmp_path)}
    assert candidates(environ) == [cached] and choose_checkout(environ=environ).home == cached
    environ["NEOX_HOME"] = str(own)
    assert candidates(environ) == [own] and choose_checkout(environ=environ).home == own


@pytest.mark.parametrize(
    ("make", "says"), [(False, "which is not there"), (True, "which has no megatron/training.py")]
)
def test_a_wrong_neox_home_is_refused_even_beside_a_good_cache(
    cache: Path, tmp_path: Path, make: bool, says: str
) -> None:
    fake_checkout(cache / "HEAD")
    wrong = tmp_path / "wrong"
    if make:
        wrong.mkdir()
    environ = {"HOME": str(tmp_path), "NEOX_HOME": str(wrong)}
    with pytest.raises(UsageError) as refusal:
        choose_checkout(environ=environ)
    assert f"NEOX_HOME is {wrong}, {says}" in str(refusal.value) and "git clone" in str(refusal.value)
    assert find_checkouts(environ) == []


def test_several_checkouts_are_listed_and_neox_home_asked_for(cache: Path, tmp_path: Path) -> None:
    homes = [fake_checkout(cache / name) for name in ("HEAD", "other")]
    with pytest.raises(UsageError) as refusal:
        choose_checkout(environ={"HOME": str(tmp_path)})
    assert f"several GPT-NeoX checkouts: {homes[0]}, {homes[1]}; set NEOX_HOME" in str(refusal.value)


def test_no_checkout_says_where_was_looked_and_how_to_get_one(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as refusal:
        choose_checkout(environ={"HOME": str(tmp_path)})
    assert str(cache) in str(refusal.value) and "git clone" in str(refusal.value)


def test_a_checkout_is_asked_for_by_folder_or_by_name_in_the_cache(cache: Path, tmp_path: Path) -> None:
    cached, own = fake_checkout(cache / "v1.0", "v1.0"), fake_checkout(tmp_path / "own")
    environ = {"HOME": str(tmp_path), "NEOX_HOME": str(tmp_path / "nowhere")}
    assert choose_checkout("v1.0", environ).home == cached
    assert choose_checkout(own, environ).home == own
    with pytest.raises(UsageError, match="gone"):
        choose_checkout(tmp_path / "gone", environ)


def test_the_working_directory_is_taken_where_it_is_a_checkout(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HEAD", "other"):
        fake_checkout(cache / name)
    here = fake_checkout(tmp_path / "here")
    monkeypatch.chdir(here)
    assert choose_checkout(environ={"HOME": str(tmp_path)}).home == here


def test_find_checkouts_leaves_out_what_the_patches_do_not_know(cache: Path, tmp_path: Path) -> None:
    good = fake_checkout(cache / "good", "2.x")
    fake_checkout(cache / "bad", parameters={"train_step": None})
    (cache / "empty").mkdir()
    assert [checkout.home for checkout in find_checkouts({"HOME": str(tmp_path)})] == [good]


REAL = {"HEAD": "HEAD", "v1.0": "v1.0", "6534f19e": "2.x"}


@pytest.mark.parametrize("name", [*REAL, "v2.0"])
def test_a_real_checkout_is_recognised(name: str) -> None:
    home = Path.home() / CACHE / name
    if not home.is_dir():
        pytest.skip(f"no GPT-NeoX checkout {name} in ~/{CACHE}")
    if name == "v2.0":
        with pytest.raises(CuratorError, match=r"cannot be imported .*Tag v2\.0 is such a one"):
            inspect_checkout(home)
    else:
        assert inspect_checkout(home).generation == REAL[name]
