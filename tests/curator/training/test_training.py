"""What the embedded trainer computes: plans (laws 5 and 6), the recipe's numbers, initial weights."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_runs import CONFIG, SLOTS, RowsInMemory, assert_same_bits, differ, make_corpus, plan_for
from torch import nn

from curator.errors import CuratorError
from curator.plan.plan import Plan
from curator.plan.rows import PlannedRows
from curator.training import TrainingConfig, build_model, train
from curator.training.model import build_optimizer
from curator.training.update import accumulate_gradient, update


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)  # bit-identity is promised for a fixed number of threads


def gradients(
    corpus: RowsInMemory, plan: Plan, step: int, config: TrainingConfig = CONFIG
) -> list[torch.Tensor]:
    model = build_model(config).double()
    accumulate_gradient(model, config, PlannedRows(plan, corpus), step)
    return [parameter.grad for parameter in model.parameters() if parameter.grad is not None]


def loop_gradients(rows: np.ndarray, divisor: float) -> list[torch.Tensor]:
    """Gradient of (sum of all token losses) / divisor, sample by sample and token by token."""
    model = build_model(CONFIG).double()
    for row in rows.astype(np.int64):
        logits = model(torch.from_numpy(row[None, :-1])).logits[0]
        log_p = torch.log_softmax(logits, -1)
        (-sum(log_p[t, row[t + 1]] for t in range(8)) / divisor).backward()
    return [parameter.grad for parameter in model.parameters() if parameter.grad is not None]


def assert_close(one: list[torch.Tensor], other: list[torch.Tensor]) -> None:
    assert len(one) == len(other) == 28
    for a, b in zip(one, other):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-13)


# Law 6: masks and replacements


@pytest.mark.parametrize(("divisor", "rows_in_divisor"), [("kept", 4), ("renormalised", 3)])
@pytest.mark.parametrize("micro_batch_size", [None, 1, 3])
def test_law_6_a_masked_sample_contributes_exactly_zero_gradient(
    divisor: str, rows_in_divisor: int, micro_batch_size: int | None
) -> None:
    corpus = make_corpus()
    plan = plan_for(corpus, divisor).mask(np.array([9]))  # step 2 holds samples 8 .. 11
    config = CONFIG.changed(micro_batch_size=micro_batch_size)
    masked = gradients(corpus, plan, 2, config)
    assert_close(masked, loop_gradients(corpus.array[[8, 10, 11]], rows_in_divisor * 8))

    corpus.array[9] = 65535  # not even a token: whatever lies there, not one bit changes
    for before, after in zip(masked, gradients(corpus, plan, 2, config)):
        assert torch.equal(before, after)


def test_fractional_weights_scale_a_samples_gradient() -> None:
    corpus = make_corpus()
    plan = replace(
        plan_for(corpus), weight_slots=np.array([8, 10, 11]), weights=np.array([0, 0, 0.25], np.float32)
    )
    quarter = [gradient / 4 for gradient in loop_gradients(corpus.array[[11]], 32)]
    expected = [a + b for a, b in zip(loop_gradients(corpus.array[[9]], 32), quarter)]
    assert_close(gradients(corpus, plan, 2), expected)


def test_law_6_a_replaced_slot_trains_as_a_corpus_with_that_row_would(tmp_path: Path) -> None:
    corpus = make_corpus(SLOTS + 5)
    plan = plan_for(corpus).replace(np.array([2, 17, 40]), np.array([SLOTS + 4, 3, SLOTS]))
    by_hand = corpus.array.copy()
    by_hand[[2, 17, 40]] = corpus.array[[SLOTS + 4, 3, SLOTS]]
    train(CONFIG, corpus, tmp_path / "plan", plan=plan, checkpoint_steps=[1])
    train(CONFIG, RowsInMemory(by_hand), tmp_path / "hand", checkpoint_steps=[1])
    train(CONFIG, corpus, tmp_path / "plain", checkpoint_steps=[1])
    for step in ("step1", "step12"):
        assert_same_bits(tmp_path / "plan" / step, tmp_path / "hand" / step)
        assert differ(tmp_path / "plan" / step, tmp_path / "plain" / step)


@pytest.mark.parametrize("divisor", ["kept", "renormalised"])
def test_a_fully_masked_step_decays_and_moves_by_momentum_alone(divisor: str) -> None:
    corpus = make_corpus()
    plan = plan_for(corpus, divisor).mask(np.arange(4, 8))
    model = build_model(CONFIG).double()
    optimizer = build_optimizer(model, CONFIG)
    update(model, optimizer, CONFIG, PlannedRows(plan, corpus), 0)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    moments = [optimizer.state[parameter] for parameter in model.parameters()]
    first, second = ([state[key].clone() for state in moments] for key in ("exp_avg", "exp_avg_sq"))
    assert math.isnan(update(model, optimizer, CONFIG, PlannedRows(plan, corpus), 1))
    rate = 1e-2 * 2 / 3
    for parameter, old, m, v in zip(model.parameters(), before, first, second):
        decay = 1 - rate * (0.1 if parameter.ndim == 2 else 0)
        m_hat, v_hat = 0.9 * m / (1 - 0.9**2), 0.95 * v / (1 - 0.95**2)
        torch.testing.assert_close(parameter.detach(), old * decay - rate * m_hat / (v_hat.sqrt() + 1e-8))
        assert not torch.equal(parameter.detach(), old)


def test_law_5_no_plan_and_the_identity_plan_are_bit_identical(tmp_path: Path) -> None:
    corpus = make_corpus()
    train(CONFIG, corpus, tmp_path / "none", checkpoint_steps=[0, 5])
    for divisor in ("kept", "renormalised"):
        out = tmp_path / divisor
        train(CONFIG, corpus, out, plan=plan_for(corpus, divisor), checkpoint_steps=[5])
        for step in ("step5", "step12"):
            assert_same_bits(tmp_path / "none" / step, out / step)
        assert (out / "losses.npy").read_bytes() == (tmp_path / "none" / "losses.npy").read_bytes()


# The recipe


def test_updates_agree_with_adamw_written_by_hand() -> None:
    config = CONFIG.changed(gradient_clip=0.5, micro_batch_size=3)
    corpus = make_corpus()
    rows = PlannedRows(plan_for(corpus), corpus)
    model = build_model(config).double()
    by_hand = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    m = {name: torch.zeros_like(value) for name, value in by_hand.items()}
    v = {name: torch.zeros_like(value) for name, value in by_hand.items()}
    optimizer = build_optimizer(model, config)
    for step in range(3):
        reference = build_model(config).double()
        reference.load_state_dict(by_hand)
        tokens = torch.from_numpy(corpus.array[step * 4 : step * 4 + 4].astype(np.int64))
        loss = nn.functional.cross_entropy(
            reference(tokens[:, :-1]).logits.flatten(0, 1), tokens[:, 1:].flatten()
        )
        loss.backward()
        assert update(model, optimizer, config, rows, step) == pytest.approx(loss.item(), rel=1e-12)
        grads = {name: parameter.grad for name, parameter in reference.named_parameters()}
        norm = math.sqrt(sum(float((grad**2).sum()) for grad in grads.values() if grad is not None))
        assert norm > 0.5
        rate = 1e-2 * (step + 1) / 3
        for name, grad in grads.items():
            assert grad is not None
            grad = grad * 0.5 / (norm + 1e-6)
            m[name] = 0.9 * m[name] + 0.1 * grad
            v[name] = 0.95 * v[name] + 0.05 * grad**2
            decay = 0.0 if "bias" in name or "norm" in name else 0.1
            direction = (m[name] / (1 - 0.9 ** (step + 1))) / (
                (v[name] / (1 - 0.95 ** (step + 1))).sqrt() + 1e-8
            )
            by_hand[name] = by_hand[name] * (1 - rate * decay) - rate * direction
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(parameter.detach(), by_hand[name], rtol=1e-9, atol=1e-11)


def test_the_schedule_warms_up_linearly_and_falls_as_half_a_cosine() -> None:
    config = CONFIG.changed(learning_rate=2.0, warmup_steps=10, steps=110, min_learning_rate_ratio=0.1)
    expected = {0: 0.2, 4: 1.0, 9: 2.0, 59: 1.1, 109: 0.2, 34: 0.2 + 1.8 * (2 + math.sqrt(2)) / 4}
    for step, rate in expected.items():
        assert config.learning_rate_at(step) == pytest.approx(rate, rel=1e-12), step
    rates = [config.learning_rate_at(step) for step in range(110)]
    assert rates[:10] == sorted(rates[:10]) and rates[9:] == sorted(rates[9:], reverse=True)
    assert config.changed(warmup_steps=0).learning_rate_at(109) == pytest.approx(0.2)
    assert config.changed(warmup_steps=110).learning_rate_at(109) == pytest.approx(2.0)


def test_initial_weights_have_gpt_neox_standard_deviations() -> None:
    config = CONFIG.changed(n_layers=6, d_model=64, n_heads=4, d_mlp=256, vocab_size=512)
    small, wang = math.sqrt(2 / (5 * 64)), 2 / (6 * math.sqrt(64))
    expected = {
        "gpt_neox.embed_in.weight": small,
        "attention.query_key_value.weight": small,
        "mlp.dense_h_to_4h.weight": small,
        "lm_head.weight": small,
        "attention.dense.weight": wang,
        "mlp.dense_4h_to_h.weight": wang,
    }
    seen = set()
    for name, parameter in build_model(config).named_parameters():
        if parameter.ndim == 1:
            expected_value = 1.0 if name.endswith("weight") else 0.0
            assert (parameter == expected_value).all(), name
            continue
        (kind,) = [ending for ending in expected if name.endswith(ending)]
        seen.add(kind)
        assert parameter.std().item() == pytest.approx(expected[kind], rel=0.04), name
        assert abs(parameter.mean().item()) < 0.04 * expected[kind], name
    assert seen == set(expected)


def test_initial_weights_depend_on_the_seed_alone_and_disturb_no_other_generator() -> None:
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = build_model(CONFIG).state_dict()
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    for name, value in build_model(CONFIG).state_dict().items():
        assert torch.equal(value, first[name])
    other = build_model(CONFIG.changed(seed=5)).state_dict()
    assert not torch.equal(other["lm_head.weight"], first["lm_head.weight"])


def test_training_learns_what_repeats(tmp_path: Path) -> None:
    rows = np.tile(np.arange(9, dtype=np.uint16), (400, 1))
    config = CONFIG.changed(steps=100)
    train(config, RowsInMemory(rows), tmp_path, checkpoint_steps=[])
    losses = np.load(tmp_path / "losses.npy")
    assert losses[0] == pytest.approx(math.log(24), abs=0.3)
    assert losses[-1] < 0.1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_heads": 3}, r"n_heads is 3; expected a divisor of d_model \(16\)"),
        ({"rotary_pct": 0.1}, "rotary_pct is 0.1; expected .* even number of a head's 8 dimensions"),
        ({"rotary_pct": 0.4}, "rotary_pct is 0.4"),
        ({"warmup_steps": 13}, r"warmup_steps is 13; expected in 0 \.\. steps \(12\)"),
        ({"micro_batch_size": 5}, "micro_batch_size is 5"),
        ({"learning_rate": math.nan}, "learning_rate: nan is not allowed"),
        ({"batch_size": 0}, "batch_size: 0 is not allowed; expected a whole number of at least 1"),
    ],
)
def test_a_config_out_of_range_names_the_field(change: dict[str, float], message: str) -> None:
    with pytest.raises(CuratorError, match=message):
        CONFIG.changed(**change)
