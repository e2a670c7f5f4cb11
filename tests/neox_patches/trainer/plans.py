"""Plans for runs of the trainer, the rows that they ask for, and the rows that a run saw."""

from pathlib import Path
from typing import Any

import numpy as np
from neox_runs import (
    PP1_ZERO1,
    SEQ,
    Finished,
    Trainer,
    assert_same_checkpoint,
)

from curator.corpus import open_corpus
from curator.plan.plan import Plan
from curator.plan.rows import PlannedRows, open_sources

LAYOUTS: dict[str, dict[str, Any]] = {"pp0": {}, "pp1": PP1_ZERO1}


def write_rows(path: Path, n: int, seed: int = 0) -> Path:
    """[n, seq + 1] character ids, no two rows alike."""
    rows = np.random.default_rng(seed).integers(32, 127, (n, SEQ + 1)).astype(np.uint16)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, rows)
    return path


def save_plan(plan: Plan, folder: Path) -> str:
    plan.save(folder)
    return str(folder)


def seen(run: Finished, *, accumulation: int = 1) -> np.ndarray:
    """[slots, seq + 1]: the rows of every step in slot order, put together from the data-parallel ranks."""
    ranks = [run.rows(rank) for rank in range(run.ranks)]  # [micro-batches, batch, seq + 1] each
    return np.stack(ranks, 1).reshape(-1, SEQ + 1)


def expected_rows(plan: Plan, corpus_path: Path, n_slots: int) -> np.ndarray:
    corpus = open_corpus(corpus_path)
    return PlannedRows(plan, corpus, open_sources(plan, corpus)).rows(np.arange(n_slots))


def insertion_plan(corpus: Path, injected: Path, batch: int, kind: str, folder: Path) -> tuple[Plan, int]:
    """(a plan over 6 base steps, its number of steps)."""
    base = open_corpus(corpus)
    plan = Plan.identity(6 * batch, batch, base.fingerprint())
    plan, source = plan.with_source("injected", str(injected), open_corpus(injected).fingerprint())
    if kind == "burst":
        plan = plan.insert(np.array([2, 2]), np.arange(2 * batch), source)
    elif kind == "spread":
        plan = plan.insert(np.array([1, 3, 5]), np.arange(3 * batch), source)
    else:
        plan = plan.replace(np.array([1, batch, 3 * batch + 1]), np.array([5, 0, 2]), source)
    plan.save(folder)
    return plan, plan.n_slots // batch


RANKS: dict[str, tuple[dict[str, Any], int]] = {
    "gas2": ({"gradient_accumulation_steps": 2}, 1),
    "dp2": ({}, 2),
    "mp2": ({"model-parallel-size": 2}, 2),
}


def plan_study(
    tmp_path: Path, batch: int, steps: int, extra_steps: int = 1
) -> tuple[dict[str, Any], Path, np.ndarray]:
    """(patch file's content, corpus, rows that the model must see): extra rows in the middle, one row masked."""
    corpus, injected = (
        write_rows(tmp_path / "rows.npy", steps * batch),
        write_rows(tmp_path / "extra.npy", extra_steps * batch, 1),
    )
    plan = Plan.identity(steps * batch, batch, open_corpus(corpus).fingerprint()).mask(np.array([1]))
    plan, source = plan.with_source("extra", str(injected), open_corpus(injected).fingerprint())
    plan.insert(np.full(extra_steps, 2), np.arange(extra_steps * batch), source).save(tmp_path / "plan")
    rows, extra = np.load(corpus), np.load(injected)
    expected = np.concatenate([rows[: 2 * batch], extra, rows[2 * batch :]])
    return {"corpus": str(corpus), "plan": str(tmp_path / "plan")}, corpus, expected


def check_resume(trainer: Trainer, tmp_path: Path, changes: dict[str, Any], ranks: int, batch: int) -> None:
    """Two extra steps come after step 2; the run is ended between them, and goes on bit-identically."""
    corpus = write_rows(tmp_path / "rows.npy", 6 * batch)
    injected = write_rows(tmp_path / "injected.npy", 3 * batch, 1)
    plan, steps = insertion_plan(corpus, injected, batch, "burst", tmp_path / "plan")
    study = {"corpus": str(corpus), "plan": str(tmp_path / "plan")}
    save = {name: str(tmp_path / name / "save") for name in ("whole", "parts")}
    config = trainer.config(**changes, train_iters=steps, lr_decay_iters=steps, checkpoint_factor=3)
    part = {**config, "save": save["parts"]}
    whole = trainer.run(tmp_path / "whole", {**config, "save": save["whole"]}, study, ranks=ranks)
    first = trainer.run(tmp_path / "parts", {**part, "exit-interval": 3}, study, ranks=ranks)
    second = trainer.run(tmp_path / "rest", {**part, "load": save["parts"]}, study, ranks=ranks)
    for rank in range(ranks):
        both = np.concatenate([first.rows(rank), second.rows(rank)])
        assert len(first.rows(rank)) and np.array_equal(both, whole.rows(rank))
    if "model-parallel-size" not in changes:  # whose ranks see the same rows
        assert np.array_equal(seen(whole), expected_rows(plan, corpus, plan.n_slots))
    else:
        assert all(
            np.array_equal(whole.rows(rank).reshape(-1, SEQ + 1), expected_rows(plan, corpus, plan.n_slots))
            for rank in range(ranks)
        )
    assert_same_checkpoint(tmp_path / "whole" / "save", tmp_path / "parts" / "save", steps)


def refused(trainer: Trainer, tmp_path: Path, study: dict[str, Any], *says: str, **changes: Any) -> None:
    """The run fails before its first step and says all of ``says``."""
    config = trainer.config(**{"train_iters": 3, **changes})
    run = trainer.run(tmp_path / "run", config, study, check=False)
    assert run.returncode not in (0, -9)
    assert "Traceback" not in run.output, run.output[-3000:]
    (error,) = [line for line in run.output.splitlines() if line.startswith("error: ")][:1]
    for words in says:
        assert words in error, error
    assert "iteration        1/" not in run.output
