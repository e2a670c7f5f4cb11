"""What of the patches can be tried without a GPT-NeoX checkout."""

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from curator.artifacts.files import save_array, save_json
from curator.errors import CuratorError, UsageError
from curator.plan.plan import Plan
from curator.ranking.ranking import FORMAT, IDENTITY, identity_of
from curator.units.attention import head_blocks
from curator.units.block_json import describe_block
from neox_patches.adapters.base import Adapter
from neox_patches.clock import Clock, Layout
from neox_patches.data import check_slots, needed_samples, sized_for
from neox_patches.emit.blocks import TrainedModel, load_queries
from neox_patches.emit.store import RankStore
from neox_patches.loss import unscale_rows
from neox_patches.settings import load_patch_file


def layout(micro: int = 2, gas: int = 1, dp: int = 1, rank: int = 0) -> Layout:
    return Layout(micro, gas, dp, rank, 1, 0, 1, 0)


@given(st.integers(1, 5), st.integers(1, 4), st.integers(1, 4), st.integers(0, 1000))
def test_every_slot_of_a_step_is_held_once(micro: int, gas: int, dp: int, step: int) -> None:
    held = [layout(micro, gas, dp, rank).slots(step, m) for rank in range(dp) for m in range(gas)]
    batch = micro * gas * dp
    assert sorted(np.concatenate(held)) == list(range(step * batch, (step + 1) * batch))


def test_the_clock_carries_indices_through_a_pipelines_buffers() -> None:
    """One forward, one backward: with two stages, backward runs while a later micro-batch is loaded."""
    clock = Clock(layout(gas=3))
    clock.begin(7)
    clock.forward(0)
    clock.forward(1)
    clock.backward(0)
    assert clock.current == 0
    clock.forward(0)
    clock.backward(1)
    assert clock.current == 1
    clock.backward(0)
    assert clock.current == 2 and clock.slots.tolist() == [46, 47]


def test_slots_that_the_loader_did_not_deliver_are_refused() -> None:
    check_slots(None, np.array([4, 5]), 2)
    check_slots({"slot": torch.tensor([4, 5])}, np.array([4, 5]), 2)
    with pytest.raises(
        CuratorError, match=r"step 2: the loader delivered slots \[5, 4\] .*expected \[4, 5\]"
    ):
        check_slots({"slot": torch.tensor([5, 4])}, np.array([4, 5]), 2)


def test_only_training_data_are_asked_for_as_many_samples_as_without_insertions() -> None:
    plan = Plan.identity(12, 4, "corpus").insert(np.array([1]), np.arange(4))
    assert needed_samples(plan, 16) == 12 and needed_samples(plan, 8) == 4
    asked = sized_for(12, lambda weights, samples: samples)
    assert [asked([1.0], n) for n in (16, 3, 2, 16, 3, 2)] == [12, 3, 2, 12, 3, 2]


def test_gradients_are_unscaled_by_tokens_weight_and_factor() -> None:
    mask = torch.ones(3, 5)
    mask[0, 0] = 0
    scale = unscale_rows(mask, np.array([1, 0, 2], np.float32), torch.tensor(4.0))
    assert scale[0] == 14 / 4 and torch.isnan(scale[1]) and scale[2] == 14 / 8


def trained(heads: int) -> TrainedModel:
    checkout: Any = None
    settings = SimpleNamespace(hidden_size=32, num_attention_heads=heads, num_layers=2)
    return TrainedModel.of(Adapter(checkout), settings)


def test_blocks_are_named_by_the_component_whatever_a_kind_is_asked_by_default() -> None:
    """No probe is asked in the trainer; a name that says one keeps it, as its blocks may be fewer."""
    placed = trained(4).blocks_of(["induction:1.0", "previous-token:0.2", "induction:1.1:attention"])
    assert [str(one.key) for one in placed] == [
        "induction:1.0/qk", "induction:1.0/v", "induction:1.0/o", "previous-token:0.2/qk",
        "induction:1.1:attention/qk",
    ]  # fmt: skip


