"""Is a text its pattern's template, repeated: an exact search, item by item, for texts that a generator wrote.

Depth first over the parts of the template, the shortest value of a field first, with a memory of what failed; a state
is a place in the text, a part of the template, and where the values stand that must come back: never the values
themselves, which may be long. The text may be cut anywhere behind
its first repetition. Not a regular expression: ``re`` has no time limit and no partial match, and ``regex`` was
seen to miss matches of lazy repeats of alternatives (its searches of a corpus, ``matcher.py``, use neither).
"""

import time
from collections.abc import Iterator
from functools import cached_property
from itertools import chain, repeat

from synth.patterns.field import CLASSES, Field
from synth.patterns.pattern import Pattern
from synth.patterns.places import Places, each

STEPS = 500_000
"""Values tried before the search is given up; each may be remembered, which takes some 400 bytes."""
SECONDS = 10.0
"""Time before it is."""
LONGEST_WORD = 24
"""Characters of a word of a ``random_text`` field, with the space behind it."""
MOST_KNOWN = 100_000
"""Places of a text for which the items that begin there are remembered."""

Values = tuple[tuple[str, int, int], ...]
"""(field, start, stop in the text) of values that must come back."""
State = tuple[int, int, Values, Values]
"""Place in the text, part of the template, values kept in every repetition, values kept in this one."""


class Undecided(Exception):
    """The search was given up."""


class Follower:
    """The texts of one pattern."""

    def __init__(self, pattern: Pattern):
        self.pattern = pattern
        self._parts: list[str | Field] = []
        for literal, name in pattern.parts():
            if literal:
                self._parts.append(literal)
            if name is not None:
                self._parts.append(pattern.field(name))

    def leaves_at(self, text: str) -> int | None:
        """None where all of ``text`` follows; else how far it does, in characters.

        Raises:
            Undecided: after `STEPS` tries or `SECONDS`.
        """
        self._end = time.monotonic() + SECONDS
        for ends in self._ends.values():
            ends.known.clear()
        furthest = tried = 0
        failed: set[State] = set()
        start: State = (0, 0, (), ())
        stack = [(start, self._next(text, start))]
        while stack:
            state, following = stack[-1]
            step = next(following, None)
            tried += 1
            if tried > STEPS or time.monotonic() > self._end:
                raise Undecided
            if step is None:
                failed.add(state)
                stack.pop()
                continue
            place, part, kept, _ = step
            furthest = max(furthest, min(place, len(text)))
            behind = len(stack)  # parts, with this one
            if place > len(text):  # cut within a part
                if behind > len(self._parts):
                    return None
                continue
            if part == len(self._parts):
                step = (place, 0, kept, ())
                if place == len(text):
                    return None
            elif place == len(text) and behind > len(self._parts):
                return None
            if step not in failed:
                stack.append((step, self._next(text, step)))
        return furthest

    def _next(self, text: str, state: State) -> Iterator[State]:
        """The states behind one part; a place beyond the text says that the text ends within the part."""
        place, part, kept, drawn = state
        piece = self._parts[part]
        if isinstance(piece, str):
            bound: str | None = piece
        else:
            of = piece.rule if piece.type == "copy" else piece.name
            bound = next((text[start:stop] for name, start, stop in kept + drawn if name == of), None)
            if piece.type == "copy":
                assert bound is not None  # stands before its copy (`Pattern.complaints`)
                bound = piece.cased(bound)
        if bound is not None:
            if text.startswith(bound, place):
                yield place + len(bound), part + 1, kept, drawn
            elif _cut_off(text, place, bound):
                yield len(text) + 1, part + 1, kept, drawn
            return
        assert isinstance(piece, Field)
        for end in self._ends[piece.name](text, place, self._end):
            if end > len(text):
                yield end, part + 1, kept, drawn
            elif piece.scope == "text":
                yield end, part + 1, (*kept, (piece.name, place, end)), drawn
            elif piece.name in self._again:
                yield end, part + 1, kept, (*drawn, (piece.name, place, end))
            else:
                yield end, part + 1, kept, drawn

    @cached_property
    def _again(self) -> set[str]:
        """Fields that stand more than once in the template, as themselves or as copies, whose value must come back."""
        fields = [part for part in self._parts if isinstance(part, Field)]
        names = [part.rule if part.type == "copy" else part.name for part in fields]
        return {name for name in names if names.count(name) > 1}

    @cached_property
    def _ends(self) -> dict[str, "_Ends"]:
        return {field.name: _Ends(field) for field in self.pattern.fields if field.type != "copy"}


