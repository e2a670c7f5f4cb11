"""One template in one text: all places at once, and values that come back one by one.

What the template asks for without regard to values that come back is found backwards first: where each part may begin
so that all behind it may follow. Only there are such values tried, and of those only the ones that the text holds again
where they must.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from synth.patterns.field import Field
from synth.patterns.moves import over_field, shortest_value
from synth.patterns.places import Move, Places, Text, each, literal

WORK = 1_000_000_000
"""Steps of a search over the places of a text, before it is given up: a second or two."""
STEP = 1000
"""What a step costs besides the places it goes over."""
KEPT = 50
"""What a character of a value that is kept costs: all of them take some 40 MB at most."""

Part = str | Field
Values = dict[str, str]
"""By name of the field, what must come back."""


class GivenUp(Exception):
    """The search took too much work."""


@dataclass(frozen=True)
class Template:
    """Parts of one repetition, compiled.

    Attributes:
        moves: (forward, backward) over each part, whatever values came before.
        coming_back: fields whose value must stand again: of scope ``text`` (``kept``), named twice, or copied.
    """

    parts: tuple[Part, ...]
    moves: tuple[tuple[Move, Move], ...]
    kept: frozenset[str]
    coming_back: frozenset[str]

    @staticmethod
    def of(parts: Sequence[Part], fields: Sequence[Field]) -> "Template":
        by_name = {field.name: field for field in fields}

        def move(part: Part) -> tuple[Move, Move]:
            if isinstance(part, str):
                return literal(part)
            if part.type == "copy":
                return over_field(by_name[part.rule], any_case=part.case is not None)
            return over_field(part)

        used = [part for part in parts if isinstance(part, Field)]
        names = [part.rule if part.type == "copy" else part.name for part in used]
        kept = frozenset(field.name for field in fields if field.scope == "text")
        twice = frozenset(name for name in names if names.count(name) > 1)
        return Template(tuple(parts), tuple(map(move, parts)), kept, kept | twice)


class Search:
    """A template, so many times in a row, in a text."""

    def __init__(self, template: Template, times: int, text: str, work: int):
        self.template = template
        self.text = Text(text)
        self.parts = template.parts * times
        self.moves = template.moves * times
        self.work = work

    def stands_there(self) -> bool:
        """Whether it stands there.

        Raises:
            GivenUp: that took too much work to find out.
        """
        self.ends = self._backward()
        if not self.ends[0] or not self.template.coming_back:
            return bool(self.ends[0])
        return self._go_on(0, self.ends[0], {})

    def _backward(self) -> list[Places]:
        """[parts + 1]: where each part may begin so that all behind it may follow, if any values might come back."""
        places = [self.text.all]
        for _, backward in reversed(self.moves):
            places.append(backward(self.text, places[-1]) if places[-1] else 0)
        return places[::-1]

    def _go_on(self, number: int, places: Places, values: Values) -> bool:
        """Whether the parts from ``number`` on may follow ``places``."""
        while number < len(self.parts):
            part = self.parts[number]
            if number % len(self.template.parts) == 0:  # a new repetition knows only what is kept
                values = {name: value for name, value in values.items() if name in self.template.kept}
            known = None
            if isinstance(part, Field):
                known = part.cased(values[part.rule]) if part.type == "copy" else values.get(part.name)
                if known is None and part.name in self.template.coming_back:
                    return self._try(number, part, places, values)
            if known is None:
                places = self.moves[number][0](self.text, places)
            else:
                places = self._behind(known, places)
            self._worked(len(self.text.text))
            places &= self.ends[number + 1]
            if not places:
                return False
            number += 1
        return True

    def _try(self, number: int, field: Field, places: Places, values: Values) -> bool:
        """Whether they may with one of the values that ``field`` has there and that come back as they must."""
        tried = set()
        for value in self._values(number, field, places):
            self._worked(len(value))
            if value in tried:
                continue
            tried.add(value)
            self._worked(KEPT * len(value))
            if field.scope == "text" and not _telling(value):
                continue
            behind = self._behind(value, places) & self.ends[number + 1]
            if self._go_on(number + 1, behind, {**values, field.name: value}):
                return True
        return False

    def _values(self, number: int, field: Field, places: Places) -> Iterator[str]:
        """Values of ``field`` at ``places``; where it must come back unchanged, those that do where they may."""
        text, over = self.text.text, self.moves[number][0]
        next_use = self._next_use(number, field)
        shortest = max(1, shortest_value(field))
        for begin in each(places):
            self._worked(len(text))
            ends = over(self.text, 1 << begin) & self.ends[number + 1]
            if ends >> begin & 1:
                yield ""
            if next_use is None:
                yield from (text[begin:end] for end in each(ends) if end > begin)
                continue
            again = ends
            for between in range(number + 1, next_use):
                self._worked(len(text))
                again = self.moves[between][0](self.text, again) & self.ends[between + 1]
            again &= self.text.begins_of(text[begin : begin + shortest])
            shown = begin
            for other in each(again):
                self._worked(len(text))
                reach = begin + _common(text, begin, other)
                yield from (text[begin:end] for end in each(ends & ((2 << reach) - 1)) if end > shown)
                shown = max(shown, reach)

    def _next_use(self, number: int, field: Field) -> int | None:
        """The next part that has the very value of this one; None: only in another case."""
        one = len(self.template.parts)
        stop = len(self.parts) if field.scope == "text" else number - number % one + one
        for place in range(number + 1, stop):
            part = self.parts[place]
            if isinstance(part, Field):
                copied = part.type == "copy" and part.rule == field.name and part.case is None
                if copied or part.name == field.name:
                    return place
        return None

    def _behind(self, value: str, places: Places) -> Places:
        ends, looked = self.text.behind(value, places)
        self._worked(looked * len(self.text.text) // 64)
        return ends

    def _worked(self, places: int) -> None:
        """Count a step over so many places.

        Raises:
            GivenUp: there were too many.
        """
        self.work -= places + STEP
        if self.work < 0:
            raise GivenUp


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
