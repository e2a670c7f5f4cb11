"""The doctor reports what is there: each check is compared with the machine, or with one made up for it."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from packaging.requirements import Requirement

from curator import doctor
from curator.doctor import Check, check_package, report


def checks(tmp_path: Path, **environ: str) -> dict[str, Check]:
    return {check.name: check for check in report(tmp_path, {"HOME": str(tmp_path / "home"), **environ})}


def neox_checkout(folder: Path) -> Path:
    (folder / "megatron").mkdir(parents=True)
    (folder / "megatron" / "training.py").write_text("")
    return folder


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
    assert checks(tmp_path)["GPT-NeoX"].status == "missing"
    cached = neox_checkout(tmp_path / "home" / ".cache" / "mda-curator" / "gpt-neox" / "v1.0")
    assert checks(tmp_path)["GPT-NeoX"].detail == str(cached)
    own = neox_checkout(tmp_path / "own")
    assert checks(tmp_path, NEOX_HOME=str(own))["GPT-NeoX"].detail.startswith(str(own))


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
    code = "import sys, curator.doctor; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
