"""Token masks in a real GPT-NeoX: checkpoints are, to the bit, those of a loss weighted by hand (by_hand.py).

The reference is the checkout without any of our patches, on its own shuffled data: rows are known by what they hold.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from emitted import parameter_grad
from neox_runs import MICRO, PP1_ZERO1, SEQ, Trainer, assert_same_checkpoint
from plans import LAYOUTS, expected_rows, save_plan, write_rows
from test_neox_order_plans import left_maps

from curator.corpus import open_corpus
from curator.influence.emission import Emission
from curator.plan.plan import Plan
from curator.plan.token_masks import pack

STEPS = 3
CASES: dict[str, tuple[str, str, dict[str, Any], int]] = {
    "HEAD": ("HEAD", "renormalised", {"gradient_accumulation_steps": 2}, 1),
    "HEAD pipeline engine": ("HEAD", "kept", {**PP1_ZERO1, "gradient_accumulation_steps": 2}, 1),
    "HEAD data parallel": ("HEAD", "renormalised", {}, 2),
    "HEAD tensor parallel": ("HEAD", "kept", {"model-parallel-size": 2}, 2),
    "v1.0": ("v1.0", "kept", {}, 1),
    "v1.0 pipeline 2": (
        "v1.0",
        "renormalised",
        {"pipe-parallel-size": 2, "gradient_accumulation_steps": 3},
        2,
    ),
    "2.x": ("2.x", "renormalised", {"pipe_parallel_size": 1}, 1),
}


def masked_plan(corpus: Path, batch: int, divisor: Any) -> tuple[Plan, np.ndarray]:
    """(a plan, the weight of every token [slots, seq] worked out by hand).

    Two in three rows have token masks, of many lengths. One of them has no token left; one weighs a quarter; one is
    masked as a whole.
    """
    random = np.random.default_rng(batch)
    slots = np.setdiff1d(np.arange(STEPS * batch), np.arange(0, STEPS * batch, 3))
    counted = random.random((len(slots), SEQ)) < random.random((len(slots), 1))
    counted[1] = False
    weights = np.ones((STEPS * batch, SEQ))
    weights[slots] = counted
    quarter, masked = slots[2], slots[-1]
    weights[quarter] /= 4
    weights[masked] = 0
    plan = Plan.identity(STEPS * batch, batch, open_corpus(corpus).fingerprint(), divisor)
    plan = plan.mask(np.array([masked]))
    plan = replace(
        plan,
        weight_slots=np.array([quarter, *plan.weight_slots]),
        weights=np.array([0.25, *plan.weights], np.float32),
    )
    plan = plan.mask_tokens(slots, pack(counted), SEQ)
    if divisor == "renormalised":
        steps = weights.reshape(STEPS, batch * SEQ)
        weights = (steps * (batch * SEQ / (steps > 0).sum(1, keepdims=True))).reshape(weights.shape)
    return plan, weights


@pytest.mark.parametrize("case", CASES)
def test_training_with_token_masks_is_training_with_a_loss_weighted_by_hand(
    case: str, trainer_for: Callable[[str], Trainer], tmp_path: Path
) -> None:
    generation, divisor, changes, ranks = CASES[case]
    trainer = trainer_for(generation)
    alone = changes.get("model-parallel-size", 1) * max(1, changes.get("pipe-parallel-size", 1))
    batch = MICRO * changes.get("gradient_accumulation_steps", 1) * ranks // alone
    config = trainer.config(**changes, train_iters=STEPS, lr_decay_iters=STEPS, checkpoint_factor=STEPS)

    def trained(name: str, *study: Any, **environment: str) -> Path:
        save = tmp_path / name / "save"
        trainer.run(
            tmp_path / name, {**config, "save": str(save)}, *study, ranks=ranks, environment=environment
        )
        return save

    plain = trained("plain")
    corpus = left_maps(trainer, STEPS * batch)
    plan, weights = masked_plan(corpus, batch, divisor)
    targets = open_corpus(corpus).rows(slice(0, STEPS * batch))[:, 1:]
    np.savez(tmp_path / "weights.npz", targets=targets, weights=weights)
    by_hand = trained("by-hand", NEOX_BY_HAND=str(tmp_path / "weights.npz"))
    study = {"corpus": str(corpus), "plan": save_plan(plan, tmp_path / "plan")}
    masked = trained("masked", study)
    assert_same_checkpoint(masked, by_hand, STEPS)
    with pytest.raises(AssertionError, match="differs"):  # else the masks would have made no difference
        assert_same_checkpoint(masked, plain, STEPS)


def test_what_is_put_in_counts_whole_and_what_is_masked_stays_masked_behind_it(
    trainer: Trainer, tmp_path: Path
) -> None:
    """Against a run without a plan over a corpus that holds the rows in the plan's order, weighted by hand."""
    corpus, extra = write_rows(tmp_path / "rows.npy", 4 * MICRO), write_rows(tmp_path / "extra.npy", MICRO, 1)
    rows, put = np.load(corpus), np.load(extra)
    counted = np.random.default_rng(5).random((len(rows), SEQ)) < 0.6
    plan = Plan.identity(len(rows), MICRO, open_corpus(corpus).fingerprint())
    plan = plan.mask_tokens(np.arange(len(rows)), pack(counted), SEQ)
    plan, source = plan.with_source("extra", extra, open_corpus(extra).fingerprint())
    plan = plan.insert(np.array([2]), np.arange(MICRO), source).replace(np.array([1]), np.array([3]), source)
    weights = np.insert(counted.astype(float), [2 * MICRO] * MICRO, 1, axis=0)
    weights[1] = 1
    laid = np.insert(rows, [2 * MICRO] * MICRO, put, axis=0)
    laid[1] = put[3]
    np.save(tmp_path / "laid.npy", laid)
    assert np.array_equal(expected_rows(plan, corpus, 5 * MICRO), laid)
    _, first = np.unique(laid, axis=0, return_index=True)
    np.savez(tmp_path / "weights.npz", targets=laid[first, 1:], weights=weights[first])
    config = trainer.config(train_iters=5, lr_decay_iters=5, checkpoint_factor=5)
    studies = {
        "masked": {"corpus": str(corpus), "plan": save_plan(plan, tmp_path / "plan")},
        "by-hand": {"corpus": str(tmp_path / "laid.npy")},
    }
    for name, study in studies.items():
        environment = {"NEOX_BY_HAND": str(tmp_path / "weights.npz")} if name == "by-hand" else {}
        save = {"save": str(tmp_path / name / "save")}
        trainer.run(tmp_path / name, {**config, **save}, study, environment=environment)
    assert_same_checkpoint(tmp_path / "masked" / "save", tmp_path / "by-hand" / "save", 5)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_is_emitted_is_of_the_tokens_that_count_and_the_losses_of_all(
    head: Trainer, tmp_path: Path, layout: str
) -> None:
    corpus = write_rows(tmp_path / "rows.npy", 2 * MICRO)
    counted = np.random.default_rng(6).random((2 * MICRO, SEQ)) < 0.6
    counted[0], counted[2] = True, False
    plan = Plan.identity(2 * MICRO, 2 * MICRO, open_corpus(corpus).fingerprint())
    plan = plan.mask_tokens(np.arange(2 * MICRO), pack(counted), SEQ)
    changes = {
        **LAYOUTS[layout],
        "train_iters": 1,
        "gradient_accumulation_steps": 2,
        "gradient_clipping": 1e9,
    }
    parts, grads = [], {}
    for name, study in (("plain", {}), ("masked", {"plan": save_plan(plan, tmp_path / "plan")})):
        emit = {
            "out": str(tmp_path / f"out-{name}"),
            "steps": [0],
            "units": ["induction:1.0"],
            "gradients": {},
        }
        study = {"corpus": str(corpus), **study, "emit": emit}
        run = head.run(tmp_path / name, head.config(**changes), study, grad_steps=[0])
        grads = run.grads()
        emission = Emission.open(tmp_path / f"out-{name}")
        assert (
            emission.masks_tokens == (name == "masked") == any("masks tokens" in s for s in emission.state())
        )
        parts.append(emission.ranks[0])
    plain, masked = (np.asarray(part.array("gradients/0"), np.float64) for part in parts)
    expected = parameter_grad(grads, 0, 1, "query_key_value")[:16].T
    error = np.linalg.norm(np.nansum(masked, 0) / (2 * MICRO * SEQ) - expected)
    assert error < 1e-5 * np.linalg.norm(expected)
    assert np.allclose(masked[0], plain[0], rtol=1e-5, atol=1e-7) and np.isnan(masked[2]).all()
    assert all(not np.allclose(masked[row], plain[row], rtol=0.1) for row in (1, 3, 4, 5, 6, 7))
    assert np.array_equal(*(part.array("losses") for part in parts))
