"""How much of what fields say comes back within a text: the two shares of every field's ``again``, as samples show them.

The values of all fields of a text, repetition by repetition in the order of the template, are one stream of items, in
which `END` closes each value. Read in order, an item *comes back* when it is what followed the item before it in the
last value of its field where that one stood; or, behind an item that came back, what followed there. Both shares are
counted per field, less what a plain draw would have hit by chance. The generator (``codegen.py``) writes streams by the
same rule, so that single items, whole values and whole repetitions come back as they do in the samples.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from synth.field import Field
from synth.miner.infer import Inferred, Value

END = ""
"""Closes a value."""
LITTLE = 0.01
"""A field of which less comes back takes no part."""


@dataclass
class _Seen:
    """What is counted of one field; pairs are behind a new item, and behind one that came back."""

    drawn: Counter[str] = field(default_factory=Counter)
    lengths: Counter[int] = field(default_factory=Counter)
    tried: list[int] = field(default_factory=lambda: [0, 0])
    hit: list[int] = field(default_factory=lambda: [0, 0])
    chance: list[float] = field(default_factory=lambda: [0.0, 0.0])

    def prepare(self) -> None:
        self.total = max(1, sum(self.drawn.values()))
        self.most = max(self.lengths)
        self.longer = [
            sum(count for length, count in self.lengths.items() if length >= n) for n in range(self.most + 1)
        ]

    def luck(self, expected: str, number: int) -> float:
        """How likely a plain draw gives the expected item as that of this number."""
        ends = self.lengths[number] / self.longer[number]
        return ends if expected == END else (1 - ends) * self.drawn[expected] / self.total

    def shares(self) -> tuple[float, float]:
        start, go_on = (
            min(1.0, max(0.0, (h - c) / max(n - c, 1e-9))) if n else 0.0
            for n, h, c in zip(self.tried, self.hit, self.chance)
        )
        return round(start, 3), round(go_on, 3)


def shares(texts: Sequence[Sequence[Sequence[Value]]], fields: Sequence[int]) -> dict[int, tuple[float, float]]:
    """(start, go on) by field, of those of which something comes back.

    Args:
        texts: [texts][repetitions][fields] values.
        fields: those that may take part, by number.
    """
    while fields:
        found = _count(texts, fields)
        some = [number for number in fields if max(found[number]) >= LITTLE]
        if len(some) == len(fields):
            return found
        fields = some
    return {}


def _count(texts: Sequence[Sequence[Sequence[Value]]], fields: Sequence[int]) -> dict[int, tuple[float, float]]:
    seen = {number: _Seen() for number in fields}
    for text in texts:
        for repetition in text:
            for number in fields:
                seen[number].drawn.update(repetition[number])
                seen[number].lengths[len(repetition[number])] += 1
    for one in seen.values():
        one.prepare()
    for text in texts:
        stream: list[str] = []
        last: dict[tuple[int, str], int] = {}
        place: int | None = None
        for repetition in text:
            for number in fields:
                value, own = repetition[number], seen[number]
                for k, item in enumerate([*value, END]):
                    key = number, value[k - 1] if k else END
                    going_on = place is not None
                    if place is None:
                        place = last.get(key)
                    if k >= own.most:  # it ends whatever was drawn
                        place = place + 1 if going_on and place is not None and stream[place] == END else None
                    elif place is not None:
                        right = stream[place] == item
                        own.tried[going_on] += 1
                        own.hit[going_on] += right
                        own.chance[going_on] += own.luck(stream[place], k)
                        place = place + 1 if right else None
                    last[key] = len(stream)
                    stream.append(item)
    return {number: one.shares() for number, one in seen.items()}


def with_again(inferred: Sequence[Inferred], texts: Sequence[int]) -> list[Field]:
    """The fields, with what comes back of each.

    Args:
        texts: of which text each repetition is, in order.
    """
    by_text: dict[int, list[list[Value]]] = {}
    for number, text in enumerate(texts):
        values = [one.items[number] for one in inferred]
        known = [value for value in values if value is not None]
        if len(known) == len(values):
            by_text.setdefault(text, []).append(known)
    places = [k for k, one in enumerate(inferred) if one.field.scope == "repetition"]
    found = shares(list(by_text.values()), places if by_text else [])
    return [replace(one.field, again=found.get(k)) for k, one in enumerate(inferred)]
