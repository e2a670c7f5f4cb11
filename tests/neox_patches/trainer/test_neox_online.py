"""Attribution along the real trajectory: what the trainer emits is what ``curator rank`` computes at that checkpoint.

Step 2 trains at the weights of ``global_step2``; its samples, scored there by curator, are the oracle. Factors over the
data's own labels and the same samples make whole rankings out of emissions comparable too.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from emitted import emitted_sum, parameter_grad
from neox_runs import MICRO, PP1_ZERO1, Trainer
from plans import write_rows

from curator.artifacts.fields import Probe
from curator.artifacts.files import load_array, load_json
from curator.corpus import open_corpus
from curator.errors import CuratorError
from curator.influence.emission import NOT_FINITE, OVERFLOWED, WRITTEN, Emission
from curator.plan.plan import Plan
from curator.ranking.from_emission import EmittedFactors, collect_scores, rank_emission
from curator.ranking.ranking import Ranking
from curator.ranking.run import rank
from curator.ranking.settings import RankSettings
from curator.units.block_json import block_of

STEP = 2
UNITS = ("induction:0.1", "induction:1.*")
PROBE = Probe(sequences=8, min_length=6, max_length=12, seed=3)

LAYOUTS: dict[str, tuple[dict[str, Any], int]] = {
    "pp0": ({}, 1),
    "pp1": (PP1_ZERO1, 1),
    "gas2": ({"gradient_accumulation_steps": 2}, 1),
    "dp2": ({}, 2),
    "mp2": ({"model-parallel-size": 2}, 2),
    "pp2": ({"pipe-parallel-size": 2, "gradient_accumulation_steps": 3}, 2),
    "pp2-recompute": (
        {"pipe-parallel-size": 2, "gradient_accumulation_steps": 3, "checkpoint-activations": True},
        2,
    ),
}


def batch_of(layout: str) -> int:
    changes, _ = LAYOUTS[layout]
    return MICRO * changes.get("gradient_accumulation_steps", 1) * (2 if layout == "dp2" else 1)


def request_at(model: Path, corpus: Path, first: int, last: int) -> RankSettings:
    return RankSettings(
        model=str(model),
        corpus=corpus,
        units=UNITS,
        samples=(first, last),
        probe=PROBE,
        fisher="empirical",
        micro_batch=4,
    )


def trained(trainer: Trainer, tmp_path: Path, layout: str) -> tuple[dict[str, Any], int, Path, Path, Ranking]:
    """(config, ranks, corpus, checkpoint at `STEP`, curator's ranking of that step's samples)."""
    changes, ranks = LAYOUTS[layout]
    batch = batch_of(layout)
    corpus = write_rows(tmp_path / "rows.npy", 3 * batch)
    config = trainer.config(**changes, train_iters=3, lr_decay_iters=3, gradient_clipping=1e9)
    save = {"save": str(tmp_path / "save"), "extra-save-iters": [STEP]}
    trainer.run(tmp_path / "first", {**config, **save}, {"corpus": str(corpus)}, ranks=ranks)
    checkpoint = tmp_path / "save" / f"global_step{STEP}"
    ranking = rank(request_at(checkpoint, corpus, STEP * batch, 3 * batch), tmp_path / "ranking")
    return config, ranks, corpus, checkpoint, ranking


def close(found: np.ndarray, expected: np.ndarray, tolerance: float = 1e-4) -> None:
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= tolerance * np.abs(expected).max(), np.abs(
        found - expected
    ).max()


def check(trainer: Trainer, tmp_path: Path, layout: str) -> None:
    config, ranks, corpus, checkpoint, ranking = trained(trainer, tmp_path, layout)
    batch = batch_of(layout)
    emit = {
        "out": str(tmp_path / "emitted"),
        "steps": [STEP],
        "units": list(UNITS),
        "gradients": {},
        "factors": {},
        "scores": [str(tmp_path / "ranking")],
    }
    trainer.run(tmp_path / "second", config, {"corpus": str(corpus), "emit": emit}, ranks=ranks)
    emission = Emission.open(tmp_path / "emitted")

    online = collect_scores(emission, tmp_path / "online")
    assert (online.first_sample, len(online), online.units) == (STEP * batch, batch, ranking.units)
    close(online.scores, ranking.scores)
    close(online.blocks, ranking.blocks)
    close(online.losses, ranking.losses)

    factors = EmittedFactors(emission)
    folder = ranking.path / "factors"
    for entry in load_json(folder / "index.json")["blocks"]:
        a, s = factors.covariances(block_of(entry))
        close(a.numpy(), load_array(folder / "sides" / f"{entry['A']:04}.npy"))
        close(s.numpy(), load_array(folder / "sides" / f"{entry['S']:04}.npy"))

    again = rank_emission(
        request_at(checkpoint, corpus, STEP * batch, 3 * batch), emission, tmp_path / "again"
    )
    close(again.scores, ranking.scores, 1e-3)  # two decompositions of nearly equal factors


@pytest.mark.parametrize("layout", ["pp0", "pp1"])
def test_online_scores_and_rankings_from_emissions_are_curators(
    trainer: Trainer, tmp_path: Path, layout: str
) -> None:
    check(trainer, tmp_path, layout)


@pytest.mark.parametrize("layout", ["gas2", "dp2", "mp2", "pp2", "pp2-recompute"])
def test_online_scores_with_accumulation_and_ranks_are_curators(
    head: Trainer, tmp_path: Path, layout: str
) -> None:
    check(head, tmp_path, layout)


def test_compressed_gradients_rank_alike(head: Trainer, tmp_path: Path) -> None:
    """All eigenvectors kept: the same scores. Few kept, or projected: the parts that are kept."""
    config, _, corpus, checkpoint, ranking = trained(head, tmp_path, "pp0")
    request = request_at(checkpoint, corpus, 8, 12)

    def emitted(name: str, gradients: dict[str, Any]) -> Ranking:
        emit = {
            "out": str(tmp_path / f"emitted-{name}"),
            "steps": [STEP],
            "units": list(UNITS),
            "gradients": gradients,
            "factors": {"bases": str(tmp_path / "ranking")},
        }
        head.run(tmp_path / f"run-{name}", config, {"corpus": str(corpus), "emit": emit})
        return rank_emission(
            request, Emission.open(tmp_path / f"emitted-{name}"), tmp_path / f"ranked-{name}"
        )

    scores_alone = {"out": str(tmp_path / "scored"), "steps": [STEP], "scores": [str(tmp_path / "ranking")]}
    head.run(tmp_path / "run-scores", config, {"corpus": str(corpus), "emit": scores_alone})
    close(collect_scores(Emission.open(tmp_path / "scored"), tmp_path / "online").scores, ranking.scores)
    bases = {"compress": "eigenbasis", "bases": str(tmp_path / "ranking")}
    close(emitted("plain", {}).scores, ranking.scores)
    close(emitted("whole-basis", {**bases, "rank": 32}).scores, ranking.scores)
    close(emitted("whole-projection", {"compress": "projection", "rank": 32}).scores, ranking.scores)
    truncated = emitted("truncated", {**bases, "rank": 6})
    part = Emission.open(tmp_path / "emitted-truncated").ranks[0]
    assert part.array("gradients/0").shape == (MICRO, 6, 6)
    assert np.isfinite(truncated.scores).all() and np.abs(truncated.scores - ranking.scores).max() > 0


def test_emission_goes_on_after_a_kill(head: Trainer, tmp_path: Path) -> None:
    """Sums saved with a checkpoint are taken up again: all steps count once, as in a run that was never ended."""
    corpus = write_rows(tmp_path / "rows.npy", 24)
    config = head.config(train_iters=6, lr_decay_iters=6, checkpoint_factor=3, gradient_clipping=1e9)

    def study(name: str) -> dict[str, Any]:
        emit = {
            "out": str(tmp_path / name),
            "steps": [1, 2, 3, 4],
            "units": ["induction:1.0"],
            "factors": {},
            "gradients": {},
        }
        return {"corpus": str(corpus), "emit": emit}

    head.run(tmp_path / "whole", config, study("a"))
    save = {"save": str(tmp_path / "save")}
    head.run(tmp_path / "first", {**config, **save, "exit-interval": 3}, study("b"))
    with pytest.raises(CuratorError, match="were not emitted"):
        Emission.open(tmp_path / "b").contiguous((4, 20))
    sums = tmp_path / "b" / "rank-00000" / "sums"
    (sums / "3").rename(sums / "5")
    refused = head.run(tmp_path / "no", {**config, **save, "load": save["save"]}, study("b"), check=False)
    assert refused.returncode == 1 and "there are sums after 5 steps alone" in refused.output
    assert (sums / "5").is_dir(), "a start that is refused removes nothing"
    (sums / "5").rename(sums / "3")
    gradients, away = (tmp_path / "b" / "rank-00000" / name for name in ("gradients", "away"))
    gradients.rename(away)
    refused = head.run(tmp_path / "lost", {**config, **save, "load": save["save"]}, study("b"), check=False)
    assert refused.returncode == 1 and not gradients.exists()
    lost = refused.output.splitlines()[-1]
    assert lost.startswith(f"error: {gradients / '0.npy'}: no such file, though it was emitted: 2 of"), lost
    away.rename(gradients)
    head.run(tmp_path / "second", {**config, **save, "load": save["save"]}, study("b"))
    whole, parts = Emission.open(tmp_path / "a"), Emission.open(tmp_path / "b")
    assert parts.contiguous() == whole.contiguous() == (4, 20)
    for name in ("slots", "samples", "losses", "flags", "gradients/0", "gradients/2"):
        assert np.array_equal(whole.ranks[0].array(name), parts.ranks[0].array(name)), name
    block = block_of(whole.manifest["blocks"][0])
    for left, right in zip(
        EmittedFactors(whole).covariances(block), EmittedFactors(parts).covariances(block)
    ):
        close(right.numpy(), left.numpy(), 1e-12)


def test_masked_and_injected_rows_are_told_apart(head: Trainer, tmp_path: Path) -> None:
    """A masked row has no gradient: NaN, not a score; the others' are of weight 1, whatever the plan's scale."""
    corpus = write_rows(tmp_path / "rows.npy", 12)
    plan = Plan.identity(12, MICRO, open_corpus(corpus).fingerprint(), "renormalised").mask(np.array([5, 6]))
    plan.save(tmp_path / "plan")
    emit = {
        "out": str(tmp_path / "out"),
        "steps": [1],
        "units": ["induction:1.0"],
        "gradients": {},
        "factors": {},
    }
    study = {"corpus": str(corpus), "plan": str(tmp_path / "plan"), "emit": emit}
    config = head.config(train_iters=3, gradient_clipping=1e9)
    run = head.run(tmp_path / "run", config, study, grad_steps=[1])
    emission = Emission.open(tmp_path / "out")
    part = emission.ranks[0]
    assert part.usable.tolist() == [True, False, False, True]
    assert np.isnan(part.array("gradients/0")[1:3]).all()
    grads = parameter_grad(run.grads(), 1, 1, "query_key_value")[:16].T
    kept = np.asarray(part.array("gradients/0"), np.float64)[[0, 3]].sum(0)
    close(kept / (2 * 32), grads, 1e-5)
    assert not np.isnan(
        EmittedFactors(emission).covariances(block_of(emission.manifest["blocks"][0]))[1].numpy()
    ).any()


def test_fp16_gradients_are_unscaled_and_overflows_flagged(head: Trainer, tmp_path: Path) -> None:
    """The scale begins far too high and is halved until gradients fit; what is emitted then carries none of it."""
    steps = 24
    corpus = write_rows(tmp_path / "rows.npy", steps * MICRO)
    config = head.config(train_iters=steps, lr_decay_iters=steps, gradient_clipping=1e9)
    del config["precision"]
    config["zero_optimization"] = {
        "stage": 1
    }  # without ZeRO, DeepSpeed 0.19.8 divides by a scale it never applied
    scale = {"loss_scale": 0, "initial_scale_power": 32, "loss_scale_window": 1000, "hysteresis": 1}
    config["fp16"] = {"enabled": True, **scale}
    emit = {
        "out": str(tmp_path / "out"),
        "steps": list(range(steps)),
        "units": ["induction:1.0"],
        "gradients": {},
        "factors": {},
    }
    run = head.run(tmp_path / "run", config, {"corpus": str(corpus), "emit": emit}, grad_steps=[0, steps - 1])
    emission = Emission.open(tmp_path / "out")
    flags = np.asarray(emission.ranks[0].array("flags"))
    assert flags[0] == OVERFLOWED and flags[-1] == WRITTEN and set(flags) == {OVERFLOWED, WRITTEN}
    assert emission.contiguous((steps * MICRO - MICRO, steps * MICRO)) == (92, 96)
    with pytest.raises(CuratorError, match="skipped for an fp16 overflow"):
        emission.contiguous((0, steps * MICRO))
    a, s = EmittedFactors(emission).covariances(block_of(emission.manifest["blocks"][0]))
    assert np.isfinite(a.numpy()).all() and np.isfinite(s.numpy()).all()
    found = emitted_sum(emission, "induction:1.0/qk", steps - 1) / (MICRO * 32)
    grads = parameter_grad(run.grads(), steps - 1, 1, "query_key_value")[:16].T
    ratio = np.linalg.norm(grads) / np.linalg.norm(found)  # DeepSpeed's gradient still carries its scale here
    power = round(np.log2(ratio))
    assert power > 4
    assert np.linalg.norm(found - grads / 2.0**power) < 5e-3 * np.linalg.norm(found), (
        "half precision's rounding alone"
    )


def test_fp16_without_zero_is_warned_of(head: Trainer, tmp_path: Path) -> None:
    """DeepSpeed 0.19.8 trains it wrongly, with or without us (docs/neox.md); if this fails, that may be mended."""
    config = head.config(train_iters=1)
    del config["precision"]
    config["fp16"] = {"enabled": True, "loss_scale": 0, "initial_scale_power": 24}
    run = head.run(
        tmp_path / "run", config, {"corpus": str(write_rows(tmp_path / "rows.npy", MICRO))}, grad_steps=[0]
    )
    assert "Set zero_optimization.stage to 1" in run.output
    largest = max(float(np.abs(value).max()) for value in run.grads().values())
    assert largest < 10, "scaled by 2^24, it would have overflowed"


def test_emissions_and_checkpoints_before_the_first_step_and_after_the_last(
    trainer: Trainer, tmp_path: Path
) -> None:
    """Saving at step 0, a finished run started again, and another run that would write into the same folder."""
    corpus = write_rows(tmp_path / "rows.npy", 12)
    save = str(tmp_path / "save")
    emit = {"out": str(tmp_path / "out"), "steps": [0, 1], "units": ["induction:1.0"], "factors": {}}
    study = {"corpus": str(corpus), "emit": emit}
    config = trainer.config(train_iters=2, save=save, load=save, checkpoint_factor=1)
    config["extra-save-iters"] = [0, 1, 2]
    trainer.run(tmp_path / "first", config, study)
    before = Emission.open(tmp_path / "out")
    assert before.steps_written == (2, 2) and before.left_out == 0
    trainer.run(tmp_path / "again", config, study)
    assert Emission.open(tmp_path / "out").manifest == before.manifest
    for other in ({"save": str(tmp_path / "other")}, {"save": None, "load": None}):
        run = trainer.run(tmp_path / "other", {**config, "load": None, **other}, study, check=False)
        assert run.returncode and "the emission of another run" in run.output


def test_steps_whose_loss_is_not_finite_are_flagged_and_kept_out(
    head: Trainer, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    corpus = write_rows(tmp_path / "rows.npy", 16)
    config = head.config(train_iters=4, lr_decay_iters=4, min_lr=1e30, save=str(tmp_path / "save"))
    config["optimizer"] = {"type": "Adam", "params": {"lr": 1e30, "betas": [0.9, 0.95], "eps": 1e-8}}
    config["extra-save-iters"] = [0]
    emit = {
        "out": str(tmp_path / "out"),
        "steps": [0, 1, 2, 3],
        "units": ["induction:1.0"],
        "gradients": {},
        "factors": {},
    }
    head.run(tmp_path / "run", config, {"corpus": str(corpus), "emit": emit})
    emission = Emission.open(tmp_path / "out")
    flags = np.asarray(emission.ranks[0].array("flags"))
    assert flags[0] == WRITTEN and NOT_FINITE in flags
    with pytest.raises(CuratorError, match="not finite"):
        emission.contiguous((0, 16))
    checkpoint = tmp_path / "save" / "global_step0"
    request = request_at(checkpoint, corpus, 0, 4).changed(units=("induction:1.0",))
    assert np.isfinite(rank_emission(request, emission, tmp_path / "ranking").scores).all()
    assert capfd.readouterr().err.count("note:") == 0
    (checkpoint / "neox_patches.json").write_text('{"run": "another"}')
    rank_emission(request, emission, tmp_path / "ranking-2")
    assert "saved by run another" in " ".join(capfd.readouterr().err.split())
