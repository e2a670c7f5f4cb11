"""`curator curves`: the numbers of checkpoints, each equal to its plain way, in one table, and none measured twice."""

from pathlib import Path
from typing import Any

import neox_checkpoints
import numpy as np
import pytest
import torch
from commands import done, refused
from engine_parts import GOLDEN, random_model

import curator
from curator.artifacts.tables import load_table
from curator.errors import CuratorError, UsageError
from curator.evaluate import stage
from curator.evaluate.ablation import contributions, draw_copy_task
from curator.evaluate.losses import icl_score, token_losses
from curator.evaluate.settings import CurvesSettings
from curator.evaluate.table import COLUMNS
from curator.models import load_model
from curator.scan.scan import scan_checkpoints
from curator.units import ProbeSettings, load_sequences, parse_units

ALL = ("metric", "probe", "ablation", "icl", "loss")
FEW = {"sequences": 5, "min_length": 3, "max_length": 6}
UNITS = (
    "induction:*:paper",
    "induction:*:attention",
    "induction:*:gain",
    "previous-token:*",
    "duplicate-token:1.*",
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """a/step0, a/step20 and b/step20 of a small shape, and rows.npy."""
    folder = tmp_path_factory.mktemp("runs")
    for seed, place in enumerate(("a/step0", "a/step20", "b/step20")):
        random_model(seed=seed).float().save_pretrained(folder / place)
    rows = np.random.default_rng(0).integers(0, 61, (40, 25)).astype(np.uint16)
    np.save(folder / "rows.npy", rows)
    return folder


def asked(place: Path, out: Path, **changes: Any) -> CurvesSettings:
    settings: dict[str, Any] = {
        "runs": (str(place / "a"), str(place / "b")),
        "measure": ALL,
        "units": UNITS,
        "corpus": place / "rows.npy",
        "held_out": (10, 40),
        "held_out_rows": 8,
        "probe": curator.Probe(**FEW),
        "batch_size": 4,
        "out": out,
    }
    return CurvesSettings(**settings | changes)


def values(file: Path) -> dict[tuple[str, int, str, str], float]:
    columns, _ = load_table(file)
    assert tuple(columns) == COLUMNS
    keys = zip(*(columns[name] for name in ("arm", "step", "quantity", "unit")))
    return dict(zip(keys, columns["value"], strict=True))


def test_every_number_is_what_its_plain_way_gives(runs: Path, tmp_path: Path) -> None:
    file = curator.curves(asked(runs, tmp_path / "out"))
    found = values(file)
    assert {(arm, step) for arm, step, _, _ in found} == {("a", 0), ("a", 20), ("b", 20)}
    scan = scan_checkpoints(
        runs / "a", tmp_path / "scan", settings=ProbeSettings(**FEW), corpus=runs / "rows.npy"
    )
    for kind, names in scan.names.items():
        for name in names:
            assert [found["a", step, "metric", name] for step in (0, 20)] == scan.curve(name).tolist(), kind
    settings = ProbeSettings(**FEW, corpus=runs / "rows.npy")
    corpus = torch.from_numpy(np.load(runs / "rows.npy").astype(np.int64))
    held_out = corpus[10:40][np.linspace(0, 29, 8).astype(int)]
    for arm, step in (("a", 20), ("b", 20)):
        model = load_model(runs / arm / f"step{step}")
        units = parse_units(UNITS, model)
        assert len(units) == 4 * 9 + 3
        for unit in units:
            plain = float(unit.probe(model, unit.sequences(settings, 61, 32)))
            assert found[arm, step, "probe", unit.name] == pytest.approx(plain, rel=1e-5)
        task = draw_copy_task(settings, 61, 32)
        for name, by in zip(("ablation", "ablation_logit"), contributions(model, task)):
            assert [
                found[arm, step, name, f"induction:{n // 3}.{n % 3}"] for n in range(9)
            ] == by.flatten().tolist()
        losses = token_losses(model, held_out)
        assert found[arm, step, "loss", ""] == float(losses.mean())
        assert found[arm, step, "icl", ""] == icl_score(losses)
    columns, about = load_table(file)
    assert about["icl"] == {"late": 23, "early": 2, "rows": 8, "of": "held-out rows"}
    assert set(columns["tokens"]) == {0, 20 * 4 * 24} and set(columns["study"]) == {None}
    assert about["quantities"].keys() == set(columns["quantity"])


def test_nothing_is_measured_twice_unless_something_else_is_asked(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, loaded = tmp_path / "out", []

    def load(path: Path, *more: Any) -> Any:
        loaded.append(path.name)
        return load_model(path, *more)

    monkeypatch.setattr(stage, "load_model", load)
    first = asked(runs, out, measure=("loss",), runs=(str(runs / "a"),))
    before = values(stage.curves(first))
    assert loaded == ["step0", "step20"] and values(stage.curves(first)) == before and len(loaded) == 2
    stage.curves(first.changed(held_out=(0, 30)))
    assert len(loaded) == 4
    (out / "checkpoints" / "a" / "step0.json").unlink()
    assert values(stage.curves(first.changed(held_out=(0, 30)))).keys() == before.keys()
    assert loaded[4:] == ["step0"]
    stage.curves(asked(runs, out, measure=("loss",), held_out=(0, 30)))
    assert loaded[5:] == ["step20"], "another run beside it"


def test_given_probe_tokens_are_what_probes_are_asked_on(runs: Path, tmp_path: Path) -> None:
    tokens = np.array([[1, 2, 3, 1, 2, 3], [5, 4, 5, 4, 5, 4]])
    np.save(tmp_path / "tokens.npy", tokens)
    probe = curator.Probe(tokens=tmp_path / "tokens.npy")
    settings = asked(runs, tmp_path / "out", measure=("probe",), probe=probe, units=("induction:1.2",))
    found = values(curator.curves(settings))
    model = load_model(runs / "b" / "step20")
    [unit] = parse_units(["induction:1.2"], model, "paper")
    plain = float(unit.probe(model, load_sequences(tmp_path / "tokens.npy", 61)))
    assert found["b", 20, "probe", "induction:1.2"] == pytest.approx(plain, rel=1e-6)


def test_a_checkpoint_of_gpt_neox_gives_what_its_export_gives(tmp_path: Path) -> None:
    model = neox_checkpoints.original()
    neox_checkpoints.write(
        tmp_path / "neox" / "global_step5", model, settings=neox_checkpoints.SETTINGS, shards=2
    )
    load_model(tmp_path / "neox" / "global_step5").save_pretrained(tmp_path / "hf" / "step5")
    both = (str(tmp_path / "neox"), str(tmp_path / "hf"))
    found = values(
        curator.curves(
            CurvesSettings(
                runs=both,
                measure=("metric", "probe", "ablation"),
                probe=curator.Probe(name="paper", **FEW),
                out=tmp_path / "o",
            )
        )
    )
    ours, theirs = ({key[1:]: v for key, v in found.items() if key[0] == arm} for arm in ("neox", "hf"))
    assert ours == theirs and len(ours) > 4 * 4


def test_the_command_says_what_it_measured_and_what_is_missing(runs: Path, tmp_path: Path) -> None:
    words = ["curves", runs / "a", runs / "b", "--out", tmp_path / "out", "--probe-sequences", 5]
    said = done(*words, "--measure", "metric", "--measure", "ablation")
    assert "a: ablation" in said and "b: metric" in said and "curves.parquet" in said
    assert "icl: no held-out rows are known" in refused(2, *words, "--measure", "icl")
    more = ["--measure", "loss", "--corpus", runs / "rows.npy", "--held-out"]
    assert "sample" in refused(1, *words, *more, "30:50")
    assert "each once" in refused(2, *words, "--measure", "icl", "--measure", "icl")
    assert "no checkpoints of steps 5 to 9" in refused(1, *words, "--steps", "5:10")
    with pytest.raises(UsageError, match="model of another shape than the first"):
        curator.curves(
            CurvesSettings(runs=(str(runs / "a"), str(tmp_golden(tmp_path))), out=tmp_path / "other")
        )


def tmp_golden(folder: Path) -> Path:
    (folder / "golden").mkdir()
    (folder / "golden" / "step7").symlink_to(GOLDEN / "model")
    return folder / "golden"


def test_a_number_that_is_none_is_refused(runs: Path, tmp_path: Path) -> None:
    model = random_model().float()
    model.gpt_neox.layers[2].attention.dense.weight.fill_(float("nan"))
    model.save_pretrained(tmp_path / "c" / "step3")
    with pytest.raises(CuratorError, match="step3: loss is not a finite number"):
        curator.curves(asked(runs, tmp_path / "out", runs=(str(tmp_path / "c"),), measure=("loss",)))
