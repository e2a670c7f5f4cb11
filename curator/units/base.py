"""A unit is a triple (paper, section 3.2): metric μ, parameter subspace π, probe f.

A new kind of unit is one small class with three methods; the engine reads nothing else. Its subspace is a
list of blocks, each one linear map of the model restricted to some inputs and outputs.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

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


class Unit(ABC):
    """An interpretable component of a model.

    Attributes:
        kind: what comes before the colon in a unit's name.
    """

    kind: ClassVar[str]

    @property
    @abstractmethod
    def name(self) -> str:
        """``kind:address``; parses back to this unit."""

    @classmethod
    @abstractmethod
    def parse(cls, address: str, model: "PreTrainedModel") -> "list[Unit]":
        """The units that ``address`` (what follows the colon; ``*`` means all) names in ``model``.

        Raises:
            UsageError: no such unit; the message lists what exists.
        """

    @abstractmethod
    def metric(self, model: "PreTrainedModel", sequences: Sequences) -> float:
        """μ: how far the unit has formed."""

    @abstractmethod
    def subspace(self, model: "PreTrainedModel") -> list[Block]:
        """π: the unit's parameters."""

    @abstractmethod
    def probe(self, model: "PreTrainedModel", sequences: Sequences) -> Tensor:
        """f: a differentiable scalar; its sum over a sequence's scored positions, averaged over sequences."""

    def sequences(self, settings: ProbeSettings, vocab_size: int, max_length: int) -> Sequences:
        """The probe sequences drawn for this unit: seeded, the same for every unit of a kind.

        ``settings.ids``, where it is not None, are the ids of the vocabulary that stand for something; `draw_repeated`
        and `draw_random` heed it.
        """
        return draw_repeated(settings, vocab_size, max_length)
