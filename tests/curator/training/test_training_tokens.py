"""Token masks in the embedded trainer: a loss weighted by hand, finite differences, and what must change nothing."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_runs import CONFIG, SLOTS, RowsInMemory, assert_same_bits, differ, make_corpus, plan_for

from curator.errors import CuratorError
from curator.plan.plan import Plan
from curator.plan.rows import PlannedRows, open_sources
from curator.plan.token_masks import pack
from curator.training import build_model, train
from curator.training.update import accumulate_gradient

TARGETS, STEP = CONFIG.seq_length, 2
ROWS = np.arange(STEP * 4, STEP * 4 + 4)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def masked_plan(corpus: RowsInMemory, divisor: str) -> tuple[Plan, np.ndarray]:
    """(a plan, [4, 8] the weights of step 2's tokens by hand): whole, part, part of a row that weighs 0.25, none."""
    counted = np.random.default_rng(3).random((3, TARGETS)) < 0.6
    counted[2] = False
    weights = np.stack([np.ones(TARGETS), counted[0], counted[1] * 0.25, counted[2]])
    plan = plan_for(corpus, divisor).mask_tokens(ROWS[1:], pack(counted), TARGETS)
    order = [ROWS[2], *plan.weight_slots]
    return replace(
        plan, weight_slots=np.array(order), weights=np.array([0.25, *plan.weights], np.float32)
    ), weights


def loss_by_hand(model: Any, rows: np.ndarray, weights: np.ndarray, divisor: float) -> torch.Tensor:
    """Σ weight * cross-entropy / divisor, token by token."""
    total: Any = 0.0
    for row, row_weights in zip(rows.astype(np.int64), weights):
        log_p = torch.log_softmax(model(torch.from_numpy(row[None, :-1])).logits[0], -1)
        total = total - sum(w * log_p[t, row[t + 1]] for t, w in enumerate(row_weights.tolist()))
    return total / divisor


@pytest.mark.parametrize("micro_batch_size", [None, 1, 3])
@pytest.mark.parametrize("divisor", ["kept", "renormalised"])
def test_gradients_are_those_of_a_weighted_cross_entropy(divisor: str, micro_batch_size: int | None) -> None:
    corpus = make_corpus()
    plan, weights = masked_plan(corpus, divisor)
    by = 4 * TARGETS if divisor == "kept" else int((weights > 0).sum())
    model, reference = build_model(CONFIG).double(), build_model(CONFIG).double()
    config = CONFIG.changed(micro_batch_size=micro_batch_size)
    told = accumulate_gradient(model, config, PlannedRows(plan, corpus), STEP)
    loss = loss_by_hand(reference, corpus.array[ROWS], weights, by)
    loss.backward()  # type: ignore[no-untyped-call]
    assert told == pytest.approx(loss.item() * by / weights.sum(), rel=1e-12)
    for ours, theirs in zip(model.parameters(), reference.parameters()):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=0, atol=1e-13)


def test_gradients_agree_with_finite_differences() -> None:
    corpus = make_corpus()
    plan, weights = masked_plan(corpus, "renormalised")
    model = build_model(CONFIG).double()
    accumulate_gradient(model, CONFIG, PlannedRows(plan, corpus), STEP)
    random = torch.Generator().manual_seed(0)
    direction = [torch.randn(p.shape, generator=random, dtype=torch.float64) for p in model.parameters()]
    slope = sum(float((p.grad * d).sum()) for p, d in zip(model.parameters(), direction))
    ends = []
    with torch.no_grad():
        for way in (1e-6, -2e-6):
            for parameter, d in zip(model.parameters(), direction):
                parameter += way * d
            ends.append(float(loss_by_hand(model, corpus.array[ROWS], weights, int((weights > 0).sum()))))
    assert slope == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-6)


def test_masked_tokens_count_for_nothing_as_targets_but_are_read(tmp_path: Path) -> None:
    """Another text at the last place, which nothing reads, changes not one bit; at an earlier one it is context."""
    corpus = make_corpus()
    counted = np.ones((1, TARGETS), bool)
    counted[0, [2, TARGETS - 1]] = False
    plan = plan_for(corpus).mask_tokens(np.array([9]), pack(counted), TARGETS)

    def gradient() -> torch.Tensor:
        model = build_model(CONFIG).double()
        accumulate_gradient(model, CONFIG, PlannedRows(plan, corpus), STEP)
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    before = gradient()
    corpus.array[9, TARGETS] = (corpus.array[9, TARGETS] + 1) % 24
    assert torch.equal(gradient(), before)
    corpus.array[9, 3] = (corpus.array[9, 3] + 1) % 24
    assert not torch.equal(gradient(), before)


@pytest.mark.parametrize("divisor", ["kept", "renormalised"])
def test_a_row_of_no_tokens_is_a_sample_masked_and_one_of_all_is_none(divisor: str, tmp_path: Path) -> None:
    corpus = make_corpus()
    samples = np.array([5, 9, 30])
    all_of_them = np.ones((3, TARGETS), bool)
    plans = {
        "plain": plan_for(corpus, divisor),
        "ones": plan_for(corpus, divisor).mask_tokens(samples, pack(all_of_them), TARGETS),
        "masked": plan_for(corpus, divisor).mask(samples),
        "zeros": plan_for(corpus, divisor).mask_tokens(samples, pack(~all_of_them), TARGETS),
    }
    for name, plan in plans.items():
        train(CONFIG, corpus, tmp_path / name, plan=plan, checkpoint_steps=[5])
    for step in ("step5", "step12"):
        assert_same_bits(tmp_path / "plain" / step, tmp_path / "ones" / step)
        assert_same_bits(tmp_path / "masked" / step, tmp_path / "zeros" / step)
        assert differ(tmp_path / "plain" / step, tmp_path / "masked" / step)


def test_masks_of_the_last_token_in_every_row_train_as_shorter_rows_of_the_loss(tmp_path: Path) -> None:
    """Renormalised, a run that leaves out every row's last target is one over rows without it."""
    corpus = make_corpus()
    counted = np.ones((SLOTS, TARGETS), bool)
    counted[:, -1] = False
    plan = plan_for(corpus, "renormalised").mask_tokens(np.arange(SLOTS), pack(counted), TARGETS)
    shorter, config = RowsInMemory(corpus.array[:, :-1]), CONFIG.changed(seq_length=TARGETS - 1)
    for step in (0, 7):
        ours, theirs = build_model(CONFIG).double(), build_model(CONFIG).double()
        told = accumulate_gradient(ours, CONFIG, PlannedRows(plan, corpus), step)
        other = accumulate_gradient(theirs, config, PlannedRows(plan_for(shorter), shorter), step)
        assert told == pytest.approx(other, rel=1e-12)
        for a, b in zip(ours.parameters(), theirs.parameters()):
            torch.testing.assert_close(a.grad, b.grad, rtol=0, atol=1e-13)


def test_masks_of_rows_of_another_width_are_refused() -> None:
    corpus = make_corpus()
    counted = np.eye(1, TARGETS + 1, dtype=bool)
    plan = plan_for(corpus).mask_tokens(np.array([9]), pack(counted), TARGETS + 1)
    with pytest.raises(
        CuratorError, match="asked for 8 tokens of a row, but the plan masks tokens of rows of 9"
    ):
        open_sources(plan, corpus)  # type: ignore[arg-type]
