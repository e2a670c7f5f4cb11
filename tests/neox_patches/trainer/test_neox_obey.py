"""A patched trainer follows a plan: the rows its model sees, and the gradient its optimizer gets."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from neox_runs import (
    MICRO,
    SEQ,
    Trainer,
    checkpoint_files,
    tensors_in,
)
from plans import LAYOUTS, RANKS, check_resume, expected_rows, insertion_plan, save_plan, seen, write_rows

from curator.corpus import open_corpus
from curator.influence.emission import Emission
from curator.plan.plan import Plan
from curator.plan.rows import PlannedRows


def relative(a: dict[str, np.ndarray], b: dict[str, np.ndarray], factor: float = 1.0) -> float:
    """The largest relative difference of two sets of gradients, a against factor * b."""
    assert a.keys() == b.keys() and len(a) > 10
    return max(
        float(np.linalg.norm(a[k] - factor * b[k]) / max(np.linalg.norm(factor * b[k]), 1e-12)) for k in a
    )


@pytest.mark.parametrize("layout", LAYOUTS)
def test_masked_rows_contribute_nothing_and_the_rest_what_a_hand_made_batch_does(
    trainer: Trainer, tmp_path: Path, layout: str
) -> None:
    """Law 6. The hand-made batch holds the kept rows alone; their mean gradient is that of half as many rows."""
    corpus = write_rows(tmp_path / "rows.npy", 8)
    rows = np.load(corpus)
    other = rows.copy()
    other[[1, 3]] = rows[[4, 5]]  # another text where the plan masks
    np.save(tmp_path / "other.npy", other)
    np.save(tmp_path / "kept.npy", rows[[0, 2, 6, 7]])
    config = trainer.config(**LAYOUTS[layout], train_iters=1, gradient_clipping=1e9)

    def grads(name: str, data: str, divisor: Any = None, **changes: Any) -> dict[str, np.ndarray]:
        path = tmp_path / data
        study: dict[str, Any] = {"corpus": str(path)}
        if divisor:
            fingerprint = open_corpus(path).fingerprint()
            plan = Plan.identity(8, MICRO, fingerprint, divisor).mask(np.array([1, 3]))
            study["plan"] = save_plan(plan, tmp_path / f"plan-{name}")
        run = trainer.run(tmp_path / name, {**config, **changes}, study, grad_steps=[0])
        return run.grads()

    kept = grads("kept", "rows.npy", "kept")
    elsewhere = grads("elsewhere", "other.npy", "kept")
    renormalised = grads("renormalised", "rows.npy", "renormalised")
    by_hand = grads("by-hand", "kept.npy", train_micro_batch_size_per_gpu=2)
    assert all(np.array_equal(kept[name], elsewhere[name]) for name in kept), (
        "a masked row's text made a difference"
    )
    assert relative(kept, by_hand, 0.5) < 1e-5
    assert relative(renormalised, by_hand) < 1e-5


def test_a_step_masked_as_a_whole_has_a_zero_gradient(head: Trainer, tmp_path: Path) -> None:
    """Renormalising must not divide by zero, neither for the step nor for one micro-batch of it."""
    corpus = write_rows(tmp_path / "rows.npy", 16)
    fingerprint = open_corpus(corpus).fingerprint()
    plan = Plan.identity(16, 8, fingerprint, "renormalised").mask(np.array([*range(8), 8, 9, 10, 11]))
    study = {"corpus": str(corpus), "plan": save_plan(plan, tmp_path / "plan")}
    config = head.config(train_iters=2, gradient_accumulation_steps=2, gradient_clipping=1e9)
    grads = head.run(tmp_path / "run", config, study, grad_steps=[0, 1]).grads()
    assert all(not value.any() for name, value in grads.items() if name.startswith("0/"))
    np.save(tmp_path / "half.npy", np.load(corpus)[12:])
    by_hand = head.run(
        tmp_path / "hand",
        head.config(train_iters=1, gradient_clipping=1e9),
        {"corpus": str(tmp_path / "half.npy")},
        grad_steps=[0],
    ).grads()
    # step 1 trains at the weights of step 0: its gradient was zero, and the first learning rates are the same
    second = {f"0/{name.split('/')[1]}": value for name, value in grads.items() if name.startswith("1/")}
    assert relative(second, by_hand) < 1e-2  # one update of weight decay and Adam lies between
    assert all(np.isfinite(value).all() for value in grads.values())


def test_a_step_masked_as_a_whole_still_moves_the_weights(head: Trainer, tmp_path: Path) -> None:
    """As docs/neox.md says: by weight decay, and by the momentum of the steps before; so does any such control."""
    corpus, save = write_rows(tmp_path / "rows.npy", 8), tmp_path / "save"
    plan = Plan.identity(8, 4, open_corpus(corpus).fingerprint()).mask(np.arange(4, 8))
    study = {"corpus": str(corpus), "plan": save_plan(plan, tmp_path / "plan")}
    config = head.config(train_iters=2, checkpoint_factor=1, save=str(save))
    grads = head.run(tmp_path / "run", config, study, grad_steps=[1]).grads()
    assert grads and not any(value.any() for value in grads.values())
    first, second = (
        {key: tensor for file in checkpoint_files(save, step).values() for key, tensor in tensors_in(file)}
        for step in (1, 2)
    )
    moments = [key for key in first if key.endswith("exp_avg")]
    assert moments and all(
        torch.allclose(second[key], 0.9 * first[key]) and first[key].any() for key in moments
    )
    weights = [key for key in first if key.startswith("/module/")]
    assert any("bias" in key for key in weights), "which have no weight decay, so that momentum moves them"
    assert not [key for key in weights if torch.equal(first[key], second[key])]


RUNS: list[tuple[str, str, dict[str, Any], int]] = [
    # kind, layout, changes, ranks
    ("burst", "pp0", {}, 1),
    ("spread", "pp1", {}, 1),
    ("replace", "pp0", {"num_workers": 2}, 1),
]
HEAD_RUNS: list[tuple[str, str, dict[str, Any], int]] = [
    ("burst", "pp0", {"gradient_accumulation_steps": 2}, 1),
    ("spread", "pp1", {"gradient_accumulation_steps": 2, "num_workers": 2}, 1),
    ("burst", "pp0", {}, 2),
]


def _check_sequence(
    trainer: Trainer, tmp_path: Path, kind: str, layout: str, changes: dict[str, Any], ranks: int
) -> None:
    batch = MICRO * changes.get("gradient_accumulation_steps", 1) * ranks
    corpus, injected = (
        write_rows(tmp_path / "rows.npy", 6 * batch),
        write_rows(tmp_path / "injected.npy", 3 * batch, 1),
    )
    plan, steps = insertion_plan(corpus, injected, batch, kind, tmp_path / "plan")
    config = trainer.config(**LAYOUTS[layout], **changes, train_iters=steps, lr_decay_iters=steps)
    run = trainer.run(
        tmp_path / "run", config, {"corpus": str(corpus), "plan": str(tmp_path / "plan")}, ranks=ranks
    )

    found = seen(run).reshape(steps, batch, SEQ + 1)
    base, extra = np.load(corpus).reshape(6, batch, SEQ + 1), np.load(injected).reshape(3, batch, SEQ + 1)
    if kind == "burst":
        expected = np.stack([base[0], base[1], extra[0], extra[1], *base[2:]])
    elif kind == "spread":
        expected = np.stack(
            [base[0], extra[0], base[1], base[2], extra[1], base[3], base[4], extra[2], base[5]]
        )
    else:
        expected = base.copy().reshape(-1, SEQ + 1)
        expected[[1, batch, 3 * batch + 1]] = extra.reshape(-1, SEQ + 1)[[5, 0, 2]]
        expected = expected.reshape(6, batch, SEQ + 1)
    assert np.array_equal(found, expected)
    if kind != "replace":  # the base rows, in their order, none lost and none twice
        flat = found.reshape(-1, SEQ + 1)
        is_base = (flat[:, None] == base.reshape(1, -1, SEQ + 1)).all(-1).any(1)
        assert np.array_equal(flat[is_base], base.reshape(-1, SEQ + 1))
    assert np.array_equal(found.reshape(-1, SEQ + 1), expected_rows(plan, corpus, plan.n_slots)), "law 7"


@pytest.mark.parametrize(("kind", "layout", "changes", "ranks"), RUNS)
def test_the_model_sees_precisely_the_planned_rows(
    trainer: Trainer, tmp_path: Path, kind: str, layout: str, changes: dict[str, Any], ranks: int
) -> None:
    _check_sequence(trainer, tmp_path, kind, layout, changes, ranks)


@pytest.mark.parametrize(("kind", "layout", "changes", "ranks"), HEAD_RUNS)
def test_the_model_sees_precisely_the_planned_rows_with_accumulation_and_ranks(
    head: Trainer, tmp_path: Path, kind: str, layout: str, changes: dict[str, Any], ranks: int
) -> None:
    _check_sequence(head, tmp_path, kind, layout, changes, ranks)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_run_goes_on_within_an_insertion(trainer: Trainer, tmp_path: Path, layout: str) -> None:
    check_resume(trainer, tmp_path, LAYOUTS[layout], 1, MICRO)


@pytest.mark.parametrize("layout", RANKS)
def test_a_run_goes_on_within_an_insertion_with_accumulation_and_ranks(
    head: Trainer, tmp_path: Path, layout: str
) -> None:
    changes, ranks = RANKS[layout]
    check_resume(head, tmp_path, changes, ranks, MICRO if layout == "mp2" else 2 * MICRO)


def test_law_7_the_embedded_trainer_and_gpt_neox_see_the_same_rows(
    head: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One plan with a mask, a burst and a replacement; the embedded trainer never reads the masked slot."""
    from curator.training import TrainingConfig, train

    corpus, injected = write_rows(tmp_path / "rows.npy", 24), write_rows(tmp_path / "injected.npy", 12, 1)
    plan, steps = insertion_plan(corpus, injected, MICRO, "burst", tmp_path / "first")
    plan = plan.mask(np.array([1])).replace(np.array([9, 21]), np.array([3, 7]), 1)
    plan.save(tmp_path / "plan")
    config = head.config(train_iters=steps, lr_decay_iters=steps)
    run = head.run(tmp_path / "run", config, {"corpus": str(corpus), "plan": str(tmp_path / "plan")})
    kept = np.delete(seen(run), plan.masked_slots(), axis=0)

    read: list[np.ndarray] = []
    rows = PlannedRows.rows
    monkeypatch.setattr(PlannedRows, "rows", lambda self, slots: read.append(rows(self, slots)) or read[-1])
    recipe = TrainingConfig(
        n_layers=1,
        d_model=8,
        n_heads=1,
        d_mlp=8,
        vocab_size=512,
        seq_length=SEQ,
        rotary_pct=0.5,
        steps=steps,
        batch_size=MICRO,
        warmup_steps=1,
    )
    train(recipe, open_corpus(corpus), tmp_path / "embedded", plan=plan, checkpoint_steps=[])
    assert np.array_equal(np.concatenate(read), kept)


