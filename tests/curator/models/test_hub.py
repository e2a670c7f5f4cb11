"""Revisions of a hub model as checkpoints: the real huggingface_hub against a hub that serves folders."""

from pathlib import Path

import numpy as np
import pytest
from commands import done, refused, run
from engine_parts import random_model
from fake_hub import serve, use
from word_tokenizer import save_tokenizer

from curator.artifacts.files import load_json
from curator.errors import CuratorError, UsageError
from curator.models.hub import fetch, is_hub, list_revisions
from curator.settings import load_experiment


@pytest.fixture(scope="module")
def revisions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run of which some revisions are steps."""
    folder = tmp_path_factory.mktemp("hub")
    steps = {}
    for step in (0, 10, 20, 100):
        random_model(seed=step).float().save_pretrained(folder / f"step{step}")
        save_tokenizer(folder / f"step{step}")
        steps[f"step{step}"] = folder / f"step{step}"
    return {**steps, "main": steps["step100"], "step20-ema": steps["step20"]}


def few(*words: object) -> list[object]:
    return ["scan", *words, "--sequences", 4, "--kind", "induction"]


def test_a_range_of_revisions_is_scanned_as_a_folder_is(
    revisions: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And again without network, from the cache; the tokenizer comes with the revision."""
    with serve("org/tiny", revisions) as (address, asked):
        use(monkeypatch, address, tmp_path / "cache")
        done(*few("--checkpoints", "org/tiny@step10..step99", "--out", tmp_path / "hub"))
        weights = [path for path in asked if path.startswith("GET") and path.endswith("model.safetensors")]
        assert len(weights) == 2 and not any("step0" in path or "step100" in path for path in asked)
    (tmp_path / "run").mkdir()
    for step in (10, 20):
        (tmp_path / "run" / f"checkpoint-{step}").symlink_to(
            revisions[f"step{step}"]
        )  # as the Trainer names them
    done(*few("--checkpoints", tmp_path / "run", "--out", tmp_path / "folder"))
    of_hub, of_folder = (load_json(tmp_path / name / "scan.json") for name in ("hub", "folder"))
    assert of_hub["steps"] == of_folder["steps"] == [10, 20]
    assert of_hub["checkpoints"] == "org/tiny@step10..step99"
    assert of_hub["probe_ids"]["source"] == of_folder["probe_ids"]["source"] == "tokenizer"
    values = [np.load(tmp_path / name / "metrics-induction.npy") for name in ("hub", "folder")]
    np.testing.assert_array_equal(*values)

    use(monkeypatch, address, tmp_path / "cache", offline=True)
    done(*few("--checkpoints", "org/tiny@step0..step1000", "--out", tmp_path / "offline"))
    assert load_json(tmp_path / "offline" / "scan.json")["steps"] == [10, 20], "those that were fetched"


def test_grids_and_names_need_no_list(
    revisions: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert list_revisions("org/tiny@step0,step10..step30:10") == [
        (0, "org/tiny@step0"),
        (10, "org/tiny@step10"),
        (20, "org/tiny@step20"),
        (30, "org/tiny@step30"),
    ]
    with serve("org/tiny", revisions, lists=False) as (address, asked):
        use(monkeypatch, address, tmp_path / "cache")
        done(*few("--checkpoints", "org/tiny@step100, step0..step10:10", "--out", tmp_path / "scan"))
        assert load_json(tmp_path / "scan" / "scan.json")["steps"] == [0, 10, 100]
        assert not any(path.endswith("/refs") for path in asked)
        said = refused(1, *few("--checkpoints", "org/tiny@step0..step10", "--out", tmp_path / "no"))
        assert (
            "the revisions of org/tiny cannot be listed (404" in said and "..step2000:100 for every" in said
        )
        with pytest.raises(CuratorError, match="org/tiny at revision step30 cannot be fetched: 404"):
            fetch("org/tiny@step30")


def test_what_names_no_revisions_is_refused(
    revisions: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve("org/tiny", revisions) as (address, _):
        use(monkeypatch, address, tmp_path / "cache")
        with pytest.raises(
            CuratorError, match="no revision from step30 to step90; there are step0 to step100, 4 of"
        ):
            list_revisions("org/tiny@step30..step90")
        with pytest.raises(
            CuratorError, match="no revision from stage1 to stage2; there are none named stageN"
        ):
            list_revisions("org/tiny@stage1..stage2")
    for wrong in (
        "org/tiny@step9..step3",
        "org/tiny@step1..epoch2",
        "org/tiny@step1..step9:0",
        "org/tiny@main",
        "a@step1",
    ):
        with pytest.raises(UsageError, match="owner/name@step0"):
            list_revisions(f"org/tiny@{wrong}")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "org" / "tiny@step1").mkdir(parents=True)
    assert is_hub("org/tiny@step2") and not is_hub("org/tiny@step1") and not is_hub("runs/baseline")


def test_an_experiment_file_may_name_revisions_or_a_folder_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "study.yml"
    for written, read in (
        ("org/tiny@step1..step9", "org/tiny@step1..step9"),
        ("runs/baseline", str(tmp_path / "runs" / "baseline")),
        ("here/a@b", str(tmp_path / "here" / "a@b")),
    ):
        (tmp_path / "here" / "a@b").mkdir(parents=True, exist_ok=True)
        file.write_text(f"checkpoints: {written}\nscan: {{checkpoints: {written}}}\n")
        experiment = load_experiment(file)
        assert experiment.checkpoints == experiment.scan.checkpoints == read
    file.write_text("checkpoints: ''\n")
    with pytest.raises(UsageError, match="checkpoints: '' is not allowed; expected a folder, or revisions"):
        load_experiment(file)


@pytest.mark.parametrize(
    "spec", ["org/away@step1..step2", "org/away@step1,step2", "org/away@step0..step9:3"], ids=str
)
def test_a_hub_that_cannot_be_reached_is_said_in_one_line(
    spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, "http://127.0.0.1:9", tmp_path / "cache")
    monkeypatch.setenv("NO_PROXY", "*")
    ended = run("scan", "--checkpoints", spec, "--out", tmp_path / "scan")
    assert ended.code == 1 and "Traceback" not in ended.err
    last = ended.err.strip().splitlines()[-1]
    assert last.startswith("error: org/away@step") and "cannot be" in last
