"""The commands of `synth` with the builtin engine, one after the other, as a user would type them.

    patterns/      synth distill, synth audit patterns
    generators/    synth generate
    trial/         synth render: a few rows of every pattern, to be scored
    audit/         synth audit data
    rows/          synth render --only audit/audit.json: what is inserted

What the commands print goes to ``synth.log``. Every one of them resumes, so a killed pipeline goes on.
"""

from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from curator.artifacts.files import load_json
from synth.cli.audit import run_audit_data
from synth.cli.commands import AUDIT, run_audit_patterns, run_distill, run_generate
from synth.cli.render_command import run_render
from synth.llm.settings import ChatSettings

TRIAL_ROWS = 100
"""Rows per generator that are scored."""
CHAT = ChatSettings()
"""Not asked: the engine is builtin."""


def run_builtin(
    ranking: Path,
    folder: Path,
    *,
    top: int,
    holdout: float,
    count: int,
    seed: int,
    say: Callable[[str], None],
) -> tuple[Path, dict[str, Any]]:
    """From ``ranking`` to ``count`` rows: (their folder, what every step found).

    Where no pattern passes an audit, all go on, and the result says so.

    Args:
        say: called with the name of each of the five steps when it is finished.
    """
    patterns, generators, audit = folder / "patterns", folder / "generators", folder / "audit"
    with open(folder / "synth.log", "a", encoding="utf-8") as log, redirect_stdout(log):
        chosen = {"unit": None, "top": top, "holdout": holdout, "seed": seed}
        chosen |= {"corpus": None, "tokenizer": None}
        run_distill(ranking, patterns, "builtin", chosen, 0.85, {"least": 3, "most": 200}, {}, CHAT)
        say("distill")
        run_audit_patterns(patterns, None, None, None, seed, workers=1)
        tested = load_json(patterns / AUDIT)
        carrying = [one["pattern_id"] for one in tested["patterns"] if one["carries"]]
        say("audit patterns")
        picked = {"only": None, "carrying": bool(carrying)}
        run_generate(patterns, generators, "builtin", picked, None, None, None, {}, False, CHAT)
        made = load_json(generators / "manifest.json")
        say("generate")
        wanted = {"seed": seed, "seq_length": None, "tokenizer": None, "fill": "packed"}
        wanted |= {"separator_id": None, "pad_id": None, "task_size": None}
        trial = {**wanted, "count": TRIAL_ROWS * len(made["generators"])}
        run_render(generators, folder / "trial", trial, ["equal"], None, 1, False)
        asked = {"unit": None, "sample": TRIAL_ROWS, "random": 1000, "threshold": 50.0, "seed": seed}
        run_audit_data(folder / "trial", ranking, audit, asked, None, None, "cpu")
        scored = load_json(audit / "audit.json")
        say("audit data")
        only = audit / "audit.json" if scored["kept"] else None
        run_render(generators, folder / "rows", {**wanted, "count": count}, [], only, 1, False)
        say("render")
    rendered = load_json(folder / "rows" / "manifest.json")
    return folder / "rows", {
        "patterns": len(tested["patterns"]),
        "carrying": len(carrying),
        "generators": len(made["generators"]),
        "set_aside": len(made["set_aside"]),
        "kept": scored["kept"],
        "audited": scored["patterns"],
        "natural": scored["natural"],
        "diversity": scored["diversity"],
        "rows": {one["pattern_id"]: one["rows"] for one in rendered["patterns"]},
        "duplicates": rendered["duplicates"],
    }