def test_generation_2x_obeys_and_emits_too(trainer_for: Callable[[str], Trainer], tmp_path: Path) -> None:
    """A mask, a burst, an emission and its scale, on a commit a little after tag v2.0."""
    trainer = trainer_for("2.x")
    corpus, injected = write_rows(tmp_path / "rows.npy", 24), write_rows(tmp_path / "injected.npy", 12, 1)
    plan, steps = insertion_plan(corpus, injected, MICRO, "burst", tmp_path / "first")
    plan = plan.mask(np.array([1, 4]))
    plan.save(tmp_path / "plan")
    emit = {"out": str(tmp_path / "out"), "steps": [0, 2], "units": ["induction:1.2"], "gradients": {}}
    study = {"corpus": str(corpus), "plan": str(tmp_path / "plan"), "emit": emit}
    config = trainer.config(
        train_iters=steps, lr_decay_iters=steps, gradient_clipping=1e9, pipe_parallel_size=1
    )
    run = trainer.run(tmp_path / "run", config, study, grad_steps=[0, 2])
    assert np.array_equal(seen(run), expected_rows(plan, corpus, plan.n_slots))
    part = Emission.open(tmp_path / "out").ranks[0]
    gradients = np.asarray(part.array("gradients/1"), np.float64)  # the value block
    assert np.isnan(gradients[1]).all() and np.isfinite(np.delete(gradients, 1, 0)).all()
    for step, rows in ((0, [0, 2, 3]), (2, [4, 5, 6, 7])):
        (name,) = [
            key
            for key in run.grads()
            if key.startswith(f"{step}/") and "3.attention.query_key_value.weight" in key
        ]
        expected = run.grads()[name][2 * 24 + 16 : 2 * 24 + 24].T
        assert np.abs(gradients[rows].sum(0) / (MICRO * SEQ) - expected).max() < 1e-5 * np.abs(expected).max()
