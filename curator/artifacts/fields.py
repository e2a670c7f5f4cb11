"""Fields that the settings of several stages share: each is declared once, with its rule.

The classes of the stages stand in their rooms (``ranking/settings.py`` …); ``curator/settings.py`` puts them together.
"""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Strict, Tag

from curator.artifacts.schema import GivenPath, Rule, Settings

Count = Annotated[int, Field(ge=1)]
Index = Annotated[int, Field(ge=0)]
Seed = Annotated[int, Rule("a whole number of at least 0", lambda v: 0 <= v < 2**63)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Percent = Annotated[float, Field(gt=0, le=100)]
Span = Annotated[
    tuple[int, int],
    Strict(False),
    Rule("two whole numbers [first, last) with 0 <= first < last", lambda v: 0 <= v[0] < v[1]),
]
Device = Annotated[
    str,
    Rule(
        "cpu, cuda or cuda:N",
        lambda v: v in ("cpu", "cuda") or (v.startswith("cuda:") and v[5:].isdigit()),
    ),
]
Checkpoints = Annotated[str, Rule("a folder, or revisions of a hub model", bool)]
Dtype = Literal["float32", "bfloat16", "float64"]


class StepRange(Settings):
    """``{from: 100, to: 200, every: 10}``: steps 100, 110 … 200, both ends included."""

    from_: Index = 0
    to: Count
    every: Count

    def check(self) -> None:
        """The end is not before the beginning."""
        if self.to < self.from_:
            raise ValueError(f"'to' ({self.to}) lies before 'from' ({self.from_})")


def _kind_of_step(value: Any) -> str:
    return "<range>" if isinstance(value, dict | StepRange) else "<step>"


Step = Annotated[
    Annotated[int, Tag("<step>")] | Annotated[StepRange, Tag("<range>")], Discriminator(_kind_of_step)
]
"""A step, or a range of them."""


def written_out(steps: tuple[int | StepRange, ...]) -> list[int]:
    """The steps that numbers and ranges name, rising, each once."""
    every: set[int] = set()
    for entry in steps:
        every |= {entry} if isinstance(entry, int) else set(range(entry.from_, entry.to + 1, entry.every))
    return sorted(every)


class Probe(Settings):
    """The sequences on which a unit's probe and metric are taken."""

    sequences: Count = 100
    """How many are drawn."""
    min_length: Count = 8
    """Shortest length L in tokens; a repeated sequence has 2 L."""
    max_length: Count = 20
    """Longest length L."""
    seed: Seed = 0
    """Of the draw; other seeds give other rankings, so report the variation."""
    tokens: GivenPath | None = None
    """A [sequences, length] integer ``.npy`` to use instead of drawing."""
    ids: Literal["auto", "tokenizer", "corpus", "all"] = "auto"
    """Drawn are the entries of the tokenizer, the ids that occur in the corpus, or all rows of the embedding; ``auto``
    takes the first that is known. A padded vocabulary has rows that no entry stands behind."""

    def check(self) -> None:
        """Lengths that a sequence can have."""
        if not 2 <= self.min_length <= self.max_length:
            given = f"{self.min_length}, {self.max_length}"
            raise ValueError(f"lengths must satisfy 2 <= min_length <= max_length, not {given}")
