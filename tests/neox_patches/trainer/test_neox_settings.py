"""Precisions, ZeRO stages and layouts that docs/neox.md calls tested: one run each shows the plan and the emission.

The model sees the planned rows, an extra step among them; and the emitted gradients of the rows that are not masked add
up to the gradient that the optimizer gets. So a masked row adds nothing, and no scale, shard or buffer was mistaken.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from emitted import emitted_sum, parameter_grad
from neox_runs import MICRO, PP1_ZERO1, SEQ, Finished, Trainer
from plans import check_resume, expected_rows, insertion_plan, seen, write_rows

from curator.influence.emission import Emission
from curator.plan.plan import Plan

STEP = 1
SCALE = 4096.0
FP16 = {"precision": None, "fp16": {"enabled": True, "loss_scale": SCALE}}
BF16 = {"precision": "bfloat16"}
RECOMPUTE = {"checkpoint-activations": True, "checkpoint-num-layers": 1}
PIPE_2 = {"pipe-parallel-size": 2, "gradient_accumulation_steps": 3}
SEQUENCE = {"model-parallel-size": 2, "sequence_parallel": True, "gpt-j-residual": False}

CASES: dict[str, tuple[str, dict[str, Any], int]] = {
    "HEAD bf16 ZeRO-0": ("HEAD", BF16, 1),
    "HEAD bf16 ZeRO-1": ("HEAD", {**BF16, **PP1_ZERO1, "gradient_accumulation_steps": 2}, 1),
    "HEAD ZeRO-2 dp2": ("HEAD", {"zero_optimization": {"stage": 2}, "gradient_accumulation_steps": 2}, 2),
    "HEAD ZeRO-3 dp2": ("HEAD", {"zero_optimization": {"stage": 3}, **RECOMPUTE}, 2),
    "HEAD sequence parallel": ("HEAD", {**SEQUENCE, **RECOMPUTE, "gradient_accumulation_steps": 2}, 2),
    "v1.0 bf16": ("v1.0", BF16, 1),
    "v1.0 fp16 ZeRO-1": ("v1.0", {**FP16, **PP1_ZERO1}, 1),
    "v1.0 ZeRO-2 dp2": ("v1.0", {"zero_optimization": {"stage": 2}, "gradient_accumulation_steps": 2}, 2),
    "v1.0 ZeRO-3": ("v1.0", {"zero_optimization": {"stage": 3}, **RECOMPUTE}, 1),
    "v1.0 pipeline 2": ("v1.0", PIPE_2, 2),
    "v1.0 pipeline 2, recomputed": ("v1.0", {**PIPE_2, **RECOMPUTE}, 2),
}


def tolerance(changes: dict[str, Any]) -> float:
    """Rounding: the emitted values are of float32 products of what the trainer computed in its own precision."""
    return 1e-5 if not {"fp16", "precision"} & changes.keys() else 5e-3


def data_parallel(changes: dict[str, Any], ranks: int) -> int:
    return ranks // max(1, changes.get("pipe-parallel-size", 0)) // changes.get("model-parallel-size", 1)


def run_case(
    trainer: Trainer, tmp_path: Path, changes: dict[str, Any], ranks: int, other_text: bool | None = None
) -> tuple[Finished, Plan]:
    """Four steps, the last two of them extra ones; rows 1 and 6 of the batch are masked in the second.

    Args:
        other_text: nothing is emitted; whether the masked rows hold another text.
    """
    batch = MICRO * changes.get("gradient_accumulation_steps", 1) * data_parallel(changes, ranks)
    corpus, injected = (
        write_rows(tmp_path / "rows.npy", 6 * batch),
        write_rows(tmp_path / "injected.npy", 3 * batch, 1),
    )
    masked = batch + np.array([1, 6] if batch > 6 else [1])
    if other_text:
        rows = np.load(corpus)
        rows[masked] = rows[0]
        np.save(corpus, rows)
    plan, _ = insertion_plan(corpus, injected, batch, "burst", tmp_path / "first")
    plan = plan.mask(masked)
    plan.save(tmp_path / "plan")
    study: dict[str, Any] = {"corpus": str(corpus), "plan": str(tmp_path / "plan")}
    if other_text is None:
        units = ["induction:0.1", "induction:1.2"]
        study["emit"] = {"out": str(tmp_path / "out"), "steps": [STEP, 2], "units": units, "gradients": {}}
    config = trainer.config(**changes, train_iters=4, lr_decay_iters=4, gradient_clipping=1e9)
    config = {key: value for key, value in config.items() if value is not None}
    run = trainer.run(tmp_path / "run", config, study, ranks=ranks, grad_steps=[STEP])
    expected = expected_rows(plan, corpus, 4 * batch)
    if data_parallel(changes, ranks) == ranks:
        assert np.array_equal(seen(run), expected)
    else:  # pipeline stages and tensor-parallel ranks see the same rows
        assert all(np.array_equal(run.rows(rank).reshape(-1, SEQ + 1), expected) for rank in range(ranks))
    return run, plan


@pytest.mark.parametrize("case", CASES)
def test_plans_and_emissions_are_right_under(
    case: str, trainer_for: Callable[[str], Trainer], tmp_path: Path
) -> None:
    generation, changes, ranks = CASES[case]
    run, plan = run_case(trainer_for(generation), tmp_path, changes, ranks)
    emission = Emission.open(tmp_path / "out")
    masked = set(plan.masked_slots().tolist())
    for part in emission.ranks:
        slots, flags = part.array("slots"), np.asarray(part.array("flags"))
        usable = [slot not in masked for slot in slots.tolist()]
        assert (flags == 1).all() and part.usable.tolist() == usable and len(masked) == len(plan.weights)
        for number in range(len(part.blocks)):
            assert np.isnan(np.asarray(part.array(f"gradients/{number}")))[~part.usable].all()

    shards, checked = changes.get("model-parallel-size", 1), set()
    scale = SCALE if "fp16" in changes else 1.0
    for rank in range(ranks):
        grads = run.grads(rank)
        for layer, head in ((0, 1), (1, 2)):
            if shards == 2 and rank != head // 2:
                continue
            try:
                qkv, dense = (
                    parameter_grad(grads, STEP, layer, name) for name in ("query_key_value", "dense")
                )
            except AssertionError:
                continue  # another stage's
            place = head % (4 // shards)
            expected = {
                "qk": qkv[24 * place : 24 * place + 16].T,
                "v": qkv[24 * place + 16 : 24 * place + 24].T,
                "o": dense[:, 8 * place : 8 * place + 8].T,
            }
            for block, value in expected.items():
                label = f"induction:{layer}.{head}/{block}"
                found = kept_sum(emission, label) / (plan.batch_size * SEQ)
                error = np.linalg.norm(found - value / scale) / np.linalg.norm(found)
                assert error < tolerance(changes), (label, error)
                checked.add(label)
    assert len(checked) == 6
    assert "Set zero_optimization.stage to 1" not in run.output


def kept_sum(emission: Emission, label: str) -> Any:
    """Σ of a block's gradients over the rows of `STEP` that are not masked, of all ranks that own it."""
    for part in emission.ranks:
        for number in range(len(part.blocks)):
            values = np.load(part.path / f"gradients/{number}.npy", mmap_mode="r+")
            values[~part.usable] = 0  # NaN, as was checked
    return emitted_sum(emission, label, STEP)


def test_grouped_queries_follow_plans(head: Trainer, tmp_path: Path) -> None:
    """Heads that share their keys have no subspace of their own, but rows have weights all the same."""
    grouped = {"num_kv_heads": 2}
    one, other = (
        run_case(head, tmp_path / str(text), grouped, 1, other_text=text)[0].grads() for text in (False, True)
    )
    assert len(one) > 10 and all(np.array_equal(one[name], other[name]) for name in one)


def test_a_run_goes_on_under_zero_3(head: Trainer, tmp_path: Path) -> None:
    """Ended within an insertion: weights and optimizer state are cut up among the ranks, and equal to the bit."""
    check_resume(head, tmp_path, {"zero_optimization": {"stage": 3}}, 2, 2 * MICRO)
