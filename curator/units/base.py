"""A unit is a triple (paper, section 3.2): metric μ, parameter subspace π, probe f.

A new kind of unit is one small class with three methods, a name and a parser of names; scans, rankings and the trainer
read nothing else. Its subspace is a list of blocks, each one linear map of the model restricted to some inputs and
outputs. Which units a model has is asked of its `Architecture` alone, so that no weights are needed to name them.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from curator.artifacts.fields import PAPER, ProbeName
from curator.errors import UsageError
from curator.units.sequences import ProbeSettings, Sequences, draw_repeated

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Indices = range | tuple[int, ...]


@dataclass(frozen=True)
class Block:
    """One linear map ``y = W x`` restricted to some inputs (columns of W) and outputs (rows of W).

    Attributes:
        name: ``qk``, ``v``, ``o``; unique within its unit.
        module: dotted name of the ``nn.Linear`` in the model.
        inputs: which entries of x.
        outputs: which entries of y.
    """

    name: str
    module: str
    inputs: Indices
    outputs: Indices

    @property
    def key(self) -> tuple[str, Indices, Indices]:
        """What the block is, whatever it is called: blocks of two units may be the same."""
        return self.module, self.inputs, self.outputs

    @property
    def shape(self) -> tuple[int, int]:
        """(inputs, outputs): every matrix of a block is laid out like this."""
        return len(self.inputs), len(self.outputs)


def take(tensor: Tensor, indices: Indices) -> Tensor:
    """``tensor[..., indices]``; a view when the indices are a contiguous range."""
    if isinstance(indices, range) and indices.step == 1:
        return tensor[..., indices.start : indices.stop]
    return tensor[..., torch.as_tensor(list(indices), device=tensor.device)]


@dataclass(frozen=True)
class Architecture:
    """A model without its weights: what `Unit.parse`, `Unit.instances` and `Unit.subspace` may ask of one.

    Attributes:
        config: as Hugging Face's of GPT-NeoX has it: ``hidden_size``, ``intermediate_size``, ``num_hidden_layers``,
            ``num_attention_heads``.
        base_model_prefix: what names of its modules begin with.
    """

    config: Any
    base_model_prefix: str = "gpt_neox"


class Unit(ABC):
    """An interpretable component of a model.

    A kind defines ``kind``, `name`, `parse`, `metric`, `subspace` and `probe`. The rest has a default that is right for
    many; a kind that can measure all its units at once does so in `observe` and `metrics`.

    Attributes:
        kind: what comes before the colon in a unit's name.
    """

    kind: ClassVar[str]
    PROBES: ClassVar[Mapping[str, str]] = MappingProxyType({PAPER: "the kind's only one"})
    """Name -> what it asks, of the probes that this kind has."""
    DEFAULT: ClassVar[ProbeName] = PAPER
    """The one of them that is taken where nothing is said."""

    @property
    @abstractmethod
    def name(self) -> str:
        """``kind:address``, and ``:probe`` where that is not the paper's; parses back to this unit."""

    @classmethod
    @abstractmethod
    def parse(cls, address: str, model: "PreTrainedModel") -> "list[Unit]":
        """The units that ``address`` (what follows the colon; ``*`` means all) names in ``model`` or `Architecture`.

        Raises:
            UsageError: no such unit; the message lists what exists.
        """

    def with_probe(self, name: ProbeName) -> "Unit":
        """The same component, asked by another of `PROBES`.

        Raises:
            UsageError: this kind has no such probe; lists those it has.
        """
        if name not in self.PROBES:
            has = "; ".join(f"{known} ({says})" for known, says in self.PROBES.items())
            raise UsageError(f"{self.kind} has no probe '{name}'; it has {has}")
        return self

    @abstractmethod
    def metric(self, model: "PreTrainedModel", sequences: Sequences) -> float:
        """μ: how far the unit has formed."""

    @abstractmethod
    def subspace(self, model: "PreTrainedModel") -> list[Block]:
        """π: the unit's parameters in ``model``, or its `Architecture`."""

    @abstractmethod
    def probe(self, model: "PreTrainedModel", sequences: Sequences) -> Tensor:
        """f: a differentiable scalar; its sum over a sequence's scored positions, averaged over sequences."""

    @classmethod
    def probe_values(
        cls, units: "Sequence[Unit]", model: "PreTrainedModel", sequences: Sequences
    ) -> Sequence[float]:
        """The probe of each of ``units``, which are asked alike; equal to asking each, and by default just that."""
        with torch.no_grad():
            return [float(unit.probe(model, sequences)) for unit in units]

    def sequences(self, settings: ProbeSettings, vocab_size: int, max_length: int) -> Sequences:
        """The sequences that the probe is taken on: seeded, the same for every unit of a kind.

        By default two copies of random tokens. A kind that needs others draws them here, or takes them from
        ``settings.corpus`` (as trigger inputs), or writes them with ``settings.tokenizer``; both are None where they
        are not known. ``settings.ids``, where it is not None, are the ids of the vocabulary that stand for something;
        `draw_repeated` and `draw_random` heed it.
        """
        return draw_repeated(settings, vocab_size, max_length)

    # -- all units of a kind, for a scan --------------------------------------------------------------------

    @classmethod
    def instances(cls, model: "PreTrainedModel") -> "list[Unit]":
        """Every unit of this kind in ``model``, or its `Architecture`, in the order of a scan's numbers."""
        return cls.parse("*", model)

    @classmethod
    def metric_sequences(cls, settings: ProbeSettings, vocab_size: int, max_length: int) -> Sequences:
        """The sequences that a scan takes the metric on; by default two copies of random tokens. See `sequences`."""
        return draw_repeated(settings, vocab_size, max_length)

    @staticmethod
    def observe(model: "PreTrainedModel", sequences: Sequences) -> Any:
        """What `metrics` reads: by default the model itself, else what one pass of it gave.

        Kinds with the same function and the same sequences share one pass.
        """
        return model

    @classmethod
    def metrics(cls, units: "Sequence[Unit]", observed: Any, sequences: Sequences) -> Sequence[float]:
        """The metric of each of ``units``; equal to asking each `metric`, and by default just that."""
        return [unit.metric(observed, sequences) for unit in units]

    @classmethod
    def chance(cls, sequences: Sequences) -> float:
        """The metric of a unit without any preference; the thresholds of a scan lie well above it."""
        return 0.0
