"""The library under the command line: what docs/api.md shows runs, prints nothing by itself, and stays light."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from engine_parts import GOLDEN, ROOT
from generator_folders import LINES, write_generators
from rank_runs import small_request

import curator
import synth
from curator.errors import CuratorError, UsageError
from curator.progress import Progress, reporting
from curator.ranking.ranking import Ranking
from curator.scan.formation import Thresholds

BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "api.md").read_text(), re.S)


@pytest.fixture(scope="module")
def notebook(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("notebook")
    (folder / "model").symlink_to(GOLDEN / "model")
    (folder / "rows.npy").symlink_to(GOLDEN / "rows.npy")
    return folder


def test_the_notebook_of_the_docs_runs(
    notebook: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(notebook)
    names: dict[str, object] = {}
    for block in BLOCKS:
        with reporting(Progress()):  # what the suite listens with is no part of a notebook
            exec(compile(block, "docs/api.md", "exec"), names)
    said = capsys.readouterr()
    assert len(BLOCKS) >= 7 and said.err == ""
    assert len(said.out.splitlines()) == 4  # what the notebook itself prints


def test_importing_the_packages_imports_neither_torch_nor_pydantic() -> None:
    code = "import sys, curator, synth; print({'torch', 'pydantic', 'numpy'} & sys.modules.keys())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'rnak'"):
        curator.rnak  # noqa: B018


def test_a_room_with_the_name_of_its_stage_is_called_as_the_stage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'checkpoints' is missing"):
        curator.scan(curator.ScanSettings())
    nowhere = {"out": tmp_path / "out"}
    with pytest.raises(CuratorError, match="nowhere: not a ranking"):
        synth.distill(synth.DistillSettings(ranking=tmp_path / "nowhere", **nowhere))
    with pytest.raises(CuratorError, match="no such registry"):
        synth.generate(synth.GenerateSettings(patterns=tmp_path / "nowhere", **nowhere))
    with pytest.raises(CuratorError, match="no generators there"):
        synth.render(synth.RenderSettings(generators=tmp_path / "nowhere", count=1, **nowhere))


def test_what_is_missing_or_not_allowed_is_an_error_and_no_exit(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'out' is missing"):
        curator.rank(small_request())
    with pytest.raises(UsageError, match="needs 'count' and 'out'"):
        synth.render(synth.RenderSettings(generators=write_generators(tmp_path, {"p001": LINES}).path))
    with pytest.raises(UsageError, match="the key 'ranking' is missing; expected a path"):
        synth.DistillSettings(out="patterns")
    with pytest.raises(UsageError, match=r"floor: 0\.0 is not allowed; expected a number above 0"):
        curator.RankSettings(floor=0.0)
    with pytest.raises(UsageError, match="modle: unknown field of RankSettings; did you mean 'model'"):
        curator.RankSettings(modle="x")  # type: ignore[call-arg]
    for name, says in (("alpha", r"settings\.changed\(alpha="), ("alpah", "did you mean 'alpha'")):
        with pytest.raises(UsageError, match=f"^{name}: .*{says}"):
            setattr(curator.RankSettings(), name, -1)
    with pytest.raises(UsageError, match=r"file\.yml:2: rank\.floor: 0\.0 is not allowed"):
        (tmp_path / "file.yml").write_text("rank:\n  floor: 0\n")
        curator.load_experiment(tmp_path / "file.yml")


def test_a_frame_has_a_row_per_sample_or_says_what_it_needs(
    whole: Ranking, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(CuratorError, match="needs pandas"):
        whole.to_frame()
    made = SimpleNamespace(
        DataFrame=lambda columns, index: (columns, index), Index=lambda values, name: values
    )
    monkeypatch.setitem(sys.modules, "pandas", made)
    columns, index = whole.to_frame()
    assert list(columns) == ["loss", *whole.units] and list(index) == list(whole.samples)
    assert list(columns[whole.units[1]]) == list(whole.unit_scores(whole.units[1]))


def test_plans_and_scans_are_frames_too(monkeypatch: pytest.MonkeyPatch) -> None:
    made = SimpleNamespace(
        DataFrame=lambda columns, index: (columns, index), Index=lambda values, name: (name, list(values))
    )
    monkeypatch.setitem(sys.modules, "pandas", made)
    plan, source = curator.Plan.identity(8, 4, "corpus").mask(np.array([2])).with_source("new", "rows", "fp")
    columns, index = plan.replace(np.array([5]), np.array([1]), source).to_frame()
    assert index == ("slot", list(range(8))) and columns["step"].tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert columns["sample"].tolist() == [0, 1, 2, 3, 4, 1, 6, 7]
    assert columns["weight"].tolist() == [1, 1, 0, 1, 1, 1, 1, 1]
    assert columns["source"].tolist() == [*["corpus"] * 5, "new", "corpus", "corpus"]
    values = np.arange(8.0).reshape(2, 2, 2)
    scan = curator.Scan(
        steps=np.array([0, 10]),
        values={"a": values},
        names={"a": ["a:0.0", "a:0.1", "a:1.0", "a:1.1"]},
        chance={"a": 0.0},
        thresholds=Thresholds(),
        manifest={},
    )
    columns, index = scan.to_frame()
    assert index == ("step", [0, 10]) and list(columns) == scan.names["a"]
    assert columns["a:1.0"].tolist() == [2.0, 6.0]


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: curator.rank(curator.RankSettings()), "'out' is missing: give 'out' or 'rank.out' in"),
        (
            lambda: curator.inject(curator.InjectSettings(out="x")),
            "say what to inject: 'ranking' RANKING with 'count'",
        ),
        (
            lambda: curator.statistics(
                curator.StatisticsSettings(corpus=GOLDEN / "rows.npy", statistics=["loss"], out="x")
            ),
            "Give 'model'",
        ),
        (
            lambda: curator.rank(curator.RankSettings(model="m", emitted="e", out="x"), worker=(1, 2)),
            "'emitted' needs no pass over the corpus: leave out 'worker'",
        ),
        (lambda: curator.RankSettings(preconditioner="identity", alpha=0.1), "'alpha' says nothing beside"),
        (
            lambda: synth.RenderSettings(generators="g", pad_id=3),
            "'pad_id' says nothing beside 'fill' packed",
        ),
        (
            lambda: synth.distill(synth.DistillSettings(ranking="nowhere", out="x")),
            "make one with `curator rank --out nowhere`",  # a command stays one
        ),
    ],
)
def test_errors_of_the_library_name_fields_and_no_flags(
    call: Callable[[], object], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CuratorError) as error:
        call()
    assert says in str(error.value)
    assert "--" not in re.sub("`[^`]*`", "", str(error.value))


def test_a_section_says_more_than_the_experiment(tmp_path: Path) -> None:
    """What several stages share is the experiment's, unless a section says it of its own; another's units are not."""
    (tmp_path / "file.yml").write_text(
        "dtype: float64\nunits: [a:0.0]\nprobe: {seed: 3}\nrank: {dtype: bfloat16}\nscan: {sequences: 7}\n"
    )
    study = curator.load_experiment(tmp_path / "file.yml")
    rank = study.stage("rank")
    assert (rank.dtype, rank.units, rank.probe.seed) == ("bfloat16", ("a:0.0",), 3)
    assert study.stage("mask").units == ()
    assert (study.stage("scan").drawn.seed, study.stage("scan").drawn.sequences) == (3, 7)


def test_a_notebook_completes_what_the_libraries_give() -> None:
    assert {"rank", "RankSettings", "statistics", "Ranking"} <= set(dir(curator))
    assert {"distill", "DistillSettings"} <= set(dir(synth))


def test_top_and_bottom_take_no_negative_number(whole: Ranking) -> None:
    for choose in (whole.top, whole.bottom):
        assert len(choose(0, whole.units[0])) == 0 and len(choose(None, whole.units[0])) == len(whole)
        with pytest.raises(UsageError, match="-1 samples asked for"):
            choose(-1, whole.units[0])
