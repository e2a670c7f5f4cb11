"""Fields as moves over the places of a text (``places.py``): where a value may begin, and where it may end."""

from synth.patterns.field import CASES, CLASSES, Field
from synth.patterns.places import Move, one_of, run_of

BROKEN = "\N{REPLACEMENT CHARACTER}"
"""Stands in texts where a token is a part of a character, which no list of items can hold."""
LISTED = 400
"""Fixed lists of more values are searched for by their characters."""


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
        characters, longest = set("".join(values) + field.separator + BROKEN), max(map(len, values))
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
