"""The patterns in a language model's answer: each is looked at alone, and what is valid is kept.

Nothing is mended. Keys beside ``patterns`` are passed over; of an answer that breaks off, the patterns that stand whole
at its beginning are read.
"""

from dataclasses import dataclass, field, replace
from typing import Any

from synth.llm.answers import Broken, InvalidAnswer, NoJson, complaint, first_items, json_parts
from synth.llm.cache import Answer
from synth.llm.schemas import without_nulls
from synth.patterns.pattern import Pattern, PatternError

MOST = 30
"""Patterns in one answer, as the model is told; more that are valid are kept all the same."""
MOST_READ = 10 * MOST
"""So many are read: an answer may hold tens of thousands."""


@dataclass(frozen=True)
class Read:
    """An answer, read.

    Attributes:
        patterns: the valid ones; ignored: names of keys beside ``patterns``.
        refused: (complaint, what it is about) for each of the other patterns.
        problem: complaint about the answer as a whole, of which no more could be read.
    """

    patterns: list[Pattern] = field(default_factory=list)
    refused: list[tuple[str, Any]] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    problem: str | None = None

    @property
    def complaints(self) -> list[str]:
        """All of them."""
        return [*([self.problem] if self.problem else []), *(said for said, _ in self.refused)]


def read_answer(answer: Answer) -> Read:
    """What is good in an answer. One that was cut off may be whole all the same: some models end with blanks."""
    if answer.problem and not answer.cut_off:
        return Read(problem=answer.problem)
    read = read_patterns(answer.text)
    return replace(read, problem=answer.problem) if read.problem and answer.cut_off else read


def read_patterns(text: str) -> Read:
    """The patterns that ``text`` gives."""
    problem: str | None = None
    ignored: list[str] = []
    try:
        value = json_parts(text)
    except NoJson as error:
        problem, items = str(error), first_items(text, "patterns")
    except InvalidAnswer as error:
        return Read(problem=str(error))
    else:
        if "patterns" not in value:
            return Read(problem="the answer: 'patterns' is a required property")
        items = value.pop("patterns")
        if isinstance(items, Broken):
            return Read(problem=items.said)
        if not isinstance(items, list):
            return Read(problem=f"patterns: a JSON {type(items).__name__} is not of type 'array'")
        ignored = [key[:60] for key in value]
    if len(items) > MOST_READ:
        problem = f"patterns: {len(items):,} are too many, at most {MOST} are wanted"
    patterns, refused = [], []
    for number, item in enumerate(items[:MOST_READ]):
        try:
            patterns.append(_pattern(item))
        except PatternError as error:
            lines = [line.removeprefix("the pattern: ") for line in str(error).splitlines()]
            refused.append(("\n".join(f"patterns.{number}: {line}" for line in lines), item))
    return Read(patterns, refused, ignored, problem)


def _pattern(item: Any) -> Pattern:
    said = complaint(item)
    if said is not None:
        raise PatternError(said)
    return Pattern.from_json(without_nulls(item))
