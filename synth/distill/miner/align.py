"""What several strings have in common, in order: literal parts, and the places between that vary.

The longest string that stands in nearly all of them becomes a literal and cuts each in two; both sides are cut again.
A string that lacks a literal is left out of all places, so that values which stood together stay together.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

QUORUM = 0.9
"""Share of the strings that must hold a common part; the others no longer count."""
DEEPEST = 6
"""Cuts within cuts."""
LONGEST = 400
"""Characters of a string that are looked at."""


@dataclass(frozen=True)
class Alignment:
    """``literals[0] slot literals[1] slot … literals[-1]``.

    Attributes:
        literals: one more than slots; may be empty strings.
        slots: per slot the values that stood there, one per fitting string; empty strings where nothing did.
        fitting: the strings that hold all literals, by number, rising.
    """

    literals: tuple[str, ...]
    slots: tuple[tuple[str, ...], ...]
    fitting: tuple[int, ...]


def align(strings: Sequence[str], depth: int = DEEPEST) -> Alignment:
    """Align non-empty ``strings``; where they have nothing in common, one slot holds them all."""
    numbers = tuple(range(len(strings)))
    if len(set(strings)) == 1:
        return Alignment((strings[0],), (), numbers)
    common = _common(strings) if depth else ""
    if not common:
        return Alignment(("", ""), (tuple(strings),), numbers)
    numbers = tuple(number for number in numbers if common in strings[number])
    cuts = [(strings[number], strings[number].index(common)) for number in numbers]
    left = align([string[:place] for string, place in cuts], depth - 1)
    behind = [cuts[k][0][cuts[k][1] + len(common) :] for k in left.fitting]
    right = align(behind, depth - 1)
    joined = left.literals[-1] + common + right.literals[0]
    return Alignment(
        (*left.literals[:-1], joined, *right.literals[1:]),
        (*(tuple(slot[k] for k in right.fitting) for slot in left.slots), *right.slots),
        tuple(numbers[left.fitting[k]] for k in right.fitting),
    )


def _common(strings: Sequence[str]) -> str:
    """The longest string that stands in at least `QUORUM` of them and says something; "" where there is none."""
    cut = [string[:LONGEST] for string in strings]
    needed = max(2, -int(-QUORUM * len(cut) // 1))
    low, high, best = 1, max(map(len, cut)), ""
    while low <= high:  # if a string of n characters is common, so are its parts
        middle = (low + high) // 2
        counts: Counter[str] = Counter()
        for string in cut:
            counts.update({string[i : i + middle] for i in range(len(string) - middle + 1)})
        shared = sorted(part for part, count in counts.items() if count >= needed)
        if shared:
            telling = [part for part in shared if _says_something(part)]
            best = max(telling, key=lambda part: counts[part], default=best)
            low = middle + 1
        else:
            high = middle - 1
    return best


def _says_something(part: str) -> bool:
    """Common letters and spaces are chance; three characters, or a mark or line end, are not."""
    return len(part.strip()) >= 3 or any(not c.isalnum() and c != " " for c in part)
