"""Adam's second moments read from real checkpoints are the ones the trainer itself held, in every way it saves them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from neox_runs import PP1_ZERO1, Trainer
from test_neox_checkpoints import FP16

from curator.artifacts.fields import Probe
from curator.errors import CuratorError
from curator.models.neox_files import read_checkpoint
from curator.models.optimizer import read_moments
from curator.ranking.run import rank
from curator.ranking.settings import RankSettings

STEPS = 3
ZERO1 = {"zero_optimization": {"stage": 1}}
BF16 = {"precision": "bfloat16", **ZERO1}
CASES: dict[tuple[str, str], tuple[dict[str, Any], int]] = {
    ("HEAD", "zero-0"): ({}, 1),
    ("HEAD", "zero-1-of-3"): (ZERO1, 3),
    ("HEAD", "pipeline-zero-1-of-2"): (PP1_ZERO1, 2),
    ("HEAD", "tensor-parallel"): ({"model-parallel-size": 2}, 2),
    ("HEAD", "tensor-parallel-zero-1-of-2"): ({"model-parallel-size": 2, **PP1_ZERO1}, 4),
    ("HEAD", "no-decay"): ({"weight-decay": 0.0}, 1),
    ("HEAD", "bfloat16"): (BF16, 2),
    ("v1.0", "fp16"): (FP16, 1),
    ("v1.0", "fp16-pipeline"): ({**FP16, **PP1_ZERO1}, 2),
    ("v1.0", "tied"): ({"no-weight-tying": False}, 1),
    ("v1.0", "pipeline-without-zero"): ({**PP1_ZERO1, "zero_optimization": {"stage": 0}}, 1),
    ("2.x", "zero-1-of-2"): (ZERO1, 2),
}
"""(generation, case) -> (what is changed, ranks)."""
MAPS = ("attention.query_key_value", "attention.dense", "mlp.dense_h_to_4h", "mlp.dense_4h_to_h")
NAMES = [f"gpt_neox.layers.{layer}.{name}.weight" for layer in (0, 1) for name in MAPS]


def run_of(trainer: Trainer, folder: Path, changes: Mapping[str, Any], ranks: int) -> Path:
    """The checkpoint of a short run."""
    config = {
        **trainer.config(),
        "train-iters": STEPS,
        "checkpoint-factor": STEPS,
        "gradient_clipping": 1e9,
        **changes,
    }
    config = {key: value for key, value in config.items() if value is not None} | {
        "save": str(folder / "save")
    }
    wanted = {"NEOX_WITNESS_MOMENTS": "1"}
    trainer.run(folder, config, ranks=ranks, grad_steps=range(STEPS), environment=wanted)
    return folder / "save" / f"global_step{STEPS}"


def held(folder: Path, name: str, shards: int, of: str = "moments") -> np.ndarray:
    """What the trainer held of a matrix under our name: its tensor-parallel ranks' parts, put together."""
    _, _, layer, module, short, _ = name.split(".")
    ends = tuple(
        f".{int(layer) + 2}.{module}.{now}.weight"
        for now in (short, short.replace("dense_h_to_4h", "linear1").replace("dense_4h_to_h", "linear2"))
    )
    parts = []
    for number in range(shards):  # the first tensor-parallel group
        kind, _, step = of.partition("/")
        with np.load(folder / f"{kind}-{number}.npz") as file:
            keys = [key for key in file if key.startswith(step)]
            (key,) = [key for key in keys if f"{step}.{key.removeprefix(f'{step}/')}".endswith(ends)]
            parts.append(file[key])
    return np.concatenate(
        parts, 1 if name.endswith(("attention.dense.weight", "dense_4h_to_h.weight")) else 0
    )


@pytest.mark.parametrize(("generation", "case"), CASES, ids=map("-".join, CASES))
def test_the_moments_found_are_the_trainers_own(
    generation: str, case: str, trainer_for: Any, tmp_path: Path
) -> None:
    changes, ranks = CASES[generation, case]
    checkpoint = run_of(trainer_for(generation), tmp_path, changes, ranks)
    found = read_moments(checkpoint, NAMES)
    for name in NAMES:
        theirs = held(tmp_path, name, changes.get("model-parallel-size", 1))
        assert theirs.any() and found[name].exp_avg_sq.shape == theirs.shape
        np.testing.assert_array_equal(found[name].exp_avg_sq.numpy(), theirs, err_msg=name)
        step = STEPS + (case == "fp16")  # DeepSpeed's begins with a step without gradient, which it counts
        assert (found[name].step, found[name].beta2, found[name].eps) == (step, 0.95, 1e-8)
        if "fp16" not in changes:  # there, gradients are scaled
            expected = np.zeros_like(theirs)
            for step in range(STEPS):
                gradient = held(tmp_path, name, changes.get("model-parallel-size", 1), f"grads/{step}")
                expected = 0.95 * expected + 0.05 * gradient**2
            np.testing.assert_allclose(found[name].exp_avg_sq, expected, rtol=1e-4, atol=1e-12, err_msg=name)
    assert read_checkpoint(checkpoint).n_shards == changes.get("model-parallel-size", 1)


def test_a_ranking_with_adam_and_without_its_state(head: Trainer, tmp_path: Path) -> None:
    """P is ∇f / (√v̂ + ε) with the trainer's v; where a rank's file is gone, or all are, the message says so."""
    checkpoint = run_of(head, tmp_path, ZERO1, 2)
    rows = np.random.default_rng(0).integers(0, 128, (6, 33)).astype(np.uint16)
    np.save(tmp_path / "rows.npy", rows)
    asked = RankSettings(
        model=str(checkpoint),
        corpus=tmp_path / "rows.npy",
        units=("induction:1.2",),
        preconditioner="adam",
        probe=Probe(name="paper", sequences=4, min_length=4, max_length=6),
        dtype="float64",
    )
    ranking = rank(asked, tmp_path / "ranking")
    v = torch.tensor(held(tmp_path, NAMES[5], 1), dtype=torch.float64)[:, 16:24].T / (1 - 0.95**STEPS)
    o = list(map(str, ranking.block_keys)).index("induction:1.2/o")
    gradient, query = (np.load(ranking.path / "queries" / f"{o:04}{end}.npy") for end in ("-gradient", ""))
    np.testing.assert_allclose(query, gradient / (v.sqrt() + 1e-8).numpy(), rtol=1e-12)
    (checkpoint / "zero_pp_rank_1_mp_rank_00_optim_states.pt").rename(tmp_path / "away.pt")
    with pytest.raises(
        CuratorError, match=r"of 2 data-parallel ranks, of shard 0 there are files of 0: copy all"
    ):
        read_moments(checkpoint, NAMES)
    (checkpoint / "zero_pp_rank_0_mp_rank_00_optim_states.pt").unlink()
    with pytest.raises(CuratorError, match=r"no state of an optimizer, neither \*_optim_states\.pt nor"):
        rank(asked, tmp_path / "other")
