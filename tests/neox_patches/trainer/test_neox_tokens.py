"""Token masks in a real GPT-NeoX: checkpoints are, to the bit, those of a loss weighted by hand (by_hand.py).

The reference is the checkout without any of our patches, on its own shuffled data: rows are known by what they hold.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from neox_runs import MICRO, PP1_ZERO1, SEQ, Trainer, assert_same_checkpoint
from plans import save_plan
from test_neox_order_plans import left_maps

from curator.corpus import open_corpus
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
