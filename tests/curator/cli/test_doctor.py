"""The doctor reports what is there: each check is compared with the machine, or with one made up for it."""

import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from engine_parts import ROOT
from fake_neox import fake_checkout
from packaging.requirements import Requirement

from curator.cli import doctor
from curator.cli.doctor import Check, check_package, report
from curator.neox.checkout import CACHE


def checks(tmp_path: Path, **environ: str) -> dict[str, Check]:
    return {check.name: check for check in report(tmp_path, {"HOME": str(tmp_path / "home"), **environ})}


def test_python_and_torch_are_reported_as_they_are(tmp_path: Path) -> None:
    found = checks(tmp_path)
    assert found["Python"].status == "ok" and platform.python_version() in found["Python"].detail
    assert f"torch uses {torch.get_num_threads()} threads" in found["CPU"].detail
    assert ("CUDA 0" in found) == torch.cuda.is_available() != ("CUDA" in found)
    assert str(tmp_path) in found["disk"].detail


def test_whatever_is_not_ok_says_how_to_get_it(tmp_path: Path) -> None:
    for check in report(tmp_path, {"HOME": str(tmp_path)}):
        assert check.needed_for and check.detail
        assert check.status == "ok" or check.how_to_get


def test_a_neox_home_that_is_not_there_is_reported_so(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    check = checks(tmp_path, NEOX_HOME=str(gone))["GPT-NeoX"]
    assert check.status == "missing" and f"{gone}, which is not there" in check.detail


def test_a_neox_home_that_is_another_folder_is_reported_so(tmp_path: Path) -> None:
    check = checks(tmp_path, NEOX_HOME=str(tmp_path))["GPT-NeoX"]
    assert check.status == "missing" and "no megatron/training.py" in check.detail


def test_neox_checkouts_are_found_in_neox_home_and_in_the_cache(tmp_path: Path) -> None:
    nothing = checks(tmp_path)["GPT-NeoX"]
    assert nothing.status == "missing" and nothing.how_to_get.startswith("git clone")
    cached = fake_checkout(tmp_path / "home" / CACHE / "any-name", "v1.0")
    assert checks(tmp_path)["GPT-NeoX"].detail == f"{cached}: generation v1.0, hook points found"
    own = fake_checkout(tmp_path / "own")
    check = checks(tmp_path, NEOX_HOME=str(own))["GPT-NeoX"]
    assert check.status == "ok" and check.detail == f"{own}: generation HEAD, hook points found"


def test_every_candidate_is_reported_and_an_unusable_one_with_the_reason(tmp_path: Path) -> None:
    cache = tmp_path / "home" / CACHE
    bad = fake_checkout(cache / "bad", parameters={"train_step": None})
    good = fake_checkout(cache / "good")
    broken = fake_checkout(cache / "v2.0", "2.x")
    (broken / "megatron" / "neox_arguments" / "deepspeed_args.py").write_text('"""unclosed')
    found = [
        check for check in report(tmp_path, {"HOME": str(tmp_path / "home")}) if check.name == "GPT-NeoX"
    ]
    assert [check.status for check in found] == ["warning", "ok", "warning"]
    assert str(bad) in found[0].detail and "megatron/training.py: train_step(" in found[0].detail
    assert str(good) in found[1].detail
    assert str(broken) in found[2].detail and "Tag v2.0" in found[2].detail
    assert all(check.how_to_get for check in found if check.status != "ok")


def test_the_working_directory_is_reported_where_it_is_a_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = fake_checkout(tmp_path / "here", "2.x")
    monkeypatch.chdir(here)
    assert checks(tmp_path)["GPT-NeoX"].detail == f"{here}: generation 2.x, hook points found"


def test_what_a_checkout_imports_is_what_the_extra_neox_installs(tmp_path: Path) -> None:
    text = (ROOT / "pyproject.toml").read_text()
    extra = re.search(r"^neox = \[\n(.*?)^\]", text, re.MULTILINE | re.DOTALL)
    assert extra is not None
    assert {
        Requirement(line.strip(' ",')).name for line in extra[1].splitlines()
    } == doctor.NEOX_PACKAGES.keys()
    found = checks(tmp_path)
    for name in doctor.NEOX_PACKAGES:
        assert found[name].status == "ok" or "make neox" in found[name].how_to_get
    assert found["deepspeed"].needed_for == "training with the official trainer"


def test_a_missing_package_of_the_trainer_is_reported_with_its_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "NEOX_PACKAGES", {"no-such-package-mda": "GPT-NeoX's whim"})
    check = checks(tmp_path)["no-such-package-mda"]
    assert (
        check.status == "missing"
        and check.needed_for == "GPT-NeoX's whim"
        and "make neox" in check.how_to_get
    )