def _cut_off(text: str, place: int, string: str) -> bool:
    """Whether the text ends within ``string``, or with it, which begins there."""
    return len(text) - place <= len(string) and string.startswith(text[place:])


class _Ends:
    """Where values of a field that begin at a place may end, the nearest first; len(text) + 1: the text cuts it off."""

    def __init__(self, field: Field):
        self.field = field
        self.items = frozenset(field.values) if field.type == "fixed_list" else frozenset()
        self.longest = max(map(len, self.items), default=0)
        self.beginnings = frozenset(item[:n] for item in self.items for n in range(1, len(item)))
        self.known: dict[int, tuple[Places, bool]] = {}
        """By where an item begins: where it may end, behind there; of one text."""

    def __call__(self, text: str, place: int, until: float) -> Iterator[int]:
        least, most = self.field.span
        if self.field.type == "characters":
            known = CLASSES[self.field.rule]
            end = place
            while end < len(text) and end - place < most and text[end] in known:
                end += 1
            cut_off = end == len(text) and end - place < least
            return chain(range(place + least, end + 1), repeat(len(text) + 1, int(cut_off)))
        if self.field.type == "random_text":
            furthest = min(len(text), place + LONGEST_WORD * most)
            return chain(range(place + min(1, least), furthest + 1), (len(text) + 1,))
        reached: Places = 1  # all of them behind place, since a text may be long
        cut = place == len(text)
        ends: Places = reached if least == 0 else 0
        for count in range(1, most + 1):
            begins = reached
            if count > 1 and self.field.separator:
                separator = self.field.separator
                cut |= any(_cut_off(text, place + at, separator) for at in each(reached))
                begins = sum(
                    1 << at + len(separator) for at in each(reached) if text.startswith(separator, place + at)
                )
            if time.monotonic() > until:
                raise Undecided
            reached = 0
            for begin in each(begins):
                behind, cut_off = self._items(text, place + begin)
                reached |= behind << begin
                cut |= cut_off
            if not reached:
                break
            cut |= bool(reached >> len(text) - place & 1) and count < least
            if count >= least:
                ends |= reached
        return chain((place + end for end in each(ends)), repeat(len(text) + 1, int(cut)))

    def _items(self, text: str, begin: int) -> tuple[Places, bool]:
        """Where one item that begins there may end, and whether the text may cut one off."""
        if begin not in self.known:
            if len(self.known) >= MOST_KNOWN:
                self.known.clear()
            ends = list(self._item(text, begin))
            self.known[begin] = (
                sum(1 << end - begin for end in ends if end <= len(text)),
                len(text) + 1 in ends,
            )
        return self.known[begin]

    def _item(self, text: str, begin: int) -> Iterator[int]:
        if self.field.type == "number":
            low, high, width = self.field.number()
            longest = width or len(str(high))
            for end in range(begin + 1, min(begin + longest, len(text)) + 1):
                digits = text[begin:end]
                if not (digits.isascii() and digits.isdigit()):
                    return
                plain = len(digits) == width if width else str(int(digits)) == digits
                if plain and low <= int(digits) <= high:
                    yield end
                elif end == len(text):
                    yield len(text) + 1
            return
        for end in range(begin + 1, min(begin + self.longest, len(text)) + 1):
            if text[begin:end] in self.items:
                yield end
        if len(text) - begin < self.longest and text[begin:] in self.beginnings:
            yield len(text) + 1
