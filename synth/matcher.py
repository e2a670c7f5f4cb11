"""Does a text hold a pattern: its template as a regular expression.

Literals stand for themselves; a name that comes back is a back-reference, and so is a field of scope ``text`` in every
repetition after the first. A field that joins several listed items is matched by the characters its items are made of
and by its possible lengths, since the exact alternatives can take a search forever; judging generated texts is exact
(``follow.py``). Quantifiers are lazy, so a repeated span is found at its shortest. Patterns may come from anywhere:
every search has a time limit, which ``re`` cannot, and what it could not finish is no match (counted by the callers).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import regex

from synth.follow import Follower, Undecided
from synth.pattern import CLASSES, Field, Pattern

SECONDS = 0.25
"""Time limit of one search in one text."""
LISTED = 400
"""Fixed lists of more values are searched for by their characters."""


@dataclass(frozen=True)
class Matcher:
    """A compiled pattern.

    Attributes:
        least: repetitions that make an occurrence; one alone says little, as the anchors of many patterns are common.
    """

    pattern: Pattern
    least: int = 2
    seconds: float = SECONDS

    def occurs(self, text: str) -> bool | None:
        """Whether the template stands at least ``least`` times in a row somewhere; None when time ran out."""
        anchors = self.pattern.anchor_tokens
        if any(text.count(anchor) < self.least for anchor in anchors):
            return False  # cheap, and true of most texts
        try:
            matches = self._occurs.finditer(text, timeout=self.seconds)
            return any(all(_telling(value) for value in self._kept(match)) for match in matches)
        except TimeoutError:
            return None

    def _kept(self, match: "regex.Match[str]") -> list[str]:
        """The values that come back in every repetition."""
        return [match[f"a_{field.name}"] for field in self.pattern.fields if field.scope == "text"]

    def complaints(self, text: str) -> Iterator[str]:
        """How a generated ``text`` breaks the pattern; nothing where it is the template, repeated, cut at the end."""
        for anchor in self.pattern.anchor_tokens:
            if anchor not in text:
                yield f"the anchor {anchor[:80]!r} does not stand in the text"
                return
        try:
            place = Follower(self.pattern).leaves_at(text)
        except Undecided:
            yield "whether the text follows the template could not be found out in time; make the template plainer"
            return
        if place is not None:
            rest, template = text[place:][:99], self.pattern.template[:200]
            yield f"after {place} characters the text leaves the template {template!r}, or a field its values: {rest!r}"

    @cached_property
    def _occurs(self) -> "regex.Pattern[str]":
        again = f"(?:{self._repetition(first=False)}){{{self.least - 1}}}"
        return regex.compile(self._repetition(first=True) + again, regex.DOTALL)

    def _repetition(self, first: bool) -> str:
        """One repetition; groups are called a_NAME in the first, b_NAME in the others."""
        pieces, seen = [], set()
        for literal, name in self.pattern.parts():
            pieces.append(regex.escape(literal, literal_spaces=True))
            if name is None:
                continue
            field = self.pattern.field(name)
            if not first and field.scope == "text":
                pieces.append(f"(?P=a_{name})")
            elif name in seen:
                pieces.append(f"(?P={'a' if first else 'b'}_{name})")
            else:
                seen.add(name)
                pieces.append(f"(?P<{'a' if first else 'b'}_{name}>{field_expression(field)})")
        return "".join(pieces)


def _telling(value: str) -> bool:
    """Whether a repeated span is no repetition itself, as a run of blanks or a rule of dashes is."""
    return (value + value).find(value, 1) == len(value)


def field_expression(field: Field) -> str:
    """A regular expression for the values of a field; characters stand for items that are joined."""
    least, most = field.span
    if field.type == "characters":
        return f"{character_set(set(CLASSES[field.rule]))}{{{least},{most}}}?"
    if field.type == "number":
        low, high, width = field.number()
        digits = f"{width}" if width else f"{len(str(low))},{len(str(high))}"
        one = rf"[0-9]{{{digits}}}"
        return _joined(one, field)
    if field.type == "random_text":
        return f".{{1,{min(24 * most, 4000)}}}?"
    values = sorted(set(field.values), key=lambda value: (-len(value), value))
    if field.count is None and len(values) <= LISTED:
        return _joined(
            "(?:" + "|".join(regex.escape(value, literal_spaces=True) for value in values) + ")", field
        )
    lengths = [len(value) for value in values]
    between = len(field.separator)
    low = least * min(lengths) + (least - 1) * between
    high = most * max(lengths) + (most - 1) * between
    return f"{character_set(set(''.join(values) + field.separator))}{{{low},{high}}}?"


def _joined(one: str, field: Field) -> str:
    least, most = field.span
    if (least, most) == (1, 1):
        return one
    separator = regex.escape(field.separator, literal_spaces=True)
    return f"{one}(?:{separator}{one}){{{least - 1},{most - 1}}}?"


def character_set(characters: set[str]) -> str:
    """``[…]`` of exactly these characters."""
    return "[" + "".join("\\" + c if c in r"\]^-[&|~" else c for c in sorted(characters)) + "]"
