"""Which items of a text come back where: texts as the samples show them, with numbers in the place of what varies.

Two items of a text have one number where they are equal, in whichever fields and repetitions. What is the pattern's own
stays itself: marks and blanks, what stands in the template's literal text, and what nearly all texts say. So texts
written by these keep lengths, order and every repetition of a sample, and say it with other words.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from synth.distill.miner.infer import Inferred, spread
from synth.patterns.field import Field
from synth.patterns.recurrence import ANY, Recurrence, Repetition, drawable, kind, kinds_of

HABIT, LEAST_HABIT = 0.75, 4
"""A word that stands in such a share of the texts, and in so many of them at least, may be the field's own ..."""
OFTEN = 0.2
"""... if it stands in such a share of the field's values ..."""
LEAST_WORD = 3
"""... and has so many letters and digits: shorter pieces stand everywhere by chance."""
LEAST_TEXTS, MOST_TEXTS = 16, 64
"""Texts kept of a pattern, evenly from its first sample to its last: fewer where they are long, but these at least."""
MOST_ITEMS = 8192
"""Items of all texts together; a longer text is cut."""


def recurrence(
    inferred: Sequence[Inferred], texts: Sequence[int], literal: Collection[str]
) -> tuple[Recurrence, ...]:
    """The texts of the fields; empty where none fits them all.

    Args:
        texts: of which text each repetition is, in order.
        literal: items that stand in the template outside of placeholders.
    """
    by_text: dict[int, list[list[Sequence[str]]]] = {}
    for row, text in enumerate(texts):
        values = [one.items[row] for one in inferred]
        known = [_items(one.field, value) for one, value in zip(inferred, values) if value is not None]
        if len(known) == len(values):
            by_text.setdefault(text, []).append(known)
    fields = [one.field for one in inferred]
    own = _habits(list(by_text.values()))
    own |= {(place, item) for place in range(len(inferred)) for item in literal}
    there = list(by_text.values())
    sizes = [sum(len(value) for values in text for value in values) for text in there]
    count = max(LEAST_TEXTS, min(MOST_TEXTS, MOST_ITEMS // max(1, *sizes, 1)))
    chosen = [there[k] for k in spread(range(len(there)), count)] if there else []
    most = MOST_ITEMS // max(1, len(chosen))
    made = [_text(_cut(text, most), fields, own) for text in chosen]
    return tuple(text for text in made if any(any(one) for one in text.repetitions))


def _items(of: Field, items: Sequence[str]) -> Sequence[str]:
    """Characters are drawn together, as one item."""
    return ["".join(items)] if of.type == "characters" and items else items


def _habits(texts: Sequence[Sequence[Sequence[Sequence[str]]]]) -> set[tuple[int, str]]:
    """(field, item) of the words that stand in nearly all texts and in many of their repetitions."""
    of_texts: Counter[tuple[int, str]] = Counter()
    of_repetitions: Counter[tuple[int, str]] = Counter()
    filled: Counter[int] = Counter()
    for text in texts:
        there: set[tuple[int, str]] = set()
        for values in text:
            filled.update(place for place, value in enumerate(values) if value)
            here = {(place, item) for place, value in enumerate(values) for item in value}
            of_repetitions.update(here)
            there |= here
        of_texts.update(there)
    return {
        found
        for found, n in of_texts.items()
        if n >= max(LEAST_HABIT, HABIT * len(texts))
        and of_repetitions[found] >= OFTEN * filled[found[0]]
        and sum(map(str.isalnum, found[1])) >= LEAST_WORD
    }


def _cut(text: Sequence[Sequence[Sequence[str]]], most: int) -> Sequence[Sequence[Sequence[str]]]:
    """Its first repetitions, of at most ``most`` items together, but one at least."""
    items = 0
    for number, values in enumerate(text):
        items += sum(map(len, values))
        if items > most and number:
            return text[:number]
    return text


def _text(
    repetitions: Sequence[Sequence[Sequence[str]]], fields: Sequence[Field], own: Collection[tuple[int, str]]
) -> Recurrence:
    places: dict[str, dict[int, None]] = {}
    for values in repetitions:
        for place, value in enumerate(values):
            for item in value:
                places.setdefault(item, {})[place] = None
    numbers = _Numbers(fields, places)
    shown: list[Repetition] = []
    for values in repetitions:
        repetition = []
        for place, value in enumerate(values):
            said: list[int | str] = []
            for item in value:
                mark = (place, item) in own or not any(c.isalnum() for c in item)
                said.append(item if mark and numbers.lists(place, item) else numbers.of(item, place))
            repetition.append(tuple(said))
        shown.append(tuple(repetition))
    return Recurrence(tuple(numbers.drawn), tuple(shown))


class _Numbers:
    """Numbers of the items of one text: one for all fields where one item could stand in all of them.

    Args:
        places: the fields in which each item stands.
    """

    def __init__(self, fields: Sequence[Field], places: Mapping[str, Collection[int]]):
        self.fields = fields
        self.listed = [kinds_of(field) for field in fields]
        self.places = places
        self.drawn: list[str] = []
        self.known: dict[tuple[str, int | None], int] = {}

    def lists(self, place: int, item: str) -> bool:
        kinds = self.listed[place]
        return kinds is not None and item in kinds.get(kind(item), ())

    def of(self, item: str, place: int) -> int:
        kinds, among = self.listed[place], self.places[item]
        wanted = ANY if kinds is None else kind(item)
        shared = drawable(wanted, [self.fields[one] for one in among], [self.listed[one] for one in among])
        key = (item, None if shared else place)
        if key not in self.known:
            self.known[key] = len(self.drawn)
            self.drawn.append(min(kinds) if kinds is not None and wanted not in kinds else wanted)
        return self.known[key]