def test_without_compiler_make_and_headers_each_is_missing(tmp_path: Path) -> None:
    found = checks(tmp_path, PATH=str(tmp_path))
    for name in ("make", "C++ compiler", "Python headers"):
        assert found[name].status == "missing" and found[name].how_to_get


def test_compiler_and_make_are_found_on_the_path(tmp_path: Path) -> None:
    for name, text in (("make", ""), ("my-cxx", ""), ("python3-config", "echo .of-another-python.so")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    found = checks(tmp_path, PATH=str(tmp_path), CXX="my-cxx")
    assert found["make"].status == found["C++ compiler"].status == "ok"
    assert found["C++ compiler"].detail == str(tmp_path / "my-cxx")
    headers = found["Python headers"]
    assert headers.status == "missing", (
        "python3-config of another Python gives the helper a name it cannot import"
    )
    if "python3-config is of another Python" in headers.detail:  # else Python.h itself is not there
        assert ".of-another-python.so" in headers.detail and "LIBEXT=" in headers.how_to_get


def test_the_python3_that_make_will_call_is_asked_for_pybind11(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another one comes first on the PATH: neox_patches puts this Python's folder before it, where it has a python3."""
    pytest.importorskip("pybind11")
    other = tmp_path / "python3"
    other.write_text("#!/bin/sh\nexit 1\n")
    other.chmod(0o755)
    own = Path(sys.executable).parent
    check = checks(tmp_path, PATH=str(tmp_path))["python3 for make"]
    assert (
        check.status == "ok" and str(own / "python3") in check.detail and f"would use {other}" in check.detail
    )
    check = checks(tmp_path, PATH=f"{own}:{tmp_path}")["python3 for make"]
    assert check.status == "ok" and str(other) not in check.detail
    (tmp_path / "bin").mkdir()
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "python"))  # no python3 beside it
    check = checks(tmp_path, PATH=str(tmp_path))["python3 for make"]
    assert check.status == "missing" and f"{other} has no pybind11" in check.detail and check.how_to_get


@pytest.mark.parametrize(
    ("text", "status", "says"),
    [
        ("numpy>=1.0", "ok", "tested with 9.9"),
        ("numpy>=99", "warning", "wants >=99"),
        ("no-such-package-mda>=1", "missing", "not installed"),
    ],
)
def test_a_package_is_held_against_its_range(text: str, status: str, says: str) -> None:
    check = check_package(Requirement(text), {"numpy": "9.9"})
    assert check.status == status and says in check.detail
    assert (check.how_to_get == "") == (status == "ok")


def test_the_pins_of_this_python_are_read_from_the_constraints() -> None:
    pins = doctor._tested_versions()
    assert pins["torch"].startswith("2.") and "typing-extensions" in pins


def test_the_report_writes_nothing(tmp_path: Path) -> None:
    report(tmp_path, {"HOME": str(tmp_path), "NEOX_HOME": str(tmp_path / "neox")})
    assert list(tmp_path.iterdir()) == []


def test_importing_the_doctor_does_not_import_torch() -> None:
    code = "import sys, curator.cli.doctor; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
