"""From a ranking to rendered rows with the builtin engine, step by step as a user would.

    patterns/      distilled, and audited
    generators/    of the patterns that carry
    trial/         a few rows of every pattern, to be scored
    audit/         their scores
    rows/          of the patterns that the audit keeps: what is inserted

Every folder is that of the command of its name, and can be looked at or gone on with by hand. Every step resumes, so a
killed one goes on.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from curator.artifacts.claim import lock_folder
from curator.artifacts.files import save_json
from curator.corpus import Corpus
from curator.ranking.ranking import Ranking
from curator.study.replicate import Say
from synth.audit.patterns import audit_patterns, finished
from synth.audit.rows import AuditSettings, audit_data
from synth.demo.study import InsertStudy
from synth.distill.miner import mine
from synth.distill.run import Top, distill
from synth.generate.generators import Generators
from synth.generate.run import builtin_writer, generate
from synth.patterns.registry import SIMILAR, Registry
from synth.patterns.samples import SampleText
from synth.render.run import render
from synth.render.settings import RenderSettings, kept_alone
from synth.sandbox import Sandbox

STAGES = ("distill", "audit patterns", "generate", "audit data", "render")
TRIAL_ROWS = 100
"""Rows per generator that are scored."""
MINER = {"least": 3, "most": 200}


def make_rows(
    study: InsertStudy, seed: int, ranking: Ranking, folder: Path, say: Say
) -> tuple[dict[str, Corpus], dict[str, Any]]:
    """Rows as many as the largest arm inserts, as ``rendered``, and what every step found, as ``pipeline``.

    Where no pattern passes an audit, all go on, and the result says so.

    Args:
        say: called with the name of each of `STAGES` when it is finished.
    """
    top = Top.open(ranking.path, top=study.distill.top, holdout=study.distill.holdout, seed=seed)

    def engine(samples: Sequence[SampleText]) -> Any:
        return mine(samples, top.tokenizer, **MINER)

    registry = distill(top, engine, {"name": "builtin", **MINER}, folder / "patterns", SIMILAR)
    say("distill")
    tested = _audited(registry, top, seed)
    carrying = [one["pattern_id"] for one in tested["patterns"] if one["carries"]]
    say("audit patterns")
    generators = _generated(registry, carrying, top, folder / "generators")
    say("generate")

    trial = folder / "trial"
    count = TRIAL_ROWS * len(generators.generators)
    asked = RenderSettings.resolve(generators, count=count, seed=seed, equal=True)
    scored = audit_data(
        render(generators, asked, trial, workers=1),
        ranking,
        top.corpus,
        folder / "audit",
        AuditSettings(sample=TRIAL_ROWS, seed=seed),
    )
    say("audit data")
    only = folder / "audit" / "audit.json" if scored["kept"] else None
    weights = {} if only is None else kept_alone(generators, {}, only)
    count = max(arm.count or 0 for arm in study.arms)
    asked = RenderSettings.resolve(generators, count=count, seed=seed, weights=weights)
    rows = render(generators, asked, folder / "rows", workers=1, only=only)
    say("render")
    pipeline = {
        "patterns": len(tested["patterns"]),
        "carrying": len(carrying),
        "generators": len(generators.generators),
        "set_aside": len(generators.manifest["set_aside"]),
        "kept": scored["kept"],
        "audited": scored["patterns"],
        "natural": scored["natural"],
        "diversity": scored["diversity"],
        "rows": {one["pattern_id"]: one["rows"] for one in rows.manifest["patterns"]},
        "duplicates": rows.manifest["duplicates"],
    }
    return {"rendered": rows.corpus}, {"pipeline": pipeline}


def _audited(registry: Registry, top: Top, seed: int) -> dict[str, Any]:
    """What `synth audit patterns` leaves beside the registry."""
    folder = registry.path.parent
    file, parts = folder / "audit.json", folder / "audit-parts"
    with lock_folder(folder):
        result = finished(file, registry, top.ranking, top.tokenizer, seed)
        if result is None:
            result = audit_patterns(
                registry, top.ranking, top.corpus, top.tokenizer, seed=seed, workers=1, parts=parts
            )
            save_json(file, result)
        shutil.rmtree(parts, ignore_errors=True)
    return result


def _generated(registry: Registry, carrying: list[str], top: Top, out: Path) -> Generators:
    """What `synth generate` leaves of the patterns that carry, or of all where none does."""
    entries = registry.chosen(carrying) if carrying else registry.entries
    made_of = registry.header["samples"]
    return generate(
        [entry.pattern for entry in entries],
        out,
        {
            "engine": {"name": "builtin"},
            "tokenizer": made_of["tokenizer_fingerprint"],
            "seq_length": made_of["seq_length"],
        },
        builtin_writer,
        Sandbox(unsafe=False),
        top.tokenizer,
        target_tokens=made_of["seq_length"] + 1,
        concurrency=2,
        samples={entry.pattern.pattern_id: entry.provenance["samples"] for entry in entries},
        facts={
            "registry": str(registry.path.absolute()),
            **{name: made_of[name] for name in ("ranking", "tokenizer", "seq_length", "corpus_fingerprint")},
        },
    )
