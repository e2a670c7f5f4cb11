"""The commands of `synth` one after the other, as a user types them, following what each says to do next."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import test_cli
from command_line import done, next_steps, process, refused
from conftest import GOLDEN

from curator.corpus import open_corpus
from curator.plan import Plan
from curator.storage import load_json
from synth.render.folder import Rows

COMMANDS = ["distill", "audit patterns", "generate", "render", "audit data", "doctor", "demo"]


# -- the process ----------------------------------------------------------------------------------------------------


def test_exit_codes_are_0_done_1_failed_2_usage(tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    cases = {
        0: ["distill", "--help"],
        1: ["audit", "patterns", nowhere],
        2: ["generate", nowhere, "--engine", "magic", "--out", tmp_path / "out"],
    }
    started = {code: process(*words) for code, words in cases.items()}
    for code, running in started.items():
        _, err = running.communicate(timeout=60)
        assert running.returncode == code, err
        assert "Traceback" not in err and (code == 0 or (err.startswith("error: ") and err.count("\n") == 1))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_has_an_example_and_says_what_is_taken_unless_given(command: str) -> None:
    said = " ".join(done(*command.split(), "--help").replace("│", " ").split())
    assert f"Example: synth {command}" in said
    options = said.partition("Options")[2]
    assert command == "doctor" or "[default:" in options


def test_the_groups_name_their_commands() -> None:
    for group in ([], ["audit"]):
        said = done(*group, "--help")
        for command in COMMANDS:
            *of, name = command.split()
            assert of != group or f" {name} " in said


# -- the whole way ----------------------------------------------------------------------------------------------


def test_from_a_ranking_to_a_plan_by_following_what_every_command_says_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real model and ranking, the builtin engine; the folder has a space in its name."""
    folder = tmp_path / "a study"
    folder.mkdir()
    monkeypatch.chdir(folder)
    rank = ["rank", "--model", GOLDEN / "model", "--corpus", GOLDEN / "rows.npy", "--unit", "induction:1.2"]
    test_cli.done(*rank, "--out", "my ranking", "--probe-sequences", 4, "--factor-samples", 32)

    said = done(
        *("distill", "my ranking", "--engine", "builtin", "--out", "my patterns"),
        *("--top", 150, "--holdout", 0.4, "--most", 3),
    )
    assert "3 patterns of 74 samples of induction:1.2" in said and "50 top samples held out" in said

    said = follow(said, ["synth", "audit", "patterns", "my patterns"], "--workers", 1)
    audit = load_json(folder / "my patterns" / "audit.json")
    assert "0 of 3 patterns carry" in said and len(audit["patterns"]) == 3
    assert "no pattern carries; give --all" in refused(
        2, "generate", "my patterns", "--engine", "builtin", "--out", "x"
    )

    generate = ["synth", "generate", "my patterns", "--engine", "builtin", "--all", "--out", "generators"]
    said = follow(said, generate)
    assert "3 generators passed their checks" in said
    assert len(list((folder / "generators").glob("p00*.py"))) == 3

    render = ["synth", "render", "generators", "--weights", "equal", "--count", "300", "--out", "trial"]
    assert next_steps(said) == [render]
    said = done("render", "generators", "--weights", "equal", "--count", 45, "--out", "rows", "--workers", 1)
    assert "45 rows of 129 tokens, 3 patterns" in said
    assert "12 rows of rows were made again" in done("render", "rows", "--verify", 12)

    audit_data, inject = next_steps(said)
    ranking = str(folder / "my ranking")
    assert audit_data == ["synth", "audit", "data", "rows", "--ranking", ranking, "--out", "audit"]
    assert "--rows" in test_cli.done(*inject[1:])
    said = done(*audit_data[1:])
    kept = load_json(folder / "audit" / "kept.json")
    assert kept == ["p002"] and "1 of 3 patterns are kept" in said

    where = str(folder / "generators")
    only = ["synth", "render", where, "--only", "audit/audit.json", "--count", "45", "--out", "rows-kept"]
    follow(said, only, "--workers", 1)
    rows = Rows.open(folder / "rows-kept")
    assert rows.patterns == kept and len(rows.corpus) == 45

    planned = [*("--corpus", GOLDEN / "rows.npy"), *("--batch-size", 16), *("--after", 3), *("--count", 32)]
    test_cli.done("inject", "--rows", "rows-kept", *planned, "--out", "plan")
    (source,) = Plan.load(folder / "plan").sources
    assert source["fingerprint"] == open_corpus(folder / "rows-kept").fingerprint()
    assert np.asarray(rows.corpus.rows(slice(None))).shape == (45, 129)


def follow(said: str, expected: list[str], *more: Any) -> str:
    """The hint in ``said`` is this command; what it prints, run with ``more`` behind it."""
    assert next_steps(said) == [expected]
    return done(*expected[1:], *more)
