"""configs/neox: the real GPT-NeoX takes every file as it is, derives Pythia's settings from it, and trains."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from neox_runs import HERE, ROOT, Trainer, script

from curator.cli.schedule import as_yaml, dense_steps

CONFIGS = ROOT / "configs" / "neox"
PYTHIA = {
    # layers, width, heads, learning rate, pipeline engine, ZeRO stage
    "pythia-14m": (6, 128, 4, 1e-3, False, 1),
    "pythia-31m": (6, 256, 8, 1e-3, False, 1),
    "pythia-70m": (6, 512, 8, 1e-3, True, 1),
    "pythia-160m": (12, 768, 12, 6e-4, True, 1),
}
SIZE_KEYS = {"num_layers", "hidden_size", "num_attention_heads", "attention_config", "optimizer", "min_lr"}
ENGINE_KEYS = {"pipe_parallel_size", "zero_optimization", "checkpoint_activations", "checkpoint_num_layers"}
ON_CPU: dict[str, Any] = {"distributed_backend": "gloo", "num_workers": 0, "fp16": None, "precision": "fp32"}


def read(name: str) -> dict[str, Any]:
    return yaml.safe_load((CONFIGS / f"{name}.yml").read_text())


def derive(
    trainer: Trainer, folder: Path, jobs: dict[str, tuple[list[str | Path], int]]
) -> dict[str, dict[str, Any]]:
    """Name of a job -> what the checkout makes of its files and data.yml on so many GPUs; one process for all."""
    described = [
        {
            "files": [
                str(CONFIGS / f"{file}.yml" if isinstance(file, str) else file) for file in (*files, "data")
            ],
            "overwrite": {"global_num_gpus": gpus},
        }
        for files, gpus in jobs.values()
    ]
    (folder / "jobs.json").write_text(json.dumps(described))
    said = script(trainer.home, [HERE / "derive.py", folder / "jobs.json"], folder / "derive.log")
    lines = [line.removeprefix("derived:") for line in said.splitlines() if line.startswith("derived:")]
    assert len(lines) == len(jobs), said
    return dict(zip(jobs, map(json.loads, lines)))


def test_every_config_is_accepted_and_gives_pythias_settings(trainer: Trainer, tmp_path: Path) -> None:
    jobs = {f"{name} {gpus}": ([name, "schedule"], gpus) for name in PYTHIA for gpus in (1, 8, 32)}
    jobs |= {f"{name} {gpus}": ([name], gpus) for name in ("tiny", "smoke") for gpus in (1, 8)}
    derived = derive(trainer, tmp_path, jobs)
    for name, (layers, width, heads, lr, pipeline, stage) in PYTHIA.items():
        for gpus, accumulation in ((1, 32), (8, 4), (32, 1)):
            made = derived[f"{name} {gpus}"]
            assert made["train_batch_size"] == 1024
            assert made["train_micro_batch_size_per_gpu"] == 32
            assert made["gradient_accumulation_steps"] == accumulation
            assert made["is_pipe_parallel"] is pipeline and made["zero_stage"] == stage
            assert made["checkpoint_activations"] is pipeline
            assert (made["num_layers"], made["hidden_size"], made["num_attention_heads"]) == (
                layers,
                width,
                heads,
            )
            assert made["seq_length"] == 2048 and made["attention_config"] == ["flash"] * layers
            assert made["precision"] == "fp16" and made["dynamic_loss_scale"]
            assert (made["lr"], made["min_lr"]) == (pytest.approx(lr), pytest.approx(lr / 10))
            assert (made["seed"], made["train_iters"], made["clip_grad"]) == (1234, 143000, 1.0)
            assert made["checkpoint_factor"] == 1000
            assert made["extra_save_iters"] == [0, *(2**power for power in range(10))]
            told = made["deepspeed_config"]
            assert told["steps_per_print"] == 100, "DeepSpeed's pipeline engine fails without"
            assert told.get("gradient_clipping", 1.0) == 1.0
            assert "fp16" not in told["fp16"] and told["fp16"]["initial_scale_power"] == 12
    for gpus in (1, 8):
        assert derived[f"tiny {gpus}"]["train_batch_size"] == 4 * gpus
        assert derived[f"tiny {gpus}"]["precision"] == "fp32"
        assert derived[f"smoke {gpus}"]["train_batch_size"] == 16 * gpus
        assert derived[f"smoke {gpus}"]["precision"] == "fp16"


def test_a_dense_schedule_takes_the_place_of_pythias(trainer: Trainer, tmp_path: Path) -> None:
    """What `curator schedule` writes is GPT-NeoX's own key, and the trainer takes it."""
    (tmp_path / "dense.yml").write_text(as_yaml(dense_steps((700, 800), 40, (0, 1))))
    made = derive(trainer, tmp_path, {"dense": (["pythia-14m", tmp_path / "dense.yml"], 1)})["dense"]
    assert made["extra_save_iters"] == [0, 1, 700, 740, 780, 800] and made["checkpoint_factor"] == 1000


