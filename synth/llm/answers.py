"""What an answer says: one JSON object or one fenced block; nothing is searched for in prose, and nothing is mended.

Thoughts may stand before it, since local servers leave those of some models in the text, and prose around a fenced
block, where there is only one. Of an object that breaks off (or is no JSON from some place on) the complete items at
the beginning of a list can be read.

Refused besides what is no JSON: keys given twice, NaN and infinities, nesting beyond `DEEPEST`, and half characters
(lone surrogates), none of which survive being written down. A whole number written as 2.0 is 2.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

DEEPEST = 40
_FENCE = re.compile(r"^[ \t]*```([A-Za-z0-9_+-]*)[ \t\r]*$", re.MULTILINE)
_BLANK = re.compile(r"\s*")
_BEGIN, _END = "<think>", "</think>"


class InvalidAnswer(Exception):
    """The answer is not of the form that was asked for; the text is for its author."""


class NoJson(InvalidAnswer):
    """It is no JSON, from some place on."""


@dataclass(frozen=True)
class Broken:
    """Stands in a parsed value for something that must not be there."""

    said: str


def without_thoughts(text: str) -> str:
    """``text`` behind the thoughts at its beginning.

    These are any number of ``<think>…</think>``; one of them may lack its beginning, which some chat templates write
    into the prompt. In a text that begins as JSON, or within a fenced block, ``</think>`` is a word like any other.
    """
    place, whole_only = _skip(text, 1 if text.startswith("\ufeff") else 0), False
    while True:
        end = text.find(_END, place)
        if end < 0:
            return text[place:]
        if not text.startswith(_BEGIN, place):
            within = sum(1 for _ in _FENCE.finditer(text, place, end)) % 2
            if whole_only or within or text.startswith("{", place):
                return text[place:]
            whole_only = True
        place = _skip(text, end + len(_END))


def fenced(text: str) -> tuple[str, str] | None:
    """(language, content) of the one fenced block in ``text``; None where there is none, or more."""
    fences = list(_FENCE.finditer(text))
    if len(fences) != 2 or fences[1][1]:
        return None
    return fences[0][1].lower(), text[fences[0].end() + 1 : max(fences[0].end() + 1, fences[1].start() - 1)]


def json_object(text: str) -> dict[str, Any]:
    """The JSON object that ``text`` is, bare or in one fenced block, perhaps behind thoughts.

    Raises:
        InvalidAnswer: it is something else.
    """
    value = json_parts(text)
    said = complaint(value)
    if said is not None:
        raise InvalidAnswer(said)
    return value


def json_parts(text: str) -> dict[str, Any]:
    """As `json_object`, but what must not be there stands in its place as `Broken`; see `complaint`.

    Raises:
        InvalidAnswer: there is no such object.
    """
    text = without_thoughts(text)
    block = fenced(text)
    if block is not None and block[0] in ("", "json"):
        text = block[1]
    try:
        value = _DECODER.decode(text)
    except RecursionError:
        raise InvalidAnswer("the JSON is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise NoJson(
            f"the answer is not one JSON object ({error.msg}, line {error.lineno} column {error.colno}); answer "
            "with the JSON alone"
        ) from None
    if isinstance(value, Broken):
        raise InvalidAnswer(value.said)
    if not isinstance(value, dict):
        raise InvalidAnswer(f"the answer is a JSON {type(value).__name__}, not an object")
    return value


def first_items(text: str, key: str) -> list[Any]:
    """The complete items at the beginning of the list ``key`` of a JSON object that breaks off, as in `json_parts`."""
    text = without_thoughts(text)
    fences = [] if text.startswith("{") else list(_FENCE.finditer(text))
    items: list[Any] = []
    if len(fences) > 2:
        return items
    try:
        place = _expect(text, fences[0].end() if fences else 0, "{")
        while True:
            name, place = _DECODER.raw_decode(text, place)
            place = _expect(text, place, ":")
            if name == key:
                place = _expect(text, place, "[")
                while True:
                    item, place = _DECODER.raw_decode(text, place)
                    items.append(item)
                    place = _expect(text, place, ",")
            _, place = _DECODER.raw_decode(text, place)
            place = _expect(text, place, ",")
    except (ValueError, RecursionError):
        return items


def complaint(value: Any) -> str | None:
    """What is broken in a parsed value, in words for its author; None where nothing is."""
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > DEEPEST:
            return f"the JSON is nested more than {DEEPEST} deep"
        below: list[Any] = []
        for item in level:
            if isinstance(item, Broken):
                return item.said
            if isinstance(item, dict):
                below += [*item.keys(), *item.values()]
            elif isinstance(item, list):
                below += item
            elif isinstance(item, str) and any("\ud800" <= c <= "\udfff" for c in item):
                return f"the string {ascii(item)[:60]} holds half a character (a lone surrogate)"
        level = below
    return None


def _skip(text: str, place: int) -> int:
    """The place behind blanks."""
    match = _BLANK.match(text, place)
    return match.end() if match else place


def _expect(text: str, place: int, character: str) -> int:
    """The place behind ``character`` and the blanks around it."""
    place = _skip(text, place)
    if not text.startswith(character, place):
        raise ValueError(f"no {character}")
    return _skip(text, place + 1)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any] | Broken:
    value = dict(pairs)
    if len(value) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        return Broken(f"the key {twice[:60]!r} is there twice in one object")
    return value


def _integer(text: str) -> int | Broken:
    try:
        return int(text)
    except ValueError:
        return Broken("a number in the JSON has too many digits")


def _number(text: str) -> float | int | Broken:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        return Broken(f"the number {text[:20]} is too large")
    return int(value) if value.is_integer() else value


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object,
    parse_int=_integer,
    parse_float=_number,
    parse_constant=lambda name: Broken(f"{name} is not JSON"),
)
