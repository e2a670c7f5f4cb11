"""curator reads, as a corpus, exactly the rows that GPT-NeoX trains on, in its order.

The rows are those that the model of a real run saw (`witness`), and those that a checkout's own data sets deliver.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from neox_runs import HERE, MICRO, SEQ, Trainer, preprocess, script

from curator.corpus import open_corpus
from curator.corpus.neox_blend import Part, write_blend
from curator.errors import CuratorError


def texts(characters: int, seed: int) -> list[str]:
    """Documents of 1 to 90 letters, many shorter than a row, that with their ends have so many tokens."""
    rng = np.random.default_rng(seed)
    left, made = characters, []
    while left:
        length = min(int(rng.integers(1, 91)), left - 1)
        length -= left - 1 - length == 1  # nothing but an end is no document
        made.append("".join(rng.choice(list("abcdefghijklmnopqrstuvwxyz"), length)))
        left -= length + 1
    return made


def only_map(prefix: Path, split: str = "train_0") -> Path:
    """The shuffle map that a run left beside ``prefix``."""
    [found] = prefix.parent.glob(f"{prefix.name}_{split}_indexmap_*_shuffle_idx.npy")
    return found


def small_data(trainer: Trainer, folder: Path, characters: int = 700, seed: int = 0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return preprocess(trainer.home, folder / f"data{seed}", texts(characters, seed))


def test_a_run_of_several_epochs_sees_the_rows_of_the_maps(trainer: Trainer, tmp_path: Path) -> None:
    data = small_data(trainer, tmp_path)  # 21 rows an epoch, 48 asked for
    config = trainer.config(train_iters=6, gradient_accumulation_steps=2)
    for split in ("train", "valid", "test"):
        config[f"{split}-data-paths"] = [str(data)]
    seen = trainer.run(tmp_path / "run", config).rows()
    corpus = open_corpus(only_map(data))
    assert corpus.describe()["epochs"] == 3
    np.testing.assert_array_equal(seen.reshape(-1, SEQ + 1), corpus.rows(slice(0, 12 * MICRO)))


def on_one_path(trainer: Trainer, data: Path, split: str) -> dict:
    """A configuration with ``data-path`` and ``split`` for data paths."""
    config = trainer.config(train_iters=4, eval_interval=4)
    for name in ("train", "valid", "test"):
        del config[f"{name}-data-paths"]
    return config | {"data-path": str(data), "split": split}


def test_a_run_on_one_data_path_sees_the_rows_of_its_training_split(trainer: Trainer, tmp_path: Path) -> None:
    data = small_data(trainer, tmp_path, characters=2000)
    seen = trainer.run(tmp_path / "run", on_one_path(trainer, data, "80,15,5")).rows()
    corpus = open_corpus(only_map(data, "train"))
    np.testing.assert_array_equal(seen.reshape(-1, SEQ + 1), corpus.rows(slice(0, 4 * MICRO)))
    used = {corpus.provenance(sample)["document"] for sample in range(len(corpus))}
    documents = len(texts(2000, 0))
    assert 0.7 * documents < max(used) < 0.85 * documents


def test_a_run_on_a_blend_sees_the_rows_of_the_blend(trainer: Trainer, tmp_path: Path) -> None:
    data = [small_data(trainer, tmp_path, seed=seed) for seed in (0, 1)]
    config = trainer.config(train_iters=10)
    for split in ("train", "valid", "test"):
        config[f"{split}-data-paths"] = [str(prefix) for prefix in data]
        config[f"{split}-data-weights"] = [0.7, 0.3]
    seen = trainer.run(tmp_path / "run", config).rows()
    maps = [only_map(prefix, f"train_{k}") for k, prefix in enumerate(data)]
    blend = write_blend(
        tmp_path / "blend.json", [Part(maps=maps[0], weight=0.7), Part(maps=maps[1], weight=0.3)], 10 * MICRO
    )
    np.testing.assert_array_equal(seen.reshape(-1, SEQ + 1), blend.rows(slice(None)))
    part, _ = blend.chosen(np.arange(len(blend)))
    assert np.bincount(part).tolist() == [28, 12]


def test_where_the_maps_hold_just_what_is_asked_for_the_last_step_is_not_of_the_last_rows(
    trainer: Trainer, tmp_path: Path
) -> None:
    """GPT-NeoX's length is one row short of what it lists: HEAD then begins again, older ones stop."""
    data = small_data(trainer, tmp_path, characters=16 * SEQ + 1)
    config = on_one_path(trainer, data, "1,0,0")
    run = trainer.run(tmp_path / "run", config | {"eval-interval": 1000}, check=False)
    seen, corpus = run.rows(), open_corpus(only_map(data, "train"))
    assert len(corpus) == 15
    np.testing.assert_array_equal(seen[:3].reshape(-1, SEQ + 1), corpus.rows(slice(0, 12)))
    if trainer.generation == "HEAD":
        assert run.returncode == 0, run.output[-3000:]
        np.testing.assert_array_equal(seen[3], corpus.rows(slice(0, 4)))
    else:
        assert run.returncode != 0 and "StopIteration" in run.output and len(seen) == 3


@pytest.mark.parametrize("trainer", ["HEAD", "v1.0", "2.x"], indirect=True)
def test_thousands_of_rows_equal_what_the_checkouts_own_data_sets_deliver(
    trainer: Trainer, tmp_path: Path
) -> None:
    """A data set alone, and a whole blend, to where some of its parts have begun again."""
    weights = [3, 1, 1, 5, 2.5]
    data = [small_data(trainer, tmp_path, 9000 + 5000 * seed, seed) for seed in range(len(weights))]
    settings = {
        "prefixes": list(map(str, data)),
        "weights": weights,
        "samples": 3000,
        "seq_length": SEQ,
        "seed": 7,
    }
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    words = [HERE / "dump_rows.py", tmp_path / "settings.json", tmp_path / "rows.npz"]
    script(trainer.home, words, tmp_path / "rows.log")
    delivered = np.load(tmp_path / "rows.npz")
    maps = [only_map(prefix, f"train_{k}") for k, prefix in enumerate(data)]

    corpus = open_corpus(maps[0])
    np.testing.assert_array_equal(corpus.rows(slice(None)), delivered["single"])
    parts = [Part(maps=path, weight=weight) for path, weight in zip(maps, weights)]
    blend = write_blend(tmp_path / "blend.json", parts, len(delivered["blend"]))
    assert len(blend) >= 3000
    part, index = blend.choices().span(0, len(blend))
    assert any(index[part == k].max() > len(blend.parts[k]) for k in range(len(parts)))
    np.testing.assert_array_equal(blend.rows(slice(None)), delivered["blend"])
    scattered = np.random.default_rng(0).permutation(len(blend))[:500]
    np.testing.assert_array_equal(blend.rows(scattered), delivered["blend"][scattered])
    with pytest.raises(CuratorError, match="where GPT-NeoX's blend ends"):
        write_blend(tmp_path / "longer.json", parts, len(blend) + 1)
