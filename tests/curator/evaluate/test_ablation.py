"""Zero-ablation against weights that are set to 0, and against a model whose only circuit was written by hand."""

import copy
import math

import numpy as np
import pytest
import torch
from engine_parts import random_model
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

from curator.errors import UsageError
from curator.evaluate import ablation
from curator.evaluate.ablation import CopyTask, contributions, draw_copy_task
from curator.units import ProbeSettings

FEW = ProbeSettings(sequences=6, min_length=2, max_length=5, seed=3)


def copied(model: GPTNeoXForCausalLM, task: CopyTask) -> tuple[float, float]:
    """Mean log-probability and logit of C, one unpadded sequence after another."""
    found = []
    for tokens, last, target in zip(task.tokens, task.last.tolist(), task.target.tolist()):
        with torch.no_grad():
            logits = model(tokens[None, : last + 1]).logits[0, -1].double()
        found.append((float(logits.log_softmax(-1)[target]), float(logits[target])))
    by = np.mean(found, axis=0)
    return float(by[0]), float(by[1])


def without(model: GPTNeoXForCausalLM, layer: int, head: int) -> GPTNeoXForCausalLM:
    """A copy in which nothing reads the head: its columns of the output matrix are 0."""
    other = copy.deepcopy(model)
    d_head = model.config.hidden_size // model.config.num_attention_heads
    weight = other.get_parameter(f"gpt_neox.layers.{layer}.attention.dense.weight")
    with torch.no_grad():
        weight[:, head * d_head : (head + 1) * d_head] = 0
    return other


@pytest.mark.parametrize("parallel", [True, False])
def test_what_a_head_adds_is_the_model_less_one_that_does_not_read_it(parallel: bool) -> None:
    model, task = random_model(parallel), draw_copy_task(FEW, 61, 32)
    clean = copied(model, task)
    for found, which in zip(contributions(model, task), (0, 1)):
        expected = [
            [clean[which] - copied(without(model, layer, head), task)[which] for head in range(3)]
            for layer in range(3)
        ]
        np.testing.assert_allclose(found, expected, atol=1e-11)
        assert np.abs(expected).min() > 1e-6, "every head of this model does something"


def test_how_many_variants_share_a_pass_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model, task = random_model(), draw_copy_task(FEW, 61, 32)
    together, passes = contributions(model, task), []
    hook = model.gpt_neox.register_forward_hook(lambda *_: passes.append(1))
    contributions(model, task)
    assert len(passes) == 1
    monkeypatch.setattr(ablation, "TOKENS_PER_PASS", 1)
    alone = contributions(model, task)
    hook.remove()
    assert len(passes) == 1 + 10
    for one, other in zip(together, alone):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=0)


def test_a_measured_model_is_left_as_it_was() -> None:
    model, task = random_model(), draw_copy_task(FEW, 61, 32)
    before = copied(model, task)
    contributions(model, task)
    assert copied(model, task) == before


def test_the_task_is_what_appendix_h_says() -> None:
    task = draw_copy_task(ProbeSettings(sequences=200, min_length=3, max_length=9, seed=1), 61, 32)
    gaps = set()
    for tokens, last, target in zip(task.tokens.tolist(), task.last.tolist(), task.target.tolist()):
        row = tokens[: last + 1]
        a, b = row[-2:]
        at = row.index(a)
        assert row[at + 1 : at + 3] == [b, target]
        others = row[:-2]
        assert len(set(others)) == len(others) and at >= 3
        gaps.add(len(others) - at - 3)
        assert not any(tokens[last + 1 :])
    assert gaps == set(range(3, 10))
    again = draw_copy_task(ProbeSettings(sequences=200, min_length=3, max_length=9, seed=1), 61, 32)
    assert torch.equal(task.tokens, again.tokens)
    known = draw_copy_task(ProbeSettings(ids=np.arange(20, 40)), 61, 12)
    assert known.tokens.shape[1] <= 12 and set(known.tokens[known.tokens > 0].tolist()) <= set(range(20, 40))
    with pytest.raises(UsageError, match="needs 7 positions and 5 token ids, not 6 and 61"):
        draw_copy_task(FEW, 61, 6)


# -- a circuit by hand ----------------------------------------------------------------------------------------------

V, D_HEAD, TURNING = 16, 24, 8


def circuit() -> GPTNeoXForCausalLM:
    """Two layers of attention alone, in a stream of three blocks: token, token before, what is to come.

    Head 0.0 attends one back, by position alone, and writes what stands there into the second block. Head 1.0 attends
    to where the token before is the present one, and writes what stands there into the third: all that is read.
    """
    config = GPTNeoXConfig(
        vocab_size=V,
        hidden_size=3 * V,
        num_attention_heads=2,
        num_hidden_layers=2,
        intermediate_size=8,
        max_position_embeddings=32,
        rope_parameters={"rope_type": "default", "rope_theta": 100.0, "partial_rotary_factor": 0.34},
        use_parallel_residual=True,
        tie_word_embeddings=False,
    )
    model = GPTNeoXForCausalLM(config).double().eval().requires_grad_(False)
    for name, parameter in model.named_parameters():
        parameter.fill_(1.0 if "norm.weight" in name else 0.0)
    one = torch.eye(V, dtype=torch.float64)
    model.gpt_neox.embed_in.weight[:, :V] = one
    first, second = (layer.attention for layer in model.gpt_neox.layers)
    q, k, v = (slice(part * D_HEAD, (part + 1) * D_HEAD) for part in range(3))
    turns = 100.0 ** (-torch.arange(0, TURNING, 2, dtype=torch.float64) / TURNING)
    first.query_key_value.bias[q][: TURNING // 2] = 200 * torch.cos(turns)
    first.query_key_value.bias[q][TURNING // 2 : TURNING] = -200 * torch.sin(turns)
    first.query_key_value.bias[k][: TURNING // 2] = 1
    first.query_key_value.weight[v][:V, :V] = one
    first.dense.weight[V : 2 * V, :V] = one
    second.query_key_value.weight[q][TURNING:, :V] = 20 * one
    second.query_key_value.weight[k][TURNING:, V : 2 * V] = one
    second.query_key_value.weight[v][:V, :V] = one
    second.dense.weight[2 * V :, :V] = one
    model.get_output_embeddings().weight[:, 2 * V :] = 20 * one
    return model


def test_the_one_induction_head_is_all_of_the_copying_and_heads_beside_it_are_none() -> None:
    model = circuit()
    task = draw_copy_task(ProbeSettings(sequences=30, min_length=2, max_length=5), V, 32)
    assert copied(model, task)[0] > -1e-3, "it copies"
    by_log, by_logit = contributions(model, task)
    assert float(by_log[1, 0]) == pytest.approx(math.log(V), abs=1e-3), "without it, all tokens are alike"
    assert by_logit[1, 0] > 5
    assert by_log[:, 1].tolist() == by_logit[:, 1].tolist() == [0, 0]
    assert by_log[0, 0] > math.log(V), "without the token before, it copies something else"
