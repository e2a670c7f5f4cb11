"""`synth doctor` says what holds here, what is open, and never a key."""

import os
import subprocess
import sys

import pytest

from synth.cli.doctor import report, sandbox_checks
from synth.sandbox import LAYERS, active_layers
from synth.sandbox.sandbox import NEEDED


def test_every_lock_and_everything_to_be_shut_is_reported_as_tried() -> None:
    found = {check.name: check for check in report(environ={})}
    for layer in active_layers():
        assert (found[layer.name].status == "ok") == layer.active and layer.detail in found[layer.name].detail
    assert set(LAYERS) | {f"{what} shut" for what in NEEDED} <= set(found)


def test_with_no_lock_all_is_open_and_it_says_how_to_mend_it() -> None:
    open_ = [check for check in sandbox_checks(layers=()) if check.name.endswith("shut")]
    assert [check.status for check in open_] == ["missing"] * len(NEEDED)
    assert all("bubblewrap" in check.how_to_get and "--unsafe-sandbox" in check.how_to_get for check in open_)


def test_the_keys_place_is_said_and_the_key_is_not() -> None:
    held = report(environ={"DEEPSEEK_API_KEY": "sk-secret"})[-1]
    assert held.status == "ok" and "DEEPSEEK_API_KEY" in held.detail and "sk-secret" not in str(held)
    missing = report(environ={})[-1]
    assert missing.status == "warning" and "DEEPSEEK_API_KEY: not set" in missing.detail
    assert "export DEEPSEEK_API_KEY" in missing.how_to_get


def test_the_command_prints_all_of_it() -> None:
    environ = {**os.environ, "DEEPSEEK_API_KEY": "sk-secret"}
    done = subprocess.run(
        [sys.executable, "-m", "synth.cli", "doctor"], capture_output=True, text=True, env=environ
    )
    assert done.returncode == 0, done.stderr
    assert (
        "seccomp" in done.stdout
        and "deepseek-flash" in done.stdout
        and "sk-secret" not in done.stdout + done.stderr
    )


@pytest.mark.parametrize("name", LAYERS)
def test_a_lock_that_was_not_asked_for_is_not_reported(name: str) -> None:
    others = tuple(layer for layer in LAYERS if layer != name)
    assert name not in {check.name for check in sandbox_checks(others)}
