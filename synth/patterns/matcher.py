"""Does a text hold a pattern: its template, at least twice in a row, somewhere.

All places of a text are followed through the template at once (``search.py``), so time and memory are linear in the
text where no value has to come back, and bounded where one has. A field that joins several items is matched by the
characters its items are made of and by its possible lengths; judging generated texts is exact (``membership.py``).
Refused: regular expressions, whose going back takes minutes and gigabytes on some templates. No clock either: the same
text always gets the same answer.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from synth.patterns.membership import Follower, Undecided
from synth.patterns.pattern import Pattern
from synth.patterns.search import WORK, GivenUp, Part, Search, Template


@dataclass(frozen=True)
class Matcher:
    """A compiled pattern.

    Attributes:
        least: repetitions that make an occurrence; one alone says little, as the anchors of many patterns are common.
        work: see `synth.patterns.search.WORK`.
    """

    pattern: Pattern
    least: int = 2
    work: int = WORK

    def occurs(self, text: str) -> bool | None:
        """Whether the template stands at least ``least`` times in a row somewhere; None when it was given up."""
        if any(text.count(string) < self.least for string in self._needed):
            return False  # cheap, and true of most texts
        try:
            return Search(self._template, self.least, text, self.work).stands_there()
        except GivenUp:
            return None

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
    def _needed(self) -> list[str]:
        """Strings that every occurrence holds ``least`` times, the longest first."""
        literals = {string for string, _ in self.pattern.parts() if string}
        return sorted(literals, key=lambda string: (-len(string), string))

    @cached_property
    def _template(self) -> Template:
        parts: list[Part] = []
        for string, name in self.pattern.parts():
            parts += [string] if string else []
            parts += [self.pattern.field(name)] if name is not None else []
        return Template.of(parts, self.pattern.fields)

    @cached_property
    def _follower(self) -> Follower:
        return Follower(self.pattern)
