"""What is emitted from inside the trainer's own backward is what the optimizer gets, sample by sample."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from emitted import emitted_sum, parameter_grad
from neox_runs import MICRO, PP1_ZERO1, SEQ, Trainer
from plans import RANKS, write_rows

from curator.corpus import open_corpus
from curator.influence.emission import Emission
from curator.plan.plan import Plan

STEPS = [1, 2]
UNITS = ["induction:0.1", "induction:1.*"]


@pytest.mark.parametrize("layout", ["pp0", "pp1"])
def test_sum_of_emitted_gradients_is_the_parameters_gradient(
    trainer: Trainer, tmp_path: Path, layout: str
) -> None:
    changes = PP1_ZERO1 if layout == "pp1" else {}
    config = trainer.config(**changes, train_iters=3, gradient_clipping=1e9)
    study = {"emit": {"out": str(tmp_path / "emitted"), "steps": STEPS, "units": UNITS, "gradients": {}}}
    run = trainer.run(tmp_path / "run", config, study, grad_steps=STEPS)
    emission = Emission.open(tmp_path / "emitted")
    grads = run.grads()
    d_head = 8
    for step in STEPS:
        for layer, head in [(0, 1), *((1, head) for head in range(4))]:
            qkv = parameter_grad(grads, step, layer, "query_key_value")
            dense = parameter_grad(grads, step, layer, "dense")
            first = head * 3 * d_head
            expected = {
                "qk": qkv[first : first + 2 * d_head].T,
                "v": qkv[first + 2 * d_head : first + 3 * d_head].T,
                "o": dense[:, head * d_head : (head + 1) * d_head].T,
            }
            for block, value in expected.items():
                found = emitted_sum(emission, f"induction:{layer}.{head}/{block}", step) / (MICRO * SEQ)
                error = np.linalg.norm(found - value) / np.linalg.norm(value)
                assert error < 1e-5, (step, layer, head, block, error)


@pytest.mark.parametrize("layout", RANKS)
def test_masked_steps_with_accumulation_and_ranks(head: Trainer, tmp_path: Path, layout: str) -> None:
    """Three rows of the second micro-batch or rank are masked, one of the first, and the rest renormalised.

    The step's gradient is the mean over the kept rows of the whole batch: as a hand-made batch of these rows gives it
    on one rank, and as the emitted gradients of the kept rows add up to.
    """
    changes, ranks = RANKS[layout]
    batch = MICRO if layout == "mp2" else 2 * MICRO
    masked = [1, 2] if layout == "mp2" else [1, 4, 5, 7]
    corpus = write_rows(tmp_path / "rows.npy", batch)
    kept = np.delete(np.load(corpus), masked, axis=0)
    np.save(tmp_path / "kept.npy", kept)
    plan = Plan.identity(batch, batch, open_corpus(corpus).fingerprint(), "renormalised").mask(
        np.array(masked)
    )
    plan.save(tmp_path / "plan")
    emit = {"out": str(tmp_path / "out"), "steps": [0], "units": ["induction:1.*"], "gradients": {}}
    study = {"corpus": str(corpus), "plan": str(tmp_path / "plan"), "emit": emit}
    config = head.config(train_iters=1, gradient_clipping=1e9)
    run = head.run(tmp_path / "run", {**config, **changes}, study, ranks=ranks, grad_steps=[0])
    emission = Emission.open(tmp_path / "out")
    for rank in range(ranks):
        grads = run.grads(rank)
        qkv, dense = (parameter_grad(grads, 0, 1, linear) for linear in ("query_key_value", "dense"))
        for head_here in range(len(qkv) // 24):
            number = head_here + (2 * rank if layout == "mp2" else 0)
            expected = {
                "qk": qkv[24 * head_here : 24 * head_here + 16].T,
                "v": qkv[24 * head_here + 16 : 24 * head_here + 24].T,
                "o": dense[:, 8 * head_here : 8 * head_here + 8].T,
            }
            for block, value in expected.items():
                found = kept_sum(emission, f"induction:1.{number}/{block}") / (len(kept) * SEQ)
                assert np.linalg.norm(found - value) < 1e-5 * np.linalg.norm(value), (rank, number, block)
    if layout == "mp2":
        return  # each rank draws its own half of the weights; one rank alone draws others
    by_hand = head.run(
        tmp_path / "hand",
        {**config, "train_micro_batch_size_per_gpu": len(kept)},
        {"corpus": str(tmp_path / "kept.npy")},
        grad_steps=[0],
    ).grads()
    for name, value in run.grads().items():
        assert np.linalg.norm(value - by_hand[name]) < 1e-5 * max(np.linalg.norm(by_hand[name]), 1e-9), name


def kept_sum(emission: Emission, label: str) -> Any:
    """Σ of a block's gradients over the rows that are not masked, of all ranks that own it."""
    total: Any = 0
    for part in emission.ranks:
        labels = [block["label"] for block in part.blocks]
        if label in labels:
            values = np.asarray(part.array(f"gradients/{labels.index(label)}"), np.float64)
            total = total + values[part.usable].sum(0)
    return total


def test_tokens_that_the_loss_leaves_out_are_left_out(head: Trainer, tmp_path: Path) -> None:
    """eod_mask_loss: every micro-batch is divided by its own number of tokens; the emitted loss has them not."""
    rows = np.random.default_rng(0).integers(32, 127, (2 * MICRO, SEQ + 1)).astype(np.uint16)
    rows[0, 3:20] = rows[5, 7] = rows[6, :9] = 0  # CharLevelTokenizer's end of document
    np.save(tmp_path / "rows.npy", rows)
    emit = {"out": str(tmp_path / "out"), "steps": [0], "units": ["induction:1.0"], "gradients": {}}
    config = head.config(
        train_iters=1, gradient_clipping=1e9, gradient_accumulation_steps=2, **{"eod-mask-loss": True}
    )
    run = head.run(
        tmp_path / "run", config, {"corpus": str(tmp_path / "rows.npy"), "emit": emit}, grad_steps=[0]
    )
    part = Emission.open(tmp_path / "out").ranks[0]
    values = np.asarray(part.array("gradients/0"), np.float64)
    counted = (rows[:, :-1] != 0).reshape(2, -1).sum(1)
    found = sum(values[MICRO * m : MICRO * (m + 1)].sum(0) / counted[m] for m in range(2)) / 2
    expected = parameter_grad(run.grads(), 0, 1, "query_key_value")[:16].T
    assert np.linalg.norm(found - expected) < 1e-5 * np.linalg.norm(expected)
    per_token = np.asarray(part.array("losses")) / (rows[:, :-1] != 0).sum(1)
    assert (np.abs(per_token - np.log(512)) < 0.6).all()
