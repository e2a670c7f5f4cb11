"""From the values that stood in one place to a typed field: numbers, a short list, characters, words or pieces.

The first type that fits nearly all values (`OUTLIERS`) is taken, from the narrowest to the widest; the others are left
out. Nothing is invented: lists hold what was seen, as often as it was (`in_proportion`), up to `MOST_VALUES` entries,
numbers lie in ranges that hold equally many of those seen, and counts are those seen.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from synth.distill.miner.mined import REPLACEMENT, in_proportion
from synth.patterns.field import CLASSES, Field, Scope

MOST_VALUES = 1000
"""Listed entries of a field."""
MOST_COUNTS = 100
"""Listed counts of a field."""
RANGES = 10
"""Ranges of a number field, where twice as many numbers were seen."""
LONGEST_VALUE = 1000
"""Items."""
FEW = 40
"""So many different words at the most are a list of whole values ..."""
SEEN_AGAIN = 2.0
"""... when each was seen so often on average."""
DRAWN = ("hex", "alphanumeric", "base64")
"""Classes that characters may be drawn from."""
EVEN = 0.8
"""Least entropy of drawn characters, as a part of what is possible."""
PIECE = 2.5
"""Most characters in a piece of drawn characters: words have longer ones."""
ALIKE = 0.2
"""Most of the 3-character strings of drawn values that stood earlier in the same text, and most of the values that
stand in another slot too."""
OUTLIERS = 0.05
"""Share of the values that may be of another type than the field, and are left out."""
_WORD = re.compile(r"\s?[^\W_]+|\W")
Pieces = Callable[[str], list[str]]
Value = Sequence[str]
"""The items of one value; none is empty."""


@dataclass(frozen=True)
class Inferred:
    """A field, and the items of each of the values it was made of; None of an outlier."""

    field: Field
    items: tuple[Value | None, ...]

    @property
    def outliers(self) -> int:
        """How many values were left out."""
        return sum(value is None for value in self.items)


def infer(name: str, values: Sequence[str], pieces: Pieces, again: bool = False) -> Inferred | None:
    """The field of these values, where empty ones say that nothing stood there; None where there is nothing to list.

    Args:
        pieces: cuts a string into the tokenizer's pieces, for values that are no words.
        again: much of the values comes back within a text, so that they are no drawn characters (`coming_back`).
    """
    full = _known(values)
    if not full:
        return None
    maker = _Maker(name, values)
    distinct = Counter(full)
    few = len(distinct) <= FEW and len(full) >= SEEN_AGAIN * len(distinct)
    if few and _nearly_all(full, _is_word):
        return maker.whole("fixed_list", listed(full, 400), lambda value: True)
    if _nearly_all(full, _is_number):
        return maker.whole("number", _ranges([value for value in full if _is_number(value)]), _is_number)
    rule = None if again else _drawn_class(full, pieces)
    if rule is not None:
        return maker.split("characters", rule, list, "", frozenset(CLASSES[rule]).issuperset)
    if _nearly_all(full, _are_words):
        return maker.split("fixed_list", None, lambda value: value.split(" "), " ", _are_words)
    return maker.split("fixed_list", None, pieces, "", lambda value: True)


def of_items(
    name: str,
    kind: str,
    rules: str | tuple[str, ...],
    items: Sequence[Value | None],
    separator: str = "",
    scope: Scope = "repetition",
) -> Inferred:
    """The field of values whose items are known."""
    counts = spread(sorted(len(value) for value in items if value is not None), MOST_COUNTS) or [1]
    least, most = counts[0], counts[-1]
    field = Field(
        name=name,
        type=kind,
        values_or_rules=rules,
        count=(least, most) if least == most != 1 else None,
        counts=None if least == most else tuple(counts),
        separator=separator if most > 1 else "",
        scope=scope,
    )
    return Inferred(field, tuple(items))


def listed(values: Iterable[str], longest: int) -> tuple[str, ...]:
    """What a field lists of them."""
    return in_proportion([value for value in values if len(value) <= longest], MOST_VALUES)


def spread(ordered: Sequence[int], most: int) -> list[int]:
    """At most ``most`` of these values, which rise, evenly from the first to the last."""
    if len(ordered) <= most:
        return list(ordered)
    return [ordered[round(k * (len(ordered) - 1) / (most - 1))] for k in range(most)]


Good = Callable[[str], bool]


def _nearly_all(values: Sequence[str], good: Good) -> bool:
    return sum(map(good, values)) >= (1 - OUTLIERS) * len(values)


@dataclass(frozen=True)
class _Maker:
    """Makes a field of values once its type is known."""

    name: str
    values: Sequence[str]

    def whole(self, kind: str, rules: str | tuple[str, ...], good: Good) -> Inferred:
        """Values are drawn as they are."""
        return of_items(self.name, kind, rules, self._cut(lambda value: [value], good))

    def split(
        self, kind: str, rule: str | None, items: Callable[[str], list[str]], separator: str, good: Good
    ) -> Inferred | None:
        """Values are made of items; those of a list, unless there is a ``rule``."""
        cut = self._cut(items, good)
        there = (item for value in cut for item in value or () if REPLACEMENT not in item)
        rules = rule or listed(there, 100)
        return of_items(self.name, kind, rules, cut, separator) if rules else None

    def _cut(self, items: Callable[[str], list[str]], good: Good) -> list[Value | None]:
        cut: list[Value | None] = []
        for value in self.values:
            fits = REPLACEMENT not in value and (not value or good(value))
            own = (items(value) if value else [])[:LONGEST_VALUE] if fits else None
            cut.append(own if own is not None and all(own) else None)
        return cut


def coming_back(slots: Sequence[Sequence[str]], texts: Sequence[int], pieces: Pieces) -> bool:
    """Whether what looks drawn repeats much of other slots [slots][rows], or of earlier values of its text.

    Drawn characters do not: what does is better made of pieces, of which some come back.
    """
    drawn = [slot for slot in slots if _drawn_class(_known(slot), pieces) is not None]
    for slot in drawn:
        others = (other for other in slots if other is not slot)
        if any(sum(a == b != "" for a, b in zip(slot, other)) > ALIKE * len(slot) for other in others):
            return True
    seen: dict[int, set[str]] = {}
    back, total = [0] * len(drawn), [0] * len(drawn)
    for row, text in enumerate(texts):
        before = seen.setdefault(text, set())
        for number, slot in enumerate(drawn):
            parts = {slot[row][k : k + 3] for k in range(len(slot[row]) - 2)}
            if not parts <= before:  # a value that stands again as it is tells nothing
                back[number] += len(parts & before)
                total[number] += len(parts)
            before |= parts
    return any(some > ALIKE * all_of_them for some, all_of_them in zip(back, total))


def _known(values: Sequence[str]) -> list[str]:
    return [value for value in values if value and REPLACEMENT not in value]


def _is_word(value: str) -> bool:
    return _WORD.fullmatch(value) is not None


def _are_words(value: str) -> bool:
    return all(word.isalpha() for word in value.split(" "))


def _is_number(value: str) -> bool:
    return value.isascii() and value.isdigit() and len(value) <= 15


def _ranges(values: Sequence[str]) -> str | tuple[str, ...]:
    """The range of these numbers, or ranges that hold equally many of them."""
    widths = set(map(len, values))
    padded = len(widths) == 1 and any(value.startswith("0") and len(value) > 1 for value in values)
    width = widths.pop() if padded else 0
    numbers = sorted(map(int, values))
    parts = RANGES if len(numbers) >= 2 * RANGES else 1
    cuts = [numbers[k * len(numbers) // parts : (k + 1) * len(numbers) // parts] for k in range(parts)]
    ranges = tuple(f"{cut[0]:0{width}d}-{cut[-1]:0{width}d}" for cut in cuts)
    return ranges[0] if len(set(ranges)) == 1 else ranges


def _drawn_class(values: Sequence[str], pieces: Pieces) -> str | None:
    """The narrowest class of characters that these look drawn from; None where they do not.

    They do with digits among letters in most of them, none short, no words in them, and no value or character that
    prevails.
    """
    fitting = (rule for rule in DRAWN if _nearly_all(values, frozenset(CLASSES[rule]).issuperset))
    rule = next(fitting, None)
    if rule is None or not values or not _nearly_all(values, lambda value: len(value) >= 6):
        return None
    mixed = [value for value in values if any(c.isdigit() for c in value) and any(c.isalpha() for c in value)]
    if len(mixed) < 0.8 * len(values):
        return None
    prevailing = max(Counter(values).values())
    if prevailing >= 3 and prevailing > OUTLIERS * len(values):
        return None
    counts = Counter("".join(values))
    total = sum(counts.values())
    entropy = -sum(n / total * math.log2(n / total) for n in counts.values())
    if entropy < EVEN * math.log2(min(len(CLASSES[rule]), total)):
        return None
    return rule if total <= PIECE * sum(len(pieces(value)) for value in values) else None
