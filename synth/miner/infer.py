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
from itertools import pairwise

from synth.field import CLASSES, Field, Scope
from synth.miner.mined import in_proportion

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
EVEN = 0.8
"""Least entropy of drawn characters, as a part of what is possible."""
PIECE = 2.5
"""Most characters in a piece of drawn characters: words have longer ones."""
ALIKE = 0.25
"""Most of its 3-character strings that a drawn value shares with the one before, unless they are equal."""
OUTLIERS = 0.05
"""Share of the values that may be of another type than the field, and are left out."""
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_WORD = re.compile(r"\s?[^\W_]+|\W")
Pieces = Callable[[str], list[str]]
Value = Sequence[str]
"""The items of one value; none is empty."""


@dataclass(frozen=True)
class Inferred:
    """A field, and the items of each of the values it was made of; None of an outlier."""

    field: Field
    items: tuple[Value | None, ...]


def infer_field(
    name: str, values: Sequence[str], pieces: Pieces, scope: Scope = "repetition"
) -> Field | None:
    """The field of these values; see `infer`."""
    inferred = infer(name, values, pieces, scope)
    return None if inferred is None else inferred.field


def infer(name: str, values: Sequence[str], pieces: Pieces, scope: Scope = "repetition") -> Inferred | None:
    """The field of these values, where empty ones say that nothing stood there; None where there is nothing to list.

    Args:
        pieces: cuts a string into the tokenizer's pieces, for values that are no words.
    """
    full = [value for value in values if value and REPLACEMENT not in value]
    if not full:
        return None
    maker = _Maker(name, scope, values)
    distinct = Counter(full)
    few = len(distinct) <= FEW and len(full) >= SEEN_AGAIN * len(distinct)
    if few and _nearly_all(full, _is_word):
        return maker.whole("fixed_list", listed(full, 400), lambda value: True)
    if _nearly_all(full, _is_number):
        return maker.whole("number", _ranges([value for value in full if _is_number(value)]), _is_number)
    for rule in ("hex", "alphanumeric", "base64"):
        known = frozenset(CLASSES[rule])
        if _nearly_all(full, known.issuperset) and _looks_drawn(full, rule, pieces):
            return maker.split("characters", rule, list, "", known.issuperset)
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
    scope: Scope
    values: Sequence[str]

    def whole(self, kind: str, rules: str | tuple[str, ...], good: Good) -> Inferred:
        """Values are drawn as they are."""
        return of_items(self.name, kind, rules, self._cut(lambda value: [value], good), scope=self.scope)

    def split(
        self, kind: str, rule: str | None, items: Callable[[str], list[str]], separator: str, good: Good
    ) -> Inferred | None:
        """Values are made of items; those of a list, unless there is a ``rule``."""
        cut = self._cut(items, good)
        there = (item for value in cut for item in value or () if REPLACEMENT not in item)
        rules = rule or listed(there, 100)
        return of_items(self.name, kind, rules, cut, separator, self.scope) if rules else None

    def _cut(self, items: Callable[[str], list[str]], good: Good) -> list[Value | None]:
        cut: list[Value | None] = []
        for value in self.values:
            fits = REPLACEMENT not in value and (not value or good(value))
            own = (items(value) if value else [])[:LONGEST_VALUE] if fits else None
            cut.append(own if own is not None and all(own) else None)
        return cut


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


def _looks_drawn(values: Sequence[str], rule: str, pieces: Pieces) -> bool:
    """Digits among letters in most of them, none short, none much like the last, no words, no prevailing character."""
    if sum(len(value) >= 6 for value in values) < (1 - OUTLIERS) * len(values):
        return False
    mixed = [value for value in values if any(c.isdigit() for c in value) and any(c.isalpha() for c in value)]
    if len(mixed) < 0.8 * len(values):
        return False
    threes = [{value[k : k + 3] for k in range(len(value) - 2)} for value in values]
    usual = Counter(three for own in threes for three in own)
    threes = [
        {three for three in own if usual[three] <= len(values) / 2} for own in threes
    ]  # no constant parts
    pairs = [(a, b) for a, b in pairwise(threes) if a != b]
    if sum(len(a & b) for a, b in pairs) > ALIKE * sum(len(b) for _, b in pairs):
        return False
    counts = Counter("".join(values))
    total = sum(counts.values())
    entropy = -sum(n / total * math.log2(n / total) for n in counts.values())
    if entropy < EVEN * math.log2(min(len(CLASSES[rule]), total)):
        return False
    return total <= PIECE * sum(len(pieces(value)) for value in values)
