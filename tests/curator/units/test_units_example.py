"""The example of docs/units.md is a whole kind of unit: measured by a scan, and with a probe that can be ranked by."""

import re
from pathlib import Path

import pytest
import torch
from engine_parts import ROOT, random_model

from curator.influence.probe_gradient import probe_gradient
from curator.scan.scan import scan_checkpoints
from curator.units import ProbeSettings, draw_repeated, kinds, load_unit_module, registry
from curator.units.base import take

EXAMPLE = ROOT / "docs" / "units.md"
FEW = ProbeSettings(sequences=4, min_length=3, max_length=6)


def test_the_example_of_the_page_on_units_is_scanned_and_has_a_gradient(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "_kinds", dict(registry._kinds))
    (code,) = re.findall(r"```python\n(.*?)```", EXAMPLE.read_text(), re.DOTALL)
    (tmp_path / "own.py").write_text(code)
    for step in (0, 10):
        random_model(seed=step).float().save_pretrained(tmp_path / "run" / f"step{step}")
    load_unit_module(tmp_path / "own.py")
    scan = scan_checkpoints(tmp_path / "run", tmp_path / "scan", kinds=["my-neuron"], settings=FEW)
    model = random_model(seed=10)
    sequences = draw_repeated(FEW, 61, 32)
    units = kinds()["my-neuron"].instances(model)
    assert len(scan.names["my-neuron"]) == len(units) == 3 * model.config.intermediate_size
    unit = units[len(units) // 2]
    assert scan.curve(unit.name)[1] == pytest.approx(unit.metric(model, sequences), rel=1e-4)

    value, gradients = probe_gradient(model, unit, sequences)
    assert value == pytest.approx(unit.metric(model, sequences), rel=1e-12)
    for block in unit.subspace(model):
        weight, gradient = model.get_parameter(f"{block.module}.weight"), gradients[block.name]
        own = take(take(weight, block.inputs).mT, block.outputs)
        step = 1e-6 * gradient / gradient.norm()
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                own.add_(step, alpha=sign)
                values.append(float(unit.probe(model, sequences)))
                own.sub_(step, alpha=sign)
        assert (values[0] - values[1]) / 2e-6 == pytest.approx(float(gradient.norm()), rel=1e-5)
