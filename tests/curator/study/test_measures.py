"""What a study measures on the way is what its checkpoints give, and measuring changes nothing that is trained."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from engine_parts import ROOT

from curator.corpus import open_corpus
from curator.corpus.held_out import held_out_rows
from curator.errors import UsageError
from curator.evaluate.ablation import contributions, draw_copy_task
from curator.evaluate.losses import icl_score, token_losses
from curator.evaluate.table import named_in
from curator.models import load_model
from curator.ranking.queries import Queries
from curator.study.replicate import Replicate
from curator.study.result import Result
from curator.study.study import Study, load_study
from curator.units import ProbeSettings

MEASURE = ["metric", "probe", "ablation", "icl", "loss"]


def tiny(**changes: Any) -> dict[str, Any]:
    """The natural study without controls, so small that nothing forms."""
    study: dict[str, Any] = yaml.safe_load((ROOT / "configs" / "studies" / "natural.yml").read_text())
    sizes = {"d_model": 16, "d_mlp": 16, "seq_length": 32, "vocab_size": 300}
    study["train"] |= {**sizes, "steps": 60, "batch_size": 8, "warmup_steps": 5}
    study |= {
        "checkpoint_every": 10,
        "window": {"before": 20, "attribution": 0.001, "after": 20},
        "validation": None,
        "thresholds": [0.01],
        "measure_every": 10,
        "probes": ["gain", "paper"],
        "statistics": [],
        "rank": {"factor_samples": 60},
        "probe": {"max_length": 12, "sequences": 10},
        "arms": [{"name": "mask-first", "mask": "top"}],
    }
    return study | changes


def study_of(folder: Path, **changes: Any) -> Study:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tiny.yml").write_text(yaml.safe_dump(tiny(**changes)))
    return load_study(folder / "tiny.yml", Study)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    folder = tmp_path_factory.mktemp("measured")
    study = study_of(folder, measure=MEASURE, held_out_rows=6)
    prepared = Replicate(study, 0, folder / "seed0").prepare()
    return folder / "seed0", prepared.result


def test_each_quantity_is_that_of_the_checkpoint(measured: tuple[Path, Result]) -> None:
    folder, result = measured
    head = result.content["unit"]
    model = load_model(folder / "baseline" / "step20")
    at = result.content["curves"]["baseline"]["steps"].index(20)

    def value(quantity: str, unit: str = "") -> float:
        return float(result.curve("baseline", quantity, unit)[1][at])

    corpus = open_corpus(folder / "corpus")
    rows = torch.from_numpy(held_out_rows(corpus, 6, 0))  # type: ignore[arg-type]
    losses = token_losses(model, rows)
    assert value("loss") == pytest.approx(float(losses.mean()), rel=1e-6)
    assert value("icl") == pytest.approx(icl_score(losses), rel=1e-5)
    task = draw_copy_task(ProbeSettings(sequences=10, max_length=12), 300, 32)
    layer, which = result.content["layer"], result.content["head"]
    assert value("ablation", head) == pytest.approx(
        float(contributions(model, task)[0][layer, which]), abs=1e-6
    )
    named = named_in(result.content["curves"]["baseline"])
    kinds = {unit.partition(":")[0] for quantity, unit in named if quantity == "metric"}
    assert kinds == {"induction", "previous-token", "duplicate-token"}


def test_a_probe_is_the_one_that_the_ranking_asks(measured: tuple[Path, Result]) -> None:
    folder, result = measured
    step = result.content["attribution_step"]
    at = result.content["curves"]["baseline"]["steps"].index(step)
    probes = Queries.open(folder / "ranking").probe
    assert len(probes) == 2
    for unit, asked in probes.items():
        assert result.curve("baseline", "probe", unit)[1][at] == pytest.approx(asked, rel=1e-5)


def test_where_nothing_is_said_a_study_asks_by_copy_gain_in_ranking_and_curves(tmp_path: Path) -> None:
    study = study_of(tmp_path, probes=[], measure=["metric", "probe"])
    result = Replicate(study, 0, tmp_path / "seed0").prepare().result
    asked = f"{result.content['unit']}:gain"
    assert Queries.open(tmp_path / "seed0" / "ranking").probe.keys() == {asked} == {result.content["ranked"]}
    assert len(result.curve("baseline", "probe", asked)[1]) > 1


def test_measuring_more_trains_the_same_and_is_another_study(
    measured: tuple[Path, Result], tmp_path: Path
) -> None:
    folder, result = measured
    plain = study_of(tmp_path)
    replicate = Replicate(plain, 0, tmp_path / "seed0")
    curves = replicate.train(open_corpus(folder / "corpus"), "baseline", None)
    ours = result.content["curves"]["baseline"]
    assert (
        curves["scores"] == ours["scores"] and curves["copy_log_probability"] == ours["copy_log_probability"]
    )
    assert set(curves["quantities"]) == {"metric"}
    losses = (np.load(place / "baseline" / "losses.npy") for place in (folder, tmp_path / "seed0"))
    assert np.array_equal(*losses, equal_nan=True)  # it ends where its window does
    assert (
        "measure" not in plain.decided()
        and plain.decided() == study_of(tmp_path, measure=["metric"]).decided()
    )
    assert study_of(tmp_path, measure=["loss"]).decided()["measure"] == ["loss"]


def test_a_study_that_measures_nothing_or_what_there_is_not_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'measure' names some quantities, each once"):
        study_of(tmp_path, measure=[])
    with pytest.raises(UsageError, match=r"measure\[0\]: unknown value 'metrics'; did you mean 'metric'"):
        study_of(tmp_path, measure=["metrics"])
