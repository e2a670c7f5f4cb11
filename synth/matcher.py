"""Does a text hold a pattern: its template, at least twice in a row, somewhere.

All places of a text are followed through the template at once (``places.py``), so time and memory are linear in the
text whatever the template. A field that joins several items is matched by the characters its items are made of and by
its possible lengths; judging generated texts is exact (``follow.py``). Values that come back (a field of scope
``text``, a name that stands twice, a copy) are tried one by one, those alone that do come back in the text; after
`TRIES` of them the search is given up, and says so. No clock: the same text always gets the same answer.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from synth.field import CASES, CLASSES, Field
from synth.follow import Follower, Undecided
from synth.pattern import Pattern
from synth.places import Move, Places, Text, each, literal, one_of, run_of

TRIES = 20_000
"""Values tried in one text before the search is given up."""
LISTED = 400
"""Fixed lists of more values are searched for by their characters."""

Part = str | Field
Values = dict[str, str]
"""By name of the field, what must come back."""


@dataclass(frozen=True)
class Matcher:
    """A compiled pattern.

    Attributes:
        least: repetitions that make an occurrence; one alone says little, as the anchors of many patterns are common.
        tries: see `TRIES`.
    """

    pattern: Pattern
    least: int = 2
    tries: int = TRIES

    def occurs(self, text: str) -> bool | None:
        """Whether the template stands at least ``least`` times in a row somewhere; None when it was given up."""
        if any(text.count(string) < self.least for string in self._needed):
            return False  # cheap, and true of most texts
        return _Search(self, Text(text)).run()

    def complaints(self, text: str) -> Iterator[str]:
        """How a generated ``text`` breaks the pattern; nothing where it is the template, repeated, cut at the end."""
        for anchor in self.pattern.anchor_tokens:
            if anchor not in text:
                yield f"the anchor {anchor[:80]!r} does not stand in the text"
                return
        try:
            place = self._follower.leaves_at(text)
        except Undecided:
            yield "whether the text follows the template could not be found out in time; make the template plainer"
            return
        if place is not None:
            rest, template = text[place:][:99], self.pattern.template[:200]
            yield f"after {place} characters the text leaves the template {template!r}, or a field its values: {rest!r}"

    @cached_property
    def _follower(self) -> Follower:
        return Follower(self.pattern)

    @cached_property
    def _needed(self) -> list[str]:
        """Strings that every occurrence holds ``least`` times, the longest first."""
        literals = {string for string, _ in self.pattern.parts() if string}
        return sorted(literals, key=lambda string: (-len(string), string))

    @cached_property
    def parts(self) -> list[Part]:
        """Literals and fields of one repetition."""
        parts: list[Part] = []
        for string, name in self.pattern.parts():
            parts += [string] if string else []
            parts += [self.pattern.field(name)] if name is not None else []
        return parts

    @cached_property
    def moves(self) -> list[tuple[Move, Move]]:
        """(forward, backward) over each of the `parts`, whatever values came before."""
        return [literal(part) if isinstance(part, str) else self._over(part) for part in self.parts]

    def _over(self, field: Field) -> tuple[Move, Move]:
        if field.type != "copy":
            return over_field(field)
        return over_field(self.pattern.field(field.rule), any_case=field.case is not None)

    @cached_property
    def coming_back(self) -> set[str]:
        """Fields whose value must stand again: of scope ``text``, named twice in the template, or copied."""
        names = [part.name for part in self.parts if isinstance(part, Field)]
        copied = {part.rule for part in self.parts if isinstance(part, Field) and part.type == "copy"}
        kept = {field.name for field in self.pattern.fields if field.scope == "text"}
        return kept | copied | {name for name in names if names.count(name) > 1}


class _Search:
    """One pattern in one text."""

    def __init__(self, matcher: Matcher, text: Text):
        self.matcher = matcher
        self.text = text
        self.parts = matcher.parts * matcher.least
        self.moves = matcher.moves * matcher.least
        self.tries = matcher.tries

    def run(self) -> bool | None:
        self.ends = self._backward()
        if not self.ends[0] or not self.matcher.coming_back:
            return bool(self.ends[0])
        try:
            return self._go_on(0, self.ends[0], {})
        except Undecided:
            return None

    def _backward(self) -> list[Places]:
        """[parts + 1]: where each part may begin so that all behind it may follow, if any values might come back."""
        places = [self.text.all]
        for _, backward in reversed(self.moves):
            places.append(backward(self.text, places[-1]) if places[-1] else 0)
        return places[::-1]

    def _go_on(self, number: int, places: Places, values: Values) -> bool:
        """Whether the parts from ``number`` on may follow ``places``."""
        one = len(self.matcher.parts)
        while number < len(self.parts):
            part = self.parts[number]
            if number and number % one == 0:  # a new repetition: only what is kept is known
                kept = (f.name for f in self.matcher.pattern.fields if f.scope == "text")
                values = {name: values[name] for name in kept if name in values}
            if isinstance(part, str):
                known: str | None = part
            elif part.type == "copy":
                known = part.cased(values[part.rule])
            else:
                known = values.get(part.name)
                if known is None and part.name in self.matcher.coming_back:
                    return self._try(number, part, places, values)
            if known is None:
                places = self.moves[number][0](self.text, places)
            elif known:
                places = literal(known)[0](self.text, places)
            places &= self.ends[number + 1]
            if not places:
                return False
            number += 1
        return True

    def _try(self, number: int, field: Field, places: Places, values: Values) -> bool:
        """Every value that ``field`` may have and that comes back as it must."""
        tried = set()
        for value in self._values(number, field, places):
            if value in tried:
                continue
            tried.add(value)
            self.tries -= 1
            if self.tries < 0:
                raise Undecided
            if field.scope == "text" and not _telling(value):
                continue
            behind = literal(value)[0](self.text, places) if value else places
            if self._go_on(number + 1, behind & self.ends[number + 1], {**values, field.name: value}):
                return True
        return False

    def _values(self, number: int, field: Field, places: Places) -> Iterator[str]:
        """Values of ``field`` at ``places``; where it must come back unchanged, those that do where they may."""
        text, over = self.text.text, self.moves[number][0]
        next_use = self._next_use(number, field)
        shortest = max(1, shortest_value(field))
        for begin in each(places):
            ends = over(self.text, 1 << begin) & self.ends[number + 1]
            if ends >> begin & 1:
                yield ""
            if next_use is None:
                yield from (text[begin:end] for end in each(ends) if end > begin)
                continue
            again = ends
            for between in range(number + 1, next_use):
                again = self.moves[between][0](self.text, again) & self.ends[between + 1]
            again &= self.text.found(text[begin : begin + shortest])
            for other in each(again):
                same = _common(text, begin, other)
                yield from (text[begin:end] for end in each(ends & ((2 << begin + same) - 1)) if end > begin)

    def _next_use(self, number: int, field: Field) -> int | None:
        """The next part that has the very value of this one; None: only in another case."""
        for place in range(number + 1, len(self.parts)):
            part = self.parts[place]
            if isinstance(part, Field):
                same = part.name == field.name
                if same or (part.type == "copy" and part.rule == field.name and part.case is None):
                    return place
        return None


def _common(text: str, a: int, b: int) -> int:
    """Characters that agree from ``a`` and from ``b`` on."""
    low, high = 0, len(text) - max(a, b)
    while low < high:
        middle = (low + high + 1) // 2
        if text[a + low : a + middle] == text[b + low : b + middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _telling(value: str) -> bool:
    """Whether a repeated span is no repetition itself, as a run of blanks or a rule of dashes is."""
    return (value + value).find(value, 1) == len(value)


def over_field(field: Field, any_case: bool = False) -> tuple[Move, Move]:
    """(forward, backward) over the values of a field; characters stand for items that are joined.

    Args:
        any_case: over the values of a copy of it in some case.
    """
    least, most = field.span
    if field.type == "random_text":
        return run_of(None, min(1, least), min(24 * most, 4000))
    if field.type == "characters":
        characters, longest = set(CLASSES[field.rule]), 1
    elif field.type == "number":
        _, high, width = field.number()
        characters, longest = set("0123456789" + field.separator), width or len(str(high))
    else:
        values = sorted(set(field.values))
        if any_case:
            values = sorted({getattr(value, case)() for value in values for case in CASES} | set(values))
        if most <= 1 and len(values) <= LISTED:
            return one_of((*values, *([""] if least == 0 else [])))
        characters, longest = set("".join(values) + field.separator), max(map(len, values))
    if any_case:
        characters |= {c for one in characters for case in CASES for c in getattr(one, case)()}
        longest *= 3  # a few letters become up to three in another case
    between = len(field.separator)
    return run_of(frozenset(characters), shortest_value(field), most * longest + max(0, most - 1) * between)


def shortest_value(field: Field) -> int:
    """Characters of the shortest value of a field that is no copy."""
    least = field.span[0]
    if field.type == "random_text":
        return min(1, least)
    if field.type == "characters":
        return least
    if field.type == "number":
        low, _, width = field.number()
        one = width or len(str(low))
    else:
        one = min(map(len, field.values))
    return least * one + max(0, least - 1) * len(field.separator)
