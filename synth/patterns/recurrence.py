"""A pattern's ``recurrence``: texts that were seen, as which items come back where.

A text is a list of repetitions, each a list per field that is no copy, in order: the items of the field's value. A
number stands for an item that is drawn, equal numbers of a text for equal items, in whichever fields; ``drawn`` says of
what kind each is (`kind`). A string is that item itself. Characters and numbers are one item each, of any kind. The
builtin generator follows one of the texts after the other.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from synth.patterns.field import Field, PatternError

Repetition = tuple[tuple[int | str, ...], ...]
"""[fields][items]"""
MOST_ITEMS = 20_000
"""Items of all texts of a pattern."""
ANY = ""
"""The kind of an item that is no listed string."""


@dataclass(frozen=True)
class Recurrence:
    """One text.

    Attributes:
        drawn: by number the kind of the item; repetitions: [repetitions][fields][items].
    """

    drawn: tuple[str, ...]
    repetitions: tuple[Repetition, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "drawn": list(self.drawn),
            "repetitions": [[list(value) for value in repetition] for repetition in self.repetitions],
        }

    def fields_of(self) -> dict[int, tuple[int, ...]]:
        """By number the fields that it stands in, in order of appearance."""
        places: dict[int, dict[int, None]] = {}
        for repetition in self.repetitions:
            for place, value in enumerate(repetition):
                for item in value:
                    if isinstance(item, int):
                        places.setdefault(item, {})[place] = None
        return {number: tuple(among) for number, among in places.items()}


def kind(item: str) -> str:
    """What an item looks like: ``a``, ``A`` or ``Aa`` of letters, as many 0 as digits, else ``x``; behind its blank."""
    blank = " " if item[:1].isspace() else ""
    core = item.strip()
    if core.isdigit():
        return blank + "0" * len(core)
    if core.isalpha():
        return blank + ("a" if core.islower() else "A" if core.isupper() else "Aa" if core.istitle() else "x")
    return blank + "x"


def by_kind(values: Sequence[str]) -> dict[str, list[str]]:
    """The values of each kind, in their order."""
    found: dict[str, list[str]] = {}
    for value in values:
        found.setdefault(kind(value), []).append(value)
    return found


def read_recurrence(value: Any) -> tuple[Recurrence, ...]:
    """The texts of a JSON value; thousands of items, so that no schema is asked.

    Raises:
        PatternError: they are something else.
    """
    try:
        texts = tuple(_read(text) for text in value)
    except (TypeError, KeyError, ValueError) as error:
        raise PatternError(
            "recurrence: expected texts, each with 'drawn' (strings) and 'repetitions' (lists per field of strings and "
            "numbers below the count of drawn)"
        ) from error
    return texts


def _read(text: Any) -> Recurrence:
    drawn = tuple(text["drawn"])
    repetitions = tuple(tuple(tuple(items) for items in one) for one in text["repetitions"])
    items = [item for one in repetitions for values in one for item in values]
    numbers = [item for item in items if type(item) is int]
    if set(text) != {"drawn", "repetitions"} or not all(isinstance(one, str) for one in drawn) or not items:
        raise ValueError
    if any(type(item) is not int and not (isinstance(item, str) and item) for item in items):
        raise ValueError
    if any(not 0 <= number < len(drawn) for number in numbers):
        raise ValueError
    return Recurrence(drawn, repetitions)


def wrong_recurrence(texts: Sequence[Recurrence], fields: Sequence[Field]) -> Iterator[str]:
    """What the texts say that the fields cannot."""
    fields = [field for field in fields if field.type != "copy"]
    repetitions = [repetition for text in texts for repetition in text.repetitions]
    if any(len(repetition) != len(fields) for repetition in repetitions):
        yield f"recurrence: every repetition needs a list for each of {', '.join(field.name for field in fields)}"
        return
    if sum(len(value) for repetition in repetitions for value in repetition) > MOST_ITEMS:
        yield f"recurrence: more than {MOST_ITEMS:,} items"
    listed = [kinds_of(field) for field in fields]
    for place, (field, kinds) in enumerate(zip(fields, listed)):
        least, most = field.span if kinds is not None else (min(1, field.span[0]), 1)
        values = [repetition[place] for repetition in repetitions]
        if any(not least <= len(value) <= most for value in values):
            yield f"recurrence: {field.name} has {least} to {most} items"
        known = frozenset(field.values) if kinds is not None else frozenset()
        if any(isinstance(item, str) and item not in known for value in values for item in value):
            yield f"recurrence: an item of {field.name} is not among its values"
    for text in texts:
        for number, places in text.fields_of().items():
            if not drawable(
                text.drawn[number], [fields[place] for place in places], [listed[p] for p in places]
            ):
                names = ", ".join(fields[place].name for place in places)
                yield f"recurrence: no item of kind {text.drawn[number]!r} can stand in {names}"
                return


def kinds_of(field: Field) -> Mapping[str, frozenset[str]] | None:
    """The items that a field lists, by kind; None of a field that lists none."""
    if field.type != "fixed_list":
        return None
    return {name: frozenset(values) for name, values in by_kind(field.values).items()}


def drawable(
    wanted: str, fields: Sequence[Field], listed: Sequence[Mapping[str, frozenset[str]] | None]
) -> bool:
    """Whether there is one item of that kind for all these fields; ``listed``: `kinds_of` each."""
    known = [kinds.get(wanted, frozenset()) for kinds in listed if kinds is not None]
    if known:
        return len(known) == len(fields) and bool(frozenset.intersection(*known))
    return wanted == ANY and len({(field.type, field.values_or_rules, field.span) for field in fields}) == 1
