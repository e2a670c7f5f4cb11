"""From a ranking to rendered rows with the builtin engine, step by step as a user would.

    patterns/      distilled, and audited
    generators/    of the patterns that carry
    trial/         a few rows of every pattern, to be scored
    audit/         their scores
    rows/          of the patterns that the audit keeps: what is inserted

Every folder is that of the command of its name, and can be looked at or gone on with by hand. Every step resumes, so a
killed one goes on.
"""

from pathlib import Path
from typing import Any

from curator.corpus import Corpus
from curator.ranking.ranking import Ranking
from curator.study.replicate import Say
from synth.audit.settings import AuditDataSettings, AuditPatternsSettings
from synth.audit.stage import audit_data, audit_patterns
from synth.demo.study import InsertStudy
from synth.distill.settings import DistillSettings
from synth.distill.stage import distill
from synth.generate.settings import GenerateSettings
from synth.generate.stage import generate
from synth.render.run import render
from synth.render.settings import EQUAL, RenderSettings

STAGES = ("distill", "audit patterns", "generate", "audit data", "render")
TRIAL_ROWS = 100
"""Rows per generator that are scored."""


def make_rows(
    study: InsertStudy, seed: int, ranking: Ranking, folder: Path, say: Say
) -> tuple[dict[str, Corpus], dict[str, Any]]:
    """Rows as many as the largest arm inserts, as ``rendered``, and what every step found, as ``pipeline``.

    Where no pattern passes an audit, all go on, and the result says so.

    Args:
        say: called with the name of each of `STAGES` when it is finished.
    """
    patterns, generators, trial, audit = (
        folder / name for name in ("patterns", "generators", "trial", "audit")
    )
    distill(
        DistillSettings(
            ranking=ranking.path,
            out=patterns,
            engine="builtin",
            top=study.distill.top,
            holdout=study.distill.holdout,
            seed=seed,
        )
    )
    say("distill")
    tested = audit_patterns(AuditPatternsSettings(patterns=patterns, seed=seed, workers=1))
    say("audit patterns")
    made = generate(
        GenerateSettings(patterns=patterns, out=generators, engine="builtin", carrying=bool(tested.carrying))
    )
    say("generate")
    asked = RenderSettings(generators=generators, seed=seed, workers=1)
    render(asked.changed(out=trial, count=TRIAL_ROWS * len(made.generators), weights=(EQUAL,)))
    scored = audit_data(
        AuditDataSettings(rows=trial, ranking=ranking.path, out=audit, sample=TRIAL_ROWS, seed=seed)
    )
    say("audit data")
    largest = max(arm.count or 0 for arm in study.arms)
    only = audit / "audit.json" if scored.kept else None
    rows = render(asked.changed(out=folder / "rows", count=largest, only=only))
    say("render")
    return {"rendered": rows.corpus}, {
        "pipeline": {
            "patterns": len(tested.result["patterns"]),
            "carrying": len(tested.carrying),
            "generators": len(made.generators),
            "set_aside": len(made.manifest["set_aside"]),
            "kept": scored.kept,
            "audited": scored.result["patterns"],
            "natural": scored.result["natural"],
            "diversity": scored.result["diversity"],
            "rows": {one["pattern_id"]: one["rows"] for one in rows.manifest["patterns"]},
            "duplicates": rows.manifest["duplicates"],
        }
    }
