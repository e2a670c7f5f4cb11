"""Rendered rows as a user trains on them: rendered, injected into a plan, trained by the embedded trainer."""

from pathlib import Path

import numpy as np
from commands import STUDY, done
from generator_folders import LINES, SHORT, write_generators
from tiny_runs import assert_same_bits

from curator.corpus import open_corpus
from curator.plan.plan import Plan
from curator.plan.rows import PlannedRows, open_sources
from synth.render.run import render
from synth.render.settings import RenderSettings


def test_a_rendered_folder_is_injected_and_trained_on_like_any_rows(tmp_path: Path) -> None:
    """Two extra steps of 16 rendered rows; the same rows as .npy give the same weights to the bit."""
    done(
        "corpus",
        "build",
        "--out",
        tmp_path / "corpus",
        "--samples",
        64,
        "--seq-length",
        16,
        "--vocab-size",
        300,
    )
    study = tmp_path / "study.yml"
    study.write_text(STUDY.replace("steps: 30", "steps: 5").replace("{from: 0, to: 30, every: 10}", "5"))
    generators = write_generators(tmp_path / "generators", {"p001": LINES, "p002": SHORT})
    given = {"tokenizer": tmp_path / "corpus" / "tokenizer.json", "out": tmp_path / "rows", "workers": 1}
    rows = render(RenderSettings(generators=generators.path, count=40, seq_length=16, **given))
    np.save(tmp_path / "same.npy", rows.corpus.rows(slice(None)))
    for name, given in (("plan", rows.path), ("plan-npy", tmp_path / "same.npy")):
        words = [
            "inject",
            "--corpus",
            tmp_path / "corpus",
            "--batch-size",
            16,
            "--rows",
            given,
            "--count",
            32,
        ]
        done(*words, "--after", 3, "--out", tmp_path / name)
    plan = Plan.load(tmp_path / "plan")
    (source,) = plan.sources
    assert source["path"] == str(rows.path) and source["fingerprint"] == rows.manifest["fingerprint"]
    corpus = open_corpus(tmp_path / "corpus")
    planned = PlannedRows(plan, corpus, open_sources(plan, corpus))
    np.testing.assert_array_equal(planned.rows(np.arange(48, 80)), rows.corpus.rows(slice(0, 32)))
    for name in ("plan", "plan-npy"):
        done("train", "-e", study, "--plan", tmp_path / name, "--out", tmp_path / f"run-{name}")
    assert_same_bits(tmp_path / "run-plan" / "step5", tmp_path / "run-plan-npy" / "step5")
