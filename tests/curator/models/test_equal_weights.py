"""Checkpoints with equal weights under different names are found, said, and no points of a curve."""

import shutil
from pathlib import Path

import pytest
import torch
from commands import done, refused
from commands import run as run_command
from engine_parts import random_model
from neox_checkpoints import SETTINGS, original, write
from safetensors.torch import load_file, save_file

from curator.artifacts.files import load_json
from curator.cli.doctor_checkpoints import checkpoint_checks
from curator.models.equal import equal_groups, points_of, same_weights, sampled_weights
from curator.models.listing import list_checkpoints
from curator.scan.scan import Scan

QKV = "gpt_neox.layers.1.attention.query_key_value.weight"


def save(folder: Path, seed: int) -> Path:
    random_model(seed=seed).float().save_pretrained(folder)
    return folder


def groups(run: Path) -> list[list[int]]:
    return equal_groups(list_checkpoints(run))


def scan(run: Path, out: Path) -> str:
    """What a scan says beside its results."""
    words = ["scan", "--checkpoints", run, "--out", out, "--sequences", 4, "--probe-ids", "all"]
    result = run_command(*words)
    assert result.code == 0, result.err
    return " ".join(result.err.split())


def test_three_names_of_one_checkpoint_are_no_points_of_a_curve(tmp_path: Path) -> None:
    """The weights are saved again under the other names, beside another file: not the files are equal."""
    run = tmp_path / "run"
    for step, seed in ((0, 7), (50, 1), (100, 7), (150, 2), (200, 7)):
        save(run / f"step{step}", seed)
    tensors = load_file(run / "step100" / "model.safetensors")
    save_file(
        dict(reversed(tensors.items())),
        run / "step100" / "model.safetensors",
        {"step": "100", "format": "pt"},
    )
    config = run / "step200" / "config.json"
    config.write_text(config.read_text().replace("{", '{"_name_or_path": "elsewhere",', 1))
    assert groups(run) == [[0, 100, 200]]
    said = scan(run, tmp_path / "scan")
    for words in (
        f"{run}: steps 0, 100 and 200 have equal weights under different names, of which at most one is right",
        "3 of 5 checkpoints are no points of a curve",
    ):
        assert words in said
    found = load_json(tmp_path / "scan" / "scan.json")
    assert (found["steps"], found["equal_weights"], found["left_out"]) == (
        [50, 150],
        [[0, 100, 200]],
        [0, 100, 200],
    )
    assert len(found["fingerprints"]) == 2 and Scan.open(tmp_path / "scan").curve("induction:0.0").shape == (
        2,
    )
    shutil.rmtree(run / "step0")
    shutil.rmtree(run / "step200")
    scan(run, tmp_path / "scan")
    assert load_json(tmp_path / "scan" / "scan.json")["steps"] == [50, 100, 150]


def test_the_first_steps_may_be_equal_and_stay(tmp_path: Path) -> None:
    for step, seed in ((0, 7), (1, 7), (10, 1)):
        save(tmp_path / "run" / f"step{step}", seed)
    said = scan(tmp_path / "run", tmp_path / "scan")
    assert "steps 0 and 1 have equal weights, as they may" in said and "learning rate of 0" in said
    found = load_json(tmp_path / "scan" / "scan.json")
    assert (found["steps"], found["equal_weights"], found["left_out"]) == ([0, 1, 10], [[0, 1]], [])


def test_which_steps_are_points() -> None:
    assert points_of([0, 1, 2, 4], [[0, 1, 2]])[0] == [0, 1, 2, 4]
    assert points_of([0, 1, 2, 4], [[0, 1, 4]])[0] == [2], (
        "a later one says that a name is wrong, maybe the first"
    )
    points, lines = points_of([0, 1, 5, 6, 7, 8], [[5, 7], [6, 8]])
    assert points == [0, 1] and len(lines) == 3
    assert points_of([3, 4], []) == ([3, 4], [])


def test_a_run_of_equal_checkpoints_alone_is_refused(tmp_path: Path) -> None:
    for step in (0, 100):
        save(tmp_path / "run" / f"step{step}", 7)
    words = ["scan", "--checkpoints", tmp_path / "run", "--out", tmp_path / "scan", "--sequences", 4]
    assert "no checkpoint is left" in refused(1, *words)


def test_one_number_that_no_sample_sees_makes_another_checkpoint(tmp_path: Path) -> None:
    """Zeros of both signs are one number; a value in a row between those that are sampled is not."""
    run = tmp_path / "run"
    for step in (10, 20, 30):
        save(run / f"step{step}", 7)
    for step, value in ((10, 0.0), (20, -0.0), (30, 1e-30)):
        file = run / f"step{step}" / "model.safetensors"
        tensors = load_file(file)
        tensors[QKV][1, 2] = value
        save_file(tensors, file, {"format": "pt"})
    paths = [path for _, path in list_checkpoints(run)]
    assert len({sampled_weights(path) for path in paths}) == 1, "the sample does not see it"
    assert same_weights(*paths[:2]) and not same_weights(*paths[1:])
    assert groups(run) == [[10, 20]]


@pytest.mark.parametrize(
    "layout", [{}, {"pipeline": True}, {"shards": 2}, {"pipeline": True, "half": True}], ids=str
)
def test_gpt_neox_checkpoints_are_compared_by_their_weights(tmp_path: Path, layout: dict[str, bool]) -> None:
    """The step and the random state that lie beside them differ."""
    other = original()
    with torch.no_grad():
        other.gpt_neox.layers[1].attention.dense.weight[3, 3] += 0.25
    for step, model in ((5, original()), (8, original()), (9, other)):
        write(tmp_path / f"global_step{step}", model, settings=SETTINGS, step=step, **layout)
    assert groups(tmp_path) == [[5, 8]]


def test_numbers_are_compared_and_not_how_they_are_stored(tmp_path: Path) -> None:
    half = random_model(seed=7).half()
    half.save_pretrained(tmp_path / "step10")
    half.float().save_pretrained(tmp_path / "step20")
    random_model(seed=7).float().save_pretrained(tmp_path / "step30")
    assert groups(tmp_path) == [[10, 20]]


def test_doctor_looks_at_a_folder_of_checkpoints(tmp_path: Path) -> None:
    run = tmp_path / "run"
    for step, seed in ((0, 7), (1, 7), (50, 1), (100, 2), (200, 2)):
        save(run / f"step{step}", seed)

    found = list(checkpoint_checks(run))
    assert [check.status for check in found] == ["ok", "ok", "warning"]
    assert "5, steps 0 to 200, 3 of them points of a curve" in found[0].detail
    assert "steps 0 and 1 have equal weights, as they may" in found[1].detail and not found[1].how_to_get
    assert "steps 100 and 200 have equal weights under different names" in found[2].detail
    assert "move the wrong ones away" in found[2].how_to_get
    said = done("doctor", "--checkpoints", run)
    assert found[2].how_to_get in said and said.count("equal weights") >= 3
    shutil.rmtree(run / "step200")
    assert [check.status for check in checkpoint_checks(run)] == ["ok", "ok"]
    for folder, words in ((tmp_path / "nowhere", "no such folder"), (tmp_path, ": 0, 0 of them")):
        (check,) = checkpoint_checks(folder)
        assert check.status == "missing" and words in check.detail and check.how_to_get