def test_the_sizes_differ_in_nothing_but_their_size_and_engine() -> None:
    shared = []
    for name in PYTHIA:
        config = read(name)
        assert config["optimizer"]["params"].keys() == {"lr", "betas", "eps"}
        config["optimizer"]["params"].pop("lr")
        shared.append(
            {
                key: value
                for key, value in config.items()
                if key not in (SIZE_KEYS - {"optimizer"}) | ENGINE_KEYS
            }
        )
    assert all(config == shared[0] for config in shared) and len(shared[0]) > 25


def test_smoke_has_the_shape_of_pythia_14m() -> None:
    smoke, pythia = read("smoke"), read("pythia-14m")
    run = {"train_iters", "lr_decay_iters", "warmup", "seq_length", "max_position_embeddings"}
    batch = {"train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps"}
    writes = {"extra_save_iters", "checkpoint_factor", "eval_interval", "eval_iters", "log_interval"}
    differing = {key for key in smoke.keys() | pythia.keys() if smoke.get(key) != pythia.get(key)}
    assert differing <= run | batch | writes and smoke["seq_length"] == 256


def test_no_key_stands_in_a_config_and_in_data_yml_and_none_has_a_hyphen() -> None:
    data = read("data")
    assert data.keys() == {
        "train_data_paths",
        "valid_data_paths",
        "test_data_paths",
        "vocab_file",
        "save",
        "load",
    }
    for path in CONFIGS.glob("*.yml"):
        keys = yaml.safe_load(path.read_text()).keys()
        assert not any("-" in key for key in keys), (
            "GPT-NeoX does not see a key repeated in its other spelling"
        )
        assert path.name == "data.yml" or not keys & data.keys()


def test_no_config_holds_a_path_of_a_machine() -> None:
    files = sorted(CONFIGS.glob("*.yml"))
    assert len(files) == 8
    for path in files:
        text = path.read_text()
        assert not re.search(r"""(?:^|[\s"'\[(=:])(?:/|~|[A-Za-z]:\\)\w""", text, re.MULTILINE), path.name


def train(trainer: Trainer, tmp_path: Path, name: str, **changes: Any) -> dict[int, float]:
    """Step -> loss as GPT-NeoX logs it, of a run of configs/neox/``name``.yml with the harness' data."""
    paths = {f"{split}_data_paths": [str(trainer.data)] for split in ("train", "valid", "test")}
    save = str(tmp_path / "save")
    config = read(name) | paths | {"save": save, "load": save, "log_interval": 1} | changes
    run = trainer.run(tmp_path, config)
    found = re.findall(r"iteration\s+(\d+)/.*?lm_loss: ([0-9.E+-]+)", run.output)
    return {int(step): float(loss) for step, loss in found}


def test_tiny_trains_and_writes_its_checkpoints(trainer: Trainer, tmp_path: Path) -> None:
    losses = train(trainer, tmp_path, "tiny", train_iters=3, lr_decay_iters=3)
    assert list(losses) == [1, 2, 3]
    assert 5.5 < losses[1] < 6.8 and losses[3] < losses[1]  # ln 512 = 6.2
    steps = {path.name for path in (tmp_path / "save").glob("global_step*")}
    assert steps == {"global_step0", "global_step1", "global_step2", "global_step3"}


def test_the_shape_of_pythia_14m_trains(trainer: Trainer, tmp_path: Path) -> None:
    losses = train(
        trainer,
        tmp_path,
        "pythia-14m",
        **ON_CPU,
        tokenizer_type="CharLevelTokenizer",
        make_vocab_size_divisible_by=50304,  # as many rows as Pythia's embedding
        seq_length=64,
        max_position_embeddings=64,
        train_batch_size=2,
        train_micro_batch_size_per_gpu=1,
        train_iters=2,
        lr_decay_iters=2,
    )
    assert (
        list(losses) == [1, 2] and abs(losses[1] - 10.83) < 0.5
    )  # ln 50304, and a little of the random weights


def test_the_engine_of_pythia_70m_trains(trainer: Trainer, tmp_path: Path) -> None:
    """Pipeline engine, ZeRO-1 and activation checkpointing as the file has them, in a narrower model."""
    losses = train(
        trainer,
        tmp_path,
        "pythia-70m",
        **ON_CPU,
        tokenizer_type="CharLevelTokenizer",
        hidden_size=64,
        num_attention_heads=4,
        seq_length=64,
        max_position_embeddings=64,
        train_batch_size=4,
        train_micro_batch_size_per_gpu=2,
        train_iters=2,
        lr_decay_iters=2,
    )
    assert list(losses) == [1, 2]


def test_smoke_trains_evaluates_and_saves(trainer: Trainer, tmp_path: Path) -> None:
    losses = train(
        trainer,
        tmp_path,
        "smoke",
        **ON_CPU,
        tokenizer_type="CharLevelTokenizer",
        train_micro_batch_size_per_gpu=2,
        train_iters=2,
        lr_decay_iters=2,
        eval_interval=1,
    )
    assert list(losses) == [1, 2]
    assert "validation" in (tmp_path / "log-0.txt").read_text()
    assert {"global_step0", "global_step1"} <= {
        path.name for path in (tmp_path / "save").glob("global_step*")
    }
