"""Does a text hold a pattern, and does a text follow one: a pattern's template as a regular expression.

Literals stand for themselves; a name that comes back is a back-reference, and so is a field of scope ``text`` in every
repetition after the first. Searching a corpus, a field that joins several listed items is matched by the characters
its items are made of and by its possible lengths, since the exact alternatives can take a search forever;
`Matcher.complaints`, which judges generated texts, tries the exact items first. Quantifiers are lazy, so a repeated
span is found at its shortest. Patterns may come from anywhere: every search has a time limit, and what it could not
finish is no match (and counted by the callers). ``regex`` has that limit and partial matches, ``re`` has neither.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import regex

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
            followed = self._followed(text, exact=True)
        except TimeoutError:
            try:
                followed = self._followed(text, exact=False)
            except TimeoutError:
                yield "whether the text follows the template could not be found out in time; make the template plainer"
                return
        if followed == 0:
            yield f"the text does not begin with the template {self.pattern.template[:200]!r}: {text[:200]!r}"
        elif followed is not None:
            rest = text[followed:][:99]
            yield f"after {followed} characters the text leaves the template, or a field its values: {rest!r}"

    def _followed(self, text: str, exact: bool) -> int | None:
        """None where all of ``text`` follows, at least one whole repetition of it; else how many characters do."""
        seconds = 8 * self.seconds
        first, whole = self._compiled(exact)
        begun = first.match(text, timeout=seconds)
        if begun is None:
            return 0
        if whole.fullmatch(text, partial=True, timeout=seconds) is not None:
            return None
        match = whole.match(text, timeout=seconds)
        return match.end() if match else begun.end()

    def _compiled(self, exact: bool) -> "tuple[regex.Pattern[str], regex.Pattern[str]]":
        """One repetition, and one or more."""
        one, again = self._repetition(True, exact), self._repetition(False, exact)
        return regex.compile(one, regex.DOTALL), regex.compile(f"{one}(?:{again})*", regex.DOTALL)

    @cached_property
    def _occurs(self) -> "regex.Pattern[str]":
        again = f"(?:{self._repetition(first=False)}){{{self.least - 1}}}"
        return regex.compile(self._repetition(first=True) + again, regex.DOTALL)

    def _repetition(self, first: bool, exact: bool = False) -> str:
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
                pieces.append(f"(?P<{'a' if first else 'b'}_{name}>{field_expression(field, exact)})")
        return "".join(pieces)


def _telling(value: str) -> bool:
    """Whether a repeated span is no repetition itself, as a run of blanks or a rule of dashes is."""
    return (value + value).find(value, 1) == len(value)


def field_expression(field: Field, exact: bool) -> str:
    """A regular expression for the values of a field; ``exact`` lists items, else their characters do for them."""
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
    if exact or (field.count is None and len(values) <= LISTED):
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
