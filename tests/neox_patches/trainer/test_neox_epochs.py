"""A corpus that is served row by row and ends before the run does: slot s holds sample s modulo its length."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from neox_runs import MICRO, SEQ, Trainer
from plans import expected_rows, seen, write_rows

from curator.corpus import open_corpus
from curator.influence.emission import Emission
from curator.plan.plan import Plan
from curator.plan.rows import PlannedRows
from curator.training import TrainingConfig, train

N, STEPS = 10, 6  # steps 2 and 5 hold the end and the beginning


def test_law_7_a_plan_over_several_passes(
    head: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sample 3 is masked each time it comes, and an extra step stands in the second pass, in both trainers."""
    corpus = write_rows(tmp_path / "rows.npy", N)
    plan = Plan.identity(STEPS * MICRO, MICRO, open_corpus(corpus).fingerprint(), epoch_samples=N)
    plan = plan.mask(np.array([3])).insert(np.array([3]), np.array([9, 8, 7, 6]))
    plan.save(tmp_path / "plan")
    emit = {"out": str(tmp_path / "out"), "steps": [0, 2, 4], "units": ["induction:1.0"], "gradients": {}}
    study = {"corpus": str(corpus), "plan": str(tmp_path / "plan"), "emit": emit}
    run = head.run(tmp_path / "run", head.config(train_iters=STEPS + 1, lr_decay_iters=STEPS + 1), study)
    order = [*np.arange(12) % N, 9, 8, 7, 6, *np.arange(12, 24) % N]
    assert np.array_equal(seen(run), np.load(corpus)[order])
    assert (
        "the corpus begins again in step 2: slot s holds sample s modulo 10, and what is masked" in run.output
    )

    part = Emission.open(tmp_path / "out").ranks[0]
    assert part.array("samples").tolist() == [0, 1, 2, 3, 8, 9, 0, 1, 2, 3, 4, 5]
    masked = np.isnan(np.asarray(part.array("gradients/0"))).all((1, 2))
    assert np.flatnonzero(masked).tolist() == [3, 9]

    read: list[np.ndarray] = []
    rows = PlannedRows.rows
    monkeypatch.setattr(PlannedRows, "rows", lambda self, slots: read.append(rows(self, slots)) or read[-1])
    architecture = {
        "n_layers": 1,
        "d_model": 8,
        "n_heads": 1,
        "d_mlp": 8,
        "vocab_size": 512,
        "rotary_pct": 0.5,
    }
    recipe = TrainingConfig(**architecture, seq_length=SEQ, steps=STEPS + 1, batch_size=MICRO, warmup_steps=1)
    train(recipe, open_corpus(corpus), tmp_path / "embedded", plan=plan, checkpoint_steps=[])
    assert np.array_equal(np.concatenate(read), np.delete(seen(run), plan.masked_slots(), axis=0))


def test_epochs_without_a_plan(trainer_for: Callable[[str], Trainer], tmp_path: Path) -> None:
    """The run is ended in its second pass and goes on; what is emitted names the samples of the corpus."""
    trainer = trainer_for("v1.0")
    corpus, save = write_rows(tmp_path / "rows.npy", N), str(tmp_path / "save")
    emit = {"out": str(tmp_path / "out"), "steps": [3, 4], "units": ["induction:1.0"], "factors": {}}
    study = {"corpus": str(corpus), "epochs": 3, "emit": emit}
    config = trainer.config(train_iters=STEPS, lr_decay_iters=STEPS, save=save, checkpoint_factor=4)
    first = trainer.run(tmp_path / "first", {**config, "exit-interval": 4}, study)
    second = trainer.run(tmp_path / "second", {**config, "load": save}, study)
    both = np.concatenate([seen(first), seen(second)])
    assert np.array_equal(both, np.load(corpus)[np.arange(STEPS * MICRO) % N])
    identity = Plan.identity(STEPS * MICRO, MICRO, open_corpus(corpus).fingerprint(), epoch_samples=N)
    assert np.array_equal(both, expected_rows(identity, corpus, STEPS * MICRO))
    emission = Emission.open(tmp_path / "out")
    assert emission.samples.tolist() == [2, 3, 4, 5, 6, 7, 8, 9] and emission.contiguous() == (2, 10)