def test_queries_of_a_model_with_other_heads_are_refused(tmp_path: Path) -> None:
    """Of the same width and depth, so that every entry exists in both."""
    model = SimpleNamespace(
        config=SimpleNamespace(hidden_size=32, num_attention_heads=4), base_model_prefix="gpt_neox"
    )
    entries = []
    for number, block in enumerate(head_blocks(model, 1, 0).values()):  # type: ignore[arg-type]
        save_array(tmp_path / "queries" / f"{number:04}.npy", np.zeros(block.shape))
        entries.append({"unit": "induction:1.0", **describe_block(block), "file": f"{number:04}.npy"})
    manifest = {"format": FORMAT, "status": "running", "request": {}, **{key: [] for key in IDENTITY}}
    save_json(tmp_path / "manifest.json", manifest)
    index = {"made_for": identity_of(manifest), "probe": {}, "blocks": entries}
    save_json(tmp_path / "queries" / "index.json", index)
    assert len(load_queries([tmp_path], trained(4))) == 3
    with pytest.raises(
        CuratorError, match=r"no block of induction:1.0 in this model .*2 heads, width 32.*of another model"
    ):
        load_queries([tmp_path], trained(2))


def test_an_emission_that_does_not_fit_the_disk_is_refused_for_all_ranks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def store(dp: int) -> RankStore:
        return RankStore(tmp_path / f"rank-{dp}", layout(dp=dp), range(100), None, [(16, 16)], 2, {})

    needed = 200 * 16 * 16 * 4
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=int(needed * 1.5)))
    assert store(1).arrays["gradients/0"].shape == (200, 16, 16)
    assert (tmp_path / "rank-1" / "gradients" / "0.npy").stat().st_blocks * 512 >= needed, (
        "space is taken at once"
    )
    with pytest.raises(CuratorError, match="2 rank"):
        store(2)


def test_only_scaled_fp16_without_zero_is_warned_of() -> None:
    """The same optimizer trains bf16, and fp16 with a fixed scale of 1: nothing goes wrong there."""
    pytest.importorskip("deepspeed", reason="deepspeed is not installed: make test installs it")
    from deepspeed.runtime.fp16.fused_optimizer import FP16_Optimizer

    from neox_patches.compat import unscaled_loss

    def engine(fp16: bool, dynamic: bool, scale: float, kind: type = FP16_Optimizer) -> SimpleNamespace:
        optimizer = object.__new__(kind)
        optimizer.loss_scale_config = SimpleNamespace(dynamic_loss_scale=dynamic, cur_scale=scale)
        return SimpleNamespace(optimizer=optimizer, fp16_enabled=lambda: fp16)

    class Zero:
        pass

    assert "stage to 1" in str(unscaled_loss(engine(True, True, 1.0)))
    assert "stage to 1" in str(unscaled_loss(engine(True, False, 4096.0)))
    assert unscaled_loss(engine(False, True, 4096.0)) is unscaled_loss(engine(True, False, 1.0)) is None
    assert unscaled_loss(engine(True, True, 4096.0, Zero)) is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("emit: {out: o, steps: [{from: 0, to: 100000000000, every: 1}], scores: [r]}", "100000000001 steps"),
        ("emit: {out: o, steps: [], scores: [r]}", "steps is empty"),
        ("emit: {out: o, steps: [1]}", "nothing to emit"),
        ("emit: {out: o, steps: [1], gradients: {}}", "need units"),
        ("emit: {out: o, steps: [1], units: [a], scores: [r]}", "units is for gradients and factors"),
        ("emit: {out: o, steps: [1], units: [a], gradients: {compress: projection}}", "needs a rank"),
        ("emit: {out: o, steps: [1], units: [a], gradients: {compress: eigenbasis, rank: 4}}", "bases"),
        ("emit: {out: o, steps: [-1], scores: [r]}", "counted from 0"),
        ("plan: p", "a plan needs the corpus"),
        ("epochs: 2", "passes over the corpus"),
        ("epochs: 0\ncorpus: c", "at least 1"),
    ],
)
def test_patch_files_that_make_no_sense(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "patch.yml").write_text(text)
    with pytest.raises(UsageError, match=says):
        load_patch_file(tmp_path / "patch.yml")
