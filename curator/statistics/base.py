"""What a statistic is: its name, what it says, and a function from rows to one number per row.

A statistic sees a row alone, whatever stands beside it, so that no cut of a corpus changes a score.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from typing_extensions import Self

from curator.corpus import Corpus
from curator.statistics.settings import StatisticsSettings


@dataclass(frozen=True)
class Asked:
    """What statistics are made from: settings, the samples [first, last) of a corpus, and their highest token id."""

    settings: StatisticsSettings
    corpus: Corpus
    first: int
    last: int
    highest: int


class Statistic(ABC):
    """A score of a sample that needs no gradient.

    Attributes:
        name: on the command line; says: what it is, in a sentence's words; higher: what a higher score means.
    """

    name: ClassVar[str]
    says: ClassVar[str]
    higher: ClassVar[str]

    @property
    def unit(self) -> str:
        """The name of its scores in a ranking."""
        return f"statistic:{self.name}"

    @classmethod
    def lacks(cls, asked: Asked) -> str:
        """What is missing for it, and how to give it; empty where nothing is."""
        return ""

    @classmethod
    @abstractmethod
    def prepared(cls, asked: Asked) -> Self:
        """The statistic for what was asked, which lacks nothing."""

    def recorded(self) -> dict[str, Any]:
        """What its scores depend on beside the rows, as JSON."""
        return {}

    @abstractmethod
    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """[n] float64 of rows [n, width], whose tokens are ids of the vocabulary."""
