"""From the values that stood in one place to a typed field: numbers, a short list, characters, words or pieces.

The first type that fits is taken, from the narrowest to the widest. Nothing is invented: bounds are those seen, and
lists hold what was seen, as often as it was (`in_proportion`), up to `MOST_VALUES` entries.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from synth.miner.mined import in_proportion
from synth.pattern import CLASSES, Field, Scope

MOST_VALUES = 1000
"""Listed entries of a field."""
FEW = 40
"""So many different values at the most are a list of whole values ..."""
SEEN_AGAIN = 2.0
"""... when each was seen so often on average."""
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
Pieces = Callable[[str], list[str]]


def infer_field(
    name: str, values: Sequence[str], pieces: Pieces, scope: Scope = "repetition"
) -> Field | None:
    """The field of these values; None where there is nothing to list.

    Args:
        pieces: cuts a string into the tokenizer's pieces, for values that are no words.
    """
    values = [value for value in values if value and REPLACEMENT not in value]
    if not values:
        return None
    distinct = Counter(values)
    if all(value.isascii() and value.isdigit() and len(value) <= 15 for value in distinct):
        return Field(name=name, type="number", values_or_rules=_range(list(distinct)), scope=scope)
    if len(distinct) <= FEW and len(values) >= SEEN_AGAIN * len(distinct):
        return Field(name=name, type="fixed_list", values_or_rules=_listed(values, 400), scope=scope)
    if (rule := _random_class(list(distinct))) is not None:
        lengths = sorted(map(len, values))
        return Field(
            name=name,
            type="characters",
            values_or_rules=rule,
            count=(min(lengths[0], 1000), min(lengths[-1], 1000)),
            scope=scope,
        )
    if all(_is_words(value) for value in distinct):
        return _items(name, [value.split(" ") for value in values], " ", scope)
    return _items(name, [pieces(value) for value in values], "", scope)


def _items(name: str, split: Sequence[Sequence[str]], separator: str, scope: Scope) -> Field | None:
    listed = _listed((item for items in split for item in items if item and REPLACEMENT not in item), 100)
    if not listed:
        return None
    counts = sorted(len(items) for items in split)
    low, high = counts[len(counts) // 20], counts[-1 - len(counts) // 20]  # without the odd ones out
    count = (max(1, min(low, 1000)), max(1, min(high, 1000)))
    return Field(
        name=name,
        type="fixed_list",
        values_or_rules=listed,
        count=None if count == (1, 1) else count,
        separator="" if count == (1, 1) else separator,
        scope=scope,
    )


def _listed(values: Iterable[str], longest: int) -> tuple[str, ...]:
    return in_proportion([value for value in values if len(value) <= longest], MOST_VALUES)


def _range(values: Sequence[str]) -> str:
    low, high = min(map(int, values)), max(map(int, values))
    widths = set(map(len, values))
    padded = len(widths) == 1 and any(value.startswith("0") and len(value) > 1 for value in values)
    return f"{low:0{widths.pop()}d}-{high}" if padded else f"{low}-{high}"


def _random_class(values: Sequence[str]) -> str | None:
    """The narrowest class of strings that look drawn: digits among letters, or both cases, and hardly two alike."""
    if min(map(len, values)) < 6 or any(" " in value for value in values):
        return None
    mixed = [value for value in values if any(c.isdigit() for c in value) and any(c.isalpha() for c in value)]
    if len(mixed) < 0.8 * len(values):
        return None
    used = set("".join(values))
    return next((name for name in ("hex", "alphanumeric", "base64") if used <= set(CLASSES[name])), None)


def _is_words(value: str) -> bool:
    return all(word.isalpha() for word in value.split(" "))
