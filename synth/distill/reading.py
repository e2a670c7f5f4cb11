"""The patterns in a language model's answer: each is looked at alone, and what is valid is kept.

Nothing is mended. Keys that were not asked for are passed over and named, beside ``patterns`` as within a pattern or a
field: models like to say how sure they are. Of an answer that breaks off, the patterns that stand whole at its
beginning are read.
"""

from dataclasses import dataclass, field, replace
from typing import Any

from synth.llm.answers import Broken, InvalidAnswer, NoJson, complaint, first_items, json_parts
from synth.llm.cache import Answer
from synth.llm.schemas import without_nulls
from synth.patterns.pattern import PATTERN_SCHEMA, Pattern, PatternError

MOST = 30
"""Patterns in one answer, as the model is told; more that are valid are kept all the same."""
MOST_READ = 10 * MOST
"""So many are read: an answer may hold tens of thousands."""
MOST_NAMED = 20
"""Keys that were passed over and are named."""


@dataclass(frozen=True)
class Read:
    """An answer, read.

    Attributes:
        patterns: the valid ones; ignored: names of keys that were passed over, those within one as
            ``patterns.fields.name``.
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
    ignored: dict[str, None] = {}
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
        ignored = dict.fromkeys(map(_shown, value))
    if len(items) > MOST_READ:
        problem = f"patterns: {len(items):,} are too many, at most {MOST} are wanted"
    patterns, refused = [], []
    for number, item in enumerate(items[:MOST_READ]):
        try:
            patterns.append(_pattern(item, ignored))
        except PatternError as error:
            lines = [line.removeprefix("the pattern: ") for line in str(error).splitlines()]
            refused.append(("\n".join(f"patterns.{number}: {line}" for line in lines), item))
    return Read(patterns, refused, list(ignored)[:MOST_NAMED], problem)


def _pattern(item: Any, ignored: dict[str, None]) -> Pattern:
    """The pattern that ``item`` is without keys of no pattern, whose names are added to ``ignored``."""
    extra: dict[str, None] = {}
    known = _known(item, PATTERN_SCHEMA, "patterns", extra)
    said = complaint(known)
    try:
        if said is not None:
            raise PatternError(said)
        pattern = Pattern.from_json(without_nulls(known))
    except PatternError as error:
        if not extra:
            raise
        names = ", ".join(name.removeprefix("patterns.") for name in list(extra)[:MOST_NAMED])
        raise PatternError(f"{error}\nkeys that no pattern has were passed over: {names}") from None
    ignored.update(extra)
    return pattern


def _known(value: Any, schema: dict[str, Any], place: str, extra: dict[str, None]) -> Any:
    """``value`` without the keys that ``schema`` does not know, whose names are added to ``extra``."""
    if isinstance(value, dict) and "properties" in schema:
        known = schema["properties"]
        extra.update((f"{place}.{_shown(key)}", None) for key in value if key not in known)
        return {
            key: _known(item, known[key], f"{place}.{key}", extra)
            for key, item in value.items()
            if key in known
        }
    if isinstance(value, list) and "items" in schema:
        return [_known(item, schema["items"], place, extra) for item in value]
    return value


def _shown(key: str) -> str:
    """A key as it can be written down."""
    return key[:60].encode("utf-8", "backslashreplace").decode()
