"""Plans over GPT-NeoX's own shuffled order: its dataset serves the rows, curator names them."""

import dataclasses
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from neox_runs import MICRO, SEQ, Finished, Trainer, assert_same_checkpoint, preprocess
from plans import LAYOUTS, expected_rows, refused, seen, write_rows

from curator.corpus import open_corpus
from curator.corpus.neox_blend import Part, write_blend
from curator.plan.plan import Plan


def maps_of(trainer: Trainer, folder: Path, iters: int) -> Path:
    """The shuffle map that a plain run of ``iters`` steps leaves beside its data."""
    trainer.run(folder, trainer.config(train_iters=iters))
    return left_maps(trainer, iters * MICRO)


def evaluations(run: Finished) -> list[str]:
    """What the run logged of its validation and test data."""
    return re.findall(r"(?:validation|test) results at .*", run.output)


def left_maps(trainer: Trainer, samples: int) -> Path:
    """The shuffle map of a run that asked for so many samples, and half a per cent more."""
    asked = f"{-(-samples * 1005 // 1000)}ns_{SEQ}sl_1234s"
    (maps,) = trainer.data.parent.glob(f"*train*_{asked}*_shuffle_idx.npy")
    return maps


@pytest.mark.parametrize("layout", LAYOUTS)
def test_law_5_unconfigured_and_empty_plans_leave_checkpoints_bit_identical(
    trainer: Trainer, tmp_path: Path, layout: str
) -> None:
    config = trainer.config(**LAYOUTS[layout], train_iters=4, checkpoint_factor=2, eval_interval=2)
    save = {name: tmp_path / name / "save" for name in ("plain", "unconfigured", "empty")}
    plain = trainer.run(tmp_path / "plain", {**config, "save": str(save["plain"])})
    trainer.run(tmp_path / "unconfigured", {**config, "save": str(save["unconfigured"])}, patched=True)
    corpus = maps_of(trainer, tmp_path / "maps", 4)
    fingerprint = open_corpus(corpus).fingerprint()
    Plan.identity(4 * MICRO, MICRO, fingerprint).save(tmp_path / "plan")
    emit = {
        "out": str(tmp_path / "out"),
        "steps": [1, 3],
        "units": ["induction:*"],
        "gradients": {},
        "factors": {},
    }
    study = {"corpus": str(corpus), "plan": str(tmp_path / "plan"), "emit": emit}
    empty = trainer.run(tmp_path / "empty", {**config, "save": str(save["empty"])}, study)
    assert len(evaluations(plain)) == 4 and evaluations(empty) == evaluations(plain)
    for step in (2, 4):
        assert_same_checkpoint(save["plain"], save["unconfigured"], step)
        assert_same_checkpoint(save["plain"], save["empty"], step)


@pytest.mark.parametrize(
    ("ranks", "changes"), [(1, {"gradient_accumulation_steps": 2}), (2, {}), (2, {"model-parallel-size": 2})]
)
def test_law_5_with_accumulation_and_ranks(
    head: Trainer, tmp_path: Path, ranks: int, changes: dict[str, Any]
) -> None:
    config = head.config(**changes, train_iters=3, checkpoint_factor=3)
    batch = MICRO * (1 if "model-parallel-size" in changes else 2)
    save = {name: tmp_path / name / "save" for name in ("plain", "unconfigured", "empty")}
    head.run(tmp_path / "plain", {**config, "save": str(save["plain"])}, ranks=ranks)
    head.run(
        tmp_path / "unconfigured", {**config, "save": str(save["unconfigured"])}, patched=True, ranks=ranks
    )
    corpus = left_maps(head, 3 * batch)
    Plan.identity(3 * batch, batch, open_corpus(corpus).fingerprint()).save(tmp_path / "plan")
    emit = {"out": str(tmp_path / "out"), "steps": [0, 2], "units": ["induction:*"], "factors": {}}
    study = {"corpus": str(corpus), "plan": str(tmp_path / "plan"), "emit": emit}
    head.run(tmp_path / "empty", {**config, "save": str(save["empty"])}, study, ranks=ranks)
    assert_same_checkpoint(save["plain"], save["unconfigured"], 3)
    assert_same_checkpoint(save["plain"], save["empty"], 3)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_insertions_shift_the_shuffled_order_and_lose_nothing(
    trainer: Trainer, tmp_path: Path, layout: str
) -> None:
    """More steps ask GPT-NeoX for no more data: the order of its samples stays that of the run without insertion.

    The data hold 28 samples and the base run takes 24. Two steps more would begin another epoch, whose samples
    GPT-NeoX would shuffle among the others.
    """
    text = "".join(chr(97 + k * k % 23) for k in range(900))
    trainer = dataclasses.replace(trainer, data=preprocess(trainer.home, tmp_path / "small", [text]))
    corpus = maps_of(trainer, tmp_path / "maps", 6)
    injected = write_rows(tmp_path / "injected.npy", 2 * MICRO, 1)
    plan = Plan.identity(6 * MICRO, MICRO, open_corpus(corpus).fingerprint())
    plan, source = plan.with_source("injected", str(injected), open_corpus(injected).fingerprint())
    plan = plan.insert(np.array([3, 3]), np.arange(2 * MICRO), source)
    plan.save(tmp_path / "plan")
    config = trainer.config(**LAYOUTS[layout], train_iters=8, lr_decay_iters=8)
    run = trainer.run(tmp_path / "run", config, {"corpus": str(corpus), "plan": str(tmp_path / "plan")})
    found = seen(run)
    assert np.array_equal(found, expected_rows(plan, corpus, plan.n_slots))
    base = np.concatenate([found[: 3 * MICRO], found[5 * MICRO :]])
    assert np.array_equal(base, open_corpus(corpus).rows(slice(0, 6 * MICRO)))


