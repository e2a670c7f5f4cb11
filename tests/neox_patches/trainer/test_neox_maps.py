"""Every linear map of a layer is emitted, whatever a unit is: the trainer asks for maps, never for heads."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from emitted import emitted_sum, parameter_grad
from neox_runs import MICRO, SEQ, Trainer

from curator.influence.emission import Emission

UNITS = '''"""Units of a test: a neuron, a run of neurons, and scattered entries of every map."""

from dataclasses import dataclass

from curator.units import Block, Unit, register


@dataclass(frozen=True)
class Addressed(Unit):
    layer: int
    number: int

    @property
    def name(self):
        return f"{self.kind}:{self.layer}.{self.number}"

    @classmethod
    def parse(cls, address, model):
        layer, number = address.split(".")
        return [cls(int(layer), int(number))]

    def metric(self, model, sequences):
        raise NotImplementedError

    probe = metric


@register
class Neuron(Addressed):
    kind = "test-neuron"

    def subspace(self, model):
        mlp = f"{model.base_model_prefix}.layers.{self.layer}.mlp"
        own, everything = range(self.number, self.number + 1), range(model.config.hidden_size)
        return [
            Block("in", f"{mlp}.dense_h_to_4h", everything, own),
            Block("out", f"{mlp}.dense_4h_to_h", own, everything),
        ]


@register
class Scattered(Addressed):
    kind = "test-scattered"

    def subspace(self, model):
        layer, some = f"{model.base_model_prefix}.layers.{self.layer}", (1, 4, 30)
        last = model.config.intermediate_size - 1
        return [
            Block("up", f"{layer}.mlp.dense_h_to_4h", some, (last - 9, last)),
            Block("down", f"{layer}.mlp.dense_4h_to_h", (last - 9, last), some),
            Block("qkv", f"{layer}.attention.query_key_value", some, tuple(range(self.number, 20, 3))),
        ]
'''


def emitted(trainer: Trainer, folder: Path, units: list[str], **options: Any) -> tuple[Emission, Any]:
    """The emission of the second step, and the run that has the parameters' own gradients."""
    (folder / "own.py").write_text(UNITS)
    emit = {"out": str(folder / "emitted"), "steps": [1], "units": units, "gradients": {}, "factors": {}}
    emit["unit_modules"] = [str(folder / "own.py")]
    config = trainer.config(train_iters=2, gradient_clipping=1e9, **options.pop("config", {}))
    run = trainer.run(folder / "run", config, {"emit": emit}, grad_steps=[1], **options)
    return Emission.open(folder / "emitted"), run


def off(emission: Emission, label: str, expected: np.ndarray) -> float:
    """How far the sum of a block's emitted gradients is from the parameter's, relative."""
    found = emitted_sum(emission, label, 1) / (MICRO * SEQ)
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def test_sum_of_emitted_gradients_of_an_mlp_is_the_parameters_gradient(
    trainer: Trainer, tmp_path: Path
) -> None:
    units = ["test-neuron:1.5", "test-neuron:0.127", "test-scattered:1.2", "duplicate-token:1.3"]
    emission, run = emitted(trainer, tmp_path, units)
    names = ("linear1", "linear2") if trainer.generation == "HEAD" else ("dense_h_to_4h", "dense_4h_to_h")
    grads = run.grads()
    for layer, neuron in ((1, 5), (0, 127)):
        up, down = (parameter_grad(grads, 1, layer, name, "mlp") for name in names)
        assert up.shape == (128, 32) and down.shape == (32, 128)
        assert off(emission, f"test-neuron:{layer}.{neuron}/in", up[[neuron]].T) < 1e-5
        assert off(emission, f"test-neuron:{layer}.{neuron}/out", down[:, [neuron]].T) < 1e-5
    up, down = (parameter_grad(grads, 1, 1, name, "mlp") for name in names)
    qkv, some = parameter_grad(grads, 1, 1, "query_key_value"), [1, 4, 30]
    assert off(emission, "test-scattered:1.2/up", up[[118, 127]][:, some].T) < 1e-5
    assert off(emission, "test-scattered:1.2/down", down[some][:, [118, 127]].T) < 1e-5
    assert off(emission, "test-scattered:1.2/qkv", qkv[range(2, 20, 3)][:, some].T) < 1e-5
    assert off(emission, "duplicate-token:1.3/qk", qkv[72:88].T) < 1e-5


@pytest.mark.parametrize("sequence_parallel", [False, True])
def test_tensor_parallel_ranks_emit_the_neurons_that_they_hold(
    head: Trainer, tmp_path: Path, sequence_parallel: bool
) -> None:
    """Of 128 neurons, rank 0 holds the first 64: columns of the first map, rows of the second."""
    config = {"model-parallel-size": 2, "sequence_parallel": sequence_parallel}
    neurons = {0: 5, 1: 70}
    units = [f"test-neuron:1.{neuron}" for neuron in neurons.values()]
    emission, run = emitted(head, tmp_path, units, config=config, ranks=2)
    for rank, neuron in neurons.items():
        assert [entry["label"] for entry in emission.ranks[rank].blocks] == [
            f"test-neuron:1.{neuron}/{block}" for block in ("in", "out")
        ]
        up, down = (parameter_grad(run.grads(rank), 1, 1, name, "mlp") for name in ("linear1", "linear2"))
        here = neuron - 64 * rank
        assert up.shape == (64, 32) and down.shape == (32, 64)
        assert off(emission, f"test-neuron:1.{neuron}/in", up[[here]].T) < 1e-5
        assert off(emission, f"test-neuron:1.{neuron}/out", down[:, [here]].T) < 1e-5
