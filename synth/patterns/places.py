"""Sets of places in a text as whole numbers, one bit a place: how a template is followed without going back.

Bit p of a set says that something may stand at place p, between characters. A part of the template takes a set of
places where it begins to the set of places where it may end, all at once, by shifts and masks: linear in the text and
in memory, whatever the text. Refused: regular expressions, whose backtracking takes time and memory without bound
on the patterns that come from models and from data.
"""

from collections.abc import Callable, Iterator
from functools import lru_cache

import numpy as np

Places = int
"""A set of places, as bits."""


class Text:
    """A text, with the places of what was asked for before."""

    def __init__(self, text: str):
        self.text = text
        self.all: Places = (1 << (len(text) + 1)) - 1
        self._points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
        self._begins: dict[str, Places] = {}
        self._runs: dict[tuple[frozenset[str] | None, int], Places] = {}

    def begins_of(self, string: str) -> Places:
        """Where ``string`` begins; overlapping ones too."""
        places = self._begins.get(string)
        if places is None:
            starts = []
            place = self.text.find(string)
            while place >= 0:
                starts.append(place)
                place = self.text.find(string, place + 1)
            places = self._begins[string] = _bits(starts)
        return places

    def behind(self, string: str, places: Places) -> tuple[Places, int]:
        """(where it ends that begins at one of ``places``, how many were looked at); nothing is kept of it."""
        if not string:
            return places, 1
        ends, looked = [], 0
        place = self.text.find(string, (places & -places).bit_length() - 1) if places else -1
        while place >= 0:
            looked += 1
            there = places >> place
            if there & 1:
                ends.append(place + len(string))
                there >>= 1
                place += 1
            if not there:
                break
            place = self.text.find(string, place + (there & -there).bit_length() - 1)
        return _bits(ends) if ends else 0, max(1, looked)

    def run(self, characters: frozenset[str] | None, length: int) -> Places:
        """Where ``length`` of these characters (None: of any) begin."""
        if length > len(self.text):
            return 0
        if characters is None:
            return (1 << (len(self.text) + 1 - length)) - 1
        key = characters, length
        if key not in self._runs:
            if length == 1:
                packed = np.packbits(np.isin(self._points, _points(characters)), bitorder="little")
                self._runs[key] = int.from_bytes(packed.tobytes(), "little")
            else:
                half = length // 2
                self._runs[key] = self.run(characters, half) & (self.run(characters, length - half) >> half)
        return self._runs[key]


@lru_cache(maxsize=4096)
def _points(characters: frozenset[str]) -> np.ndarray:
    return np.array(sorted(map(ord, characters)), np.uint32)


def _bits(places: list[int]) -> Places:
    if len(places) < 64:
        return sum(1 << place for place in places)
    marks = np.zeros(places[-1] + 1, np.uint8)
    marks[places] = 1
    return int.from_bytes(np.packbits(marks, bitorder="little").tobytes(), "little")


def each(places: Places) -> Iterator[int]:
    """The places of a set, rising."""
    for word, low in enumerate(places.to_bytes((places.bit_length() + 7) // 8, "little")):
        while low:
            yield 8 * word + (low & -low).bit_length() - 1
            low &= low - 1


Move = Callable[[Text, Places], Places]
"""From the places where a part begins to those where it may end, or the other way."""


def literal(string: str) -> tuple[Move, Move]:
    """(forward, backward) over exactly this string."""
    n = len(string)
    return (
        lambda text, places: (places & text.begins_of(string)) << n,
        lambda text, places: (places >> n) & text.begins_of(string),
    )


def one_of(strings: tuple[str, ...]) -> tuple[Move, Move]:
    """Over any one of these strings; an empty one stays where it is."""

    def forward(text: Text, places: Places) -> Places:
        ends = 0
        for string in strings:
            ends |= (places & text.begins_of(string)) << len(string) if string else places
        return ends

    def backward(text: Text, places: Places) -> Places:
        begins = 0
        for string in strings:
            begins |= (places >> len(string)) & text.begins_of(string) if string else places
        return begins

    return forward, backward


def run_of(characters: frozenset[str] | None, least: int, most: int) -> tuple[Move, Move]:
    """Over ``least`` to ``most`` of these characters (None: of any)."""

    def forward(text: Text, places: Places) -> Places:
        reached = (places & text.run(characters, least)) << least if least else places
        return _widen(reached, most - least, lambda p, n: (p & text.run(characters, n)) << n)

    def backward(text: Text, places: Places) -> Places:
        reached = (places >> least) & text.run(characters, least) if least else places
        return _widen(reached, most - least, lambda p, n: (p >> n) & text.run(characters, n))

    return forward, backward


def _widen(places: Places, most: int, step: Callable[[Places, int], Places]) -> Places:
    """All places that 0 to ``most`` steps lead to: reach is doubled, not walked."""
    done = 0
    while done < most and places:
        n = min(done + 1, most - done)
        wider = places | step(places, n)
        if wider == places and n == done + 1:
            return places  # further is no use: every step from here ends in the set
        places, done = wider, done + n
    return places