def test_another_seed_or_number_of_epochs_is_noticed_before_the_first_step(
    trainer: Trainer, tmp_path: Path
) -> None:
    corpus = maps_of(trainer, tmp_path / "maps", 5)
    study = {"corpus": str(corpus)}
    refused(trainer, tmp_path, study, "GPT-NeoX's loader delivers", str(corpus), train_iters=5, seed=77)
    if trainer.generation == "HEAD":
        refused(
            trainer, tmp_path / "passes", {**study, "epochs": 2}, "holds all epochs of the run", train_iters=5
        )


def test_insertions_into_a_blend_of_two_data_sets(trainer: Trainer, tmp_path: Path) -> None:
    """Weights 0.7 and 0.3; every part is asked for as many samples as without the insertion."""
    texts = ["".join(chr(97 + k * k * step % 23) for k in range(700)) for step in (1, 5)]
    parts = [preprocess(trainer.home, tmp_path / name, [text]) for name, text in zip("ab", texts)]
    paths = {"train-data-paths": [str(part) for part in parts], "train-data-weights": [0.7, 0.3]}
    paths |= {f"{split}-data-paths": [str(part) for part in parts] for split in ("valid", "test")}
    paths |= {f"{split}-data-weights": [0.5, 0.5] for split in ("valid", "test")}
    config = trainer.config(train_iters=5) | paths
    plain = trainer.run(tmp_path / "plain", config)
    maps = [next(part.parent.glob(f"{part.name}_train_{k}*_shuffle_idx.npy")) for k, part in enumerate(parts)]
    write_blend(
        tmp_path / "blend.json", [Part(maps=maps[0], weight=0.7), Part(maps=maps[1], weight=0.3)], 5 * MICRO
    )
    corpus = open_corpus(tmp_path / "blend.json")
    assert np.array_equal(corpus.rows(slice(0, 5 * MICRO)), seen(plain))
    plan = Plan.identity(5 * MICRO, MICRO, corpus.fingerprint()).insert(np.array([2]), np.arange(4))
    plan.save(tmp_path / "plan")
    study = {"corpus": str(tmp_path / "blend.json"), "plan": str(tmp_path / "plan")}
    run = trainer.run(tmp_path / "run", {**config, "train-iters": 6}, study)
    assert np.array_equal(seen(run), expected_rows(plan, tmp_path / "blend.json", plan.n_slots))


def test_one_data_path_and_a_split(trainer: Trainer, tmp_path: Path) -> None:
    """The older way to name data: one path, divided into training, validation and test documents."""
    config = {
        key: value for key, value in trainer.config(train_iters=4).items() if not key.endswith("data-paths")
    }
    data = trainer.data.with_name("split")
    for suffix in (".bin", ".idx"):
        shutil.copy(trainer.data.with_suffix(suffix), tmp_path / f"{data.name}{suffix}")
    config |= {"data-path": str(tmp_path / data.name), "split": "80,10,10"}
    plain = trainer.run(tmp_path / "plain", config)
    (maps,) = tmp_path.glob("split_train_indexmap_*_shuffle_idx.npy")
    corpus = open_corpus(maps)
    assert np.array_equal(corpus.rows(slice(0, 4 * MICRO)), seen(plain))
    plan = Plan.identity(4 * MICRO, MICRO, corpus.fingerprint()).insert(np.array([1]), np.arange(8, 12))
    plan.save(tmp_path / "plan")
    study = {"corpus": str(maps), "plan": str(tmp_path / "plan")}
    run = trainer.run(tmp_path / "run", {**config, "train-iters": 5}, study)
    assert np.array_equal(seen(run), expected_rows(plan, maps, plan.n_slots))
    rows = trainer.run(
        tmp_path / "rows", config, {"corpus": str(write_rows(tmp_path / "rows.npy", 4 * MICRO))}
    )
    assert np.array_equal(seen(rows), np.load(tmp_path / "rows.npy")), (
        "rows in file order, whatever the data say"
    )


def test_data_that_end_with_the_last_step_are_refused(trainer: Trainer, tmp_path: Path) -> None:
    """GPT-NeoX counts one sample less than its maps list; where that one is needed, it starts again or stops."""
    texts = ["".join(chr(97 + k * k * step % 23) for k in range(2 * MICRO * SEQ)) for step in (1, 3, 5)]
    data = preprocess(trainer.home, tmp_path / "exact", texts)
    changes = {"train_iters": 2, "data-path": str(data), "split": "34,33,33"}
    none = {f"{split}-data-paths": None for split in ("train", "valid", "test")}
    emit = {"out": str(tmp_path / "out"), "steps": [0], "units": ["induction:0.0"], "factors": {}}
    refused(trainer, tmp_path, {"emit": emit}, "7 samples", "2 steps need 8", **changes, **none)
