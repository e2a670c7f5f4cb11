"""The commands of `synth` one after the other, as a user types them, following what each says to do next."""

import subprocess
import sys
from pathlib import Path

import commands
import numpy as np
import pytest
from command_line import done, follow, next_step, process, refused
from engine_parts import GOLDEN

from curator.artifacts.files import load_json, save_json
from curator.corpus import open_corpus
from curator.corpus.token_text import TokenText
from curator.plan.plan import Plan
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
        _, err = running.communicate(timeout=300)
        assert running.returncode == code, err
        assert "Traceback" not in err and (code == 0 or (err.startswith("error: ") and err.count("\n") == 1))


def test_what_needs_no_model_waits_for_no_models_library() -> None:
    """`distill`, `generate`, `render` and `audit patterns` start in less than a second: those take five to import."""
    code = "import sys, synth.cli.commands, synth.cli.render; print({'torch', 'transformers'} & sys.modules.keys())"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"


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
    """A real model and ranking, the builtin engine; a space in the folder's name. Hints are followed literally."""
    folder = tmp_path / "a study"
    folder.mkdir()
    monkeypatch.chdir(folder)
    rank = ["rank", "--model", GOLDEN / "model", "--corpus", GOLDEN / "rows.npy", "--unit", "induction:1.2"]
    size = ("--probe", "paper", "--probe-sequences", 4, "--factor-samples", 32, "--batch-size", 16)
    said = commands.done(*rank, "--out", "my ranking", *size)
    said = follow(said, ["curator", "show", "my ranking", "--top", "5"])
    mask = ["curator", "mask", "--ranking", "my ranking", "--select", "top", "--percent", "10"]
    said = follow(said, [*mask, "--batch-size", "16", "--out", "plan-top"])
    assert "Masked 26 of 256 slots" in said and said.splitlines()[-1].startswith("Next: curator train")

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
    said = follow(said, render, "--count", 45, "--workers", 1)
    assert "45 rows of 129 tokens, 3 patterns" in said
    assert "12 rows of trial were made again" in done("render", "trial", "--verify", 12)

    audit_data = [
        "synth",
        "audit",
        "data",
        "trial",
        "--ranking",
        str(folder / "my ranking"),
        "--out",
        "audit",
    ]
    assert next_step(commands.done("show", "trial")) == audit_data
    said = follow(said, audit_data, "--threshold", 0)  # so few rows of so small a model
    kept = load_json(folder / "audit" / "kept.json")
    assert (
        0 < len(kept) < 3 and f"{len(kept)} of 3 patterns are kept" in said
    )  # those above their shuffled selves
    assert set(load_json(folder / "audit" / "audit.json")["fidelity"]["patterns"]) == {"p001", "p002", "p003"}
    assert "What rows keep of the samples that their pattern was distilled from" in said

    only = ["synth", "render", str(folder / "generators"), "--only", "audit/audit.json", "--count", "45"]
    assert next_step(commands.done("show", "audit", "--top", 1)) == [*only, "--out", "rows"]
    there = next_step(commands.done("show", "audit/ranking", "--top", 1))
    assert there == [
        str(folder / word) if word == "audit/audit.json" else word for word in [*only, "--out", "rows"]
    ]
    said = follow(said, [*only, "--out", "rows"], "--workers", 1)
    rows = Rows.open(folder / "rows")
    assert rows.patterns == kept and np.asarray(rows.corpus.rows(slice(None))).shape == (45, 129)

    planned = [
        "--corpus",
        str(GOLDEN / "rows.npy"),
        "--batch-size",
        "16",
        "--spread",
        "0:16",
        "--count",
        "32",
    ]
    inject = ["curator", "inject", "--rows", "rows", *planned, "--out", "plan"]
    assert next_step(commands.done("show", "rows")) == inject
    said = follow(said, inject)
    (source,) = Plan.load(folder / "plan").sources
    assert source["fingerprint"] == open_corpus(folder / "rows").fingerprint()

    _shows_what_was_scored(folder, "audit")
    _shows_what_was_scored(folder, "audit/ranking")
    for file in ("audit/tokenizer.json", "audit/scored-origins.json"):  # as older versions left an audit
        (folder / file).unlink()
    assert "as rendered" not in commands.done("show", "audit/ranking", "--top", 1)

    none = load_json(folder / "audit" / "audit.json") | {"kept": []}  # a verdict, and nothing carries
    for one in none["patterns"]:
        one["scored"] = 50
    save_json(folder / "audit" / "audit.json", none)
    other = ["synth", "distill", str(folder / "my ranking"), "--out", "patterns-2"]
    assert next_step(commands.done("show", "audit", "--top", 1)) == other
    save_json(folder / "audit" / "audit.json", none | {"rows": "moved"})
    assert "Next: " not in commands.done("show", "audit", "--top", 1)


def _shows_what_was_scored(folder: Path, path: str) -> None:
    """Text of rows, not token ids, and which of them they are."""
    commands.done("show", path, "--top", 3, "--bottom", 2, "--json", folder / "shown.json")
    rows = Rows.open(folder / "trial")
    views = load_json(folder / "shown.json")
    assert len(views) == 5 and {view["provenance"]["tokens"] for view in views} <= {"as rendered", "shuffled"}
    for view in views:
        told = view["provenance"]
        assert told["pattern"] == rows.patterns[rows.row_patterns[told["row"]]]
        assert told["candidate"] == rows.row_candidates[told["row"]]
        text = "".join(text for text, _ in view["segments"])
        whole = TokenText(folder / "trial" / "tokenizer.json").pieces(rows.corpus.rows([told["row"]])[0], [])[
            0
        ]
        assert (text == whole) == (told["tokens"] == "as rendered") and view["score"] is not None
