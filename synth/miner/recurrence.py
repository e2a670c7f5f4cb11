"""Which items of a text come back where: texts as the samples show them, with numbers in the place of what varies.

Two items of a text have one number where they are equal, in whichever fields and repetitions. What is the pattern's own
stays itself: marks and blanks, and what stands in the template's literal text. So texts written by these keep lengths,
order and every repetition of a sample, and say it with other words.
"""

from collections.abc import Collection, Sequence

from synth.field import Field
from synth.miner.infer import Inferred, spread
from synth.recurrence import ANY, Recurrence, Repetition, kind

MOST_TEXTS = 64
"""Texts kept of a pattern, evenly from its first sample to its last."""
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
    by_text: dict[int, list[int]] = {}
    for row, text in enumerate(texts):
        if all(one.items[row] is not None for one in inferred):
            by_text.setdefault(text, []).append(row)
    numbers = list(by_text)
    chosen = [numbers[k] for k in spread(range(len(numbers)), MOST_TEXTS)] if numbers else []
    most = MOST_ITEMS // max(1, len(chosen))
    listed = [frozenset(one.field.values) if one.field.type == "fixed_list" else None for one in inferred]
    made = [_text(inferred, by_text[text], listed, literal, most) for text in chosen]
    return tuple(text for text in made if any(any(one) for one in text.repetitions))


def _text(
    inferred: Sequence[Inferred],
    rows: Sequence[int],
    listed: Sequence[frozenset[str] | None],
    literal: Collection[str],
    most: int,
) -> Recurrence:
    known: dict[tuple[int, str], int] = {}
    drawn: list[str] = []
    shown: list[Repetition] = []
    items = 0
    for row in rows:
        values = [_items(one.field, one.items[row] or ()) for one in inferred]
        items += sum(map(len, values))
        if items > most and shown:
            break
        repetition = []
        for place, (value, among) in enumerate(zip(values, listed)):
            said: list[int | str] = []
            for item in value:
                there = among is not None and item in among
                if there and (item in literal or not any(c.isalnum() for c in item)):
                    said.append(item)
                    continue
                own = (-1 if there else place, item)  # an item of a list is the same in every field that lists it
                if own not in known:
                    known[own] = len(drawn)
                    drawn.append(_kind(item, among))
                said.append(known[own])
            repetition.append(tuple(said))
        shown.append(tuple(repetition))
    return Recurrence(tuple(drawn), tuple(shown))


def _kind(item: str, among: frozenset[str] | None) -> str:
    """Its kind; that of some listed item where none of the list is of its own."""
    if among is None:
        return ANY
    wanted = kind(item)
    return wanted if item in among or any(kind(one) == wanted for one in among) else kind(min(among))


def _items(field: Field, items: Sequence[str]) -> Sequence[str]:
    """Characters are drawn together, as one item."""
    return ["".join(items)] if field.type == "characters" and items else items
