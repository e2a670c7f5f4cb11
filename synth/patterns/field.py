"""A placeholder of a template: what may stand there, how much of it, and what of it comes back.

Values and counts are written as they were seen: lists are drawn from plainly, so that what is listed twice is twice as
likely. A ``copy`` is the value of another field, perhaps in other case. `FIELD_SCHEMA` is what ``jsonschema`` checks.
"""

import re
import string
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from curator.errors import CuratorError

Scope = Literal["repetition", "text"]
TYPES = ("fixed_list", "characters", "number", "random_text", "copy")
CASES = ("lower", "upper", "title")
"""What a ``copy`` may do to the value: Python's string methods of these names."""
CLASSES: dict[str, str] = {
    "lowercase": string.ascii_lowercase,
    "uppercase": string.ascii_uppercase,
    "letters": string.ascii_letters,
    "digits": string.digits,
    "alphanumeric": string.ascii_letters + string.digits,
    "hex": string.digits + "abcdef",
    "base64": string.ascii_letters + string.digits + "+/",
    "printable": "".join(map(chr, range(0x20, 0x7F))),
}
"""Character classes that a field of type ``characters`` may name."""
WORDS = (1, 12)
"""Items of a ``random_text`` field that gives no count, in words."""
MOST_COUNTS = 200
"""Entries of ``counts``."""

_NUMBER = re.compile(r"(\d{1,15})-(\d{1,15})")

FIELD_SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["name", "type", "values_or_rules"],
    "properties": {
        "name": {"type": "string", "pattern": "^[A-Za-z][A-Za-z0-9_]{0,39}$"},
        "type": {"enum": list(TYPES)},
        "values_or_rules": {
            "anyOf": [
                {
                    "type": "array",
                    "minItems": 1,
                    "maxItems": 2000,
                    "items": {"type": "string", "minLength": 1, "maxLength": 400},
                },
                {"type": "string", "minLength": 1, "maxLength": 1000},
            ]
        },
        "scope": {"enum": ["repetition", "text"]},
        "count": {
            "type": "array",
            "minItems": 2,
            "maxItems": 2,
            "items": {"type": "integer", "minimum": 1, "maximum": 1000},
        },
        "counts": {
            "type": "array",
            "minItems": 1,
            "maxItems": MOST_COUNTS,
            "items": {"type": "integer", "minimum": 0, "maximum": 1000},
        },
        "separator": {"type": "string", "maxLength": 20},
        "case": {"enum": list(CASES)},
    },
}


class PatternError(CuratorError):
    """A pattern that breaks the schema or contradicts itself; the text lists everything found, a line each."""


@dataclass(frozen=True, kw_only=True)
class Field:
    """A placeholder of a template.

    Attributes:
        type: ``fixed_list`` (one of the listed strings; listed twice is twice as likely), ``characters`` (of a class
            in `CLASSES`), ``number`` (rule ``MIN-MAX``, both included; leading zeros in MIN ask for that width; of
            several such rules one is drawn first), ``random_text`` (the rule describes it in words; any text
            matches) or ``copy`` (the rule names the field whose value it is).
        scope: ``text``: drawn once per text; ``repetition``: drawn anew in every repetition.
        count: least and most items, joined by ``separator``; characters for ``characters``. None: one item.
        counts: in place of ``count``: one of these is how many items; 0 is no text at all.
        case: of a ``copy``: one of `CASES`.
    """

    name: str
    type: str
    values_or_rules: tuple[str, ...] | str
    scope: Scope = "repetition"
    count: tuple[int, int] | None = None
    counts: tuple[int, ...] | None = None
    separator: str = ""
    case: str | None = None

    @staticmethod
    def from_json(value: dict[str, Any]) -> "Field":
        """Of what `FIELD_SCHEMA` has passed."""
        rules = value["values_or_rules"]
        return Field(
            name=value["name"],
            type=value["type"],
            values_or_rules=rules if isinstance(rules, str) else tuple(rules),
            scope=value.get("scope", "repetition"),
            count=tuple(value["count"]) if "count" in value else None,
            counts=tuple(value["counts"]) if "counts" in value else None,
            separator=value.get("separator", ""),
            case=value.get("case"),
        )

    def to_json(self) -> dict[str, Any]:
        rules = self.values_or_rules
        value: dict[str, Any] = {
            "name": self.name,
            "type": self.type,
            "values_or_rules": rules if isinstance(rules, str) else list(rules),
        }
        if self.scope != "repetition":
            value["scope"] = self.scope
        if self.count is not None:
            value["count"] = list(self.count)
        if self.counts is not None:
            value["counts"] = list(self.counts)
        if self.separator:
            value["separator"] = self.separator
        if self.case is not None:
            value["case"] = self.case
        return value

    @property
    def values(self) -> tuple[str, ...]:
        """What a ``fixed_list`` lists."""
        return (self.values_or_rules,) if isinstance(self.values_or_rules, str) else self.values_or_rules

    @property
    def rule(self) -> str:
        """What the other types say in one string."""
        return self.values_or_rules if isinstance(self.values_or_rules, str) else self.values_or_rules[0]

    @property
    def span(self) -> tuple[int, int]:
        """Least and most items."""
        if self.counts is not None:
            return min(self.counts), max(self.counts)
        return self.count or (WORDS if self.type == "random_text" else (1, 1))

    @property
    def usual_length(self) -> float:
        """Characters of its values, on average; 0 of a copy, which is as long as what it copies."""
        if self.type == "copy":
            return 0.0
        if self.type == "characters":
            one = 1.0
        elif self.type == "number":
            one = float(len(str(self.number()[1])))
        elif self.type == "random_text":
            one = 8.0
        else:
            one = sum(map(len, self.values)) / len(self.values)
        items = sum(self.counts) / len(self.counts) if self.counts else sum(self.span) / 2
        return (one + len(self.separator)) * items

    @property
    def ranges(self) -> tuple[tuple[int, int], ...]:
        """(least, most) of each rule of a ``number``."""
        return tuple((int(low), int(high)) for low, high in self._rules())

    def _rules(self) -> Iterator[tuple[str, str]]:
        for rule in (
            (self.values_or_rules,) if isinstance(self.values_or_rules, str) else self.values_or_rules
        ):
            match = _NUMBER.fullmatch(rule)
            if match is None:
                raise PatternError(f"field '{self.name}': {rule!r} is no MIN-MAX")
            yield match[1], match[2]

    def number(self) -> tuple[int, int, int]:
        """(least, most, width in digits, 0 for as many as it takes) of a ``number``, over all its rules."""
        width = max(_width(low) for low, _ in self._rules())
        return min(low for low, _ in self.ranges), max(high for _, high in self.ranges), width

    def cased(self, value: str) -> str:
        """The value of a ``copy``, of the value it copies."""
        return getattr(value, self.case)() if self.case in CASES else value

    def complaints(self) -> Iterator[str]:
        """What contradicts the type, in words for whoever wrote it."""
        here = f"field '{self.name}'"
        listed = not isinstance(self.values_or_rules, str)
        if self.type == "fixed_list" and not listed:
            yield f"{here}: a fixed_list needs a list of strings in values_or_rules, not one string"
        if self.type not in ("fixed_list", "number") and listed and len(self.values_or_rules) > 1:
            yield f"{here}: type {self.type} needs one string as its rule, not a list"
        if self.type == "characters" and self.rule not in CLASSES:
            yield f"{here}: no character class {self.rule[:40]!r}; the classes are {', '.join(CLASSES)}"
        if self.type == "number":
            yield from self._wrong_numbers(here)
        if self.count is not None and self.count[0] > self.count[1]:
            yield f"{here}: count is [least, most], not {list(self.count)}"
        if self.count is not None and self.counts is not None:
            yield f"{here}: give count or counts, not both"
        if self.counts is not None and not any(self.counts):
            yield f"{here}: counts are all 0, so that it is never there; leave the field out"
        if self.separator and self.type == "characters":
            yield f"{here}: characters are not joined by a separator"
        if self.case is not None and self.type != "copy":
            yield f"{here}: case is for type copy"
        if self.type == "copy":
            given = {"count": self.count, "counts": self.counts, "separator": self.separator}
            extra = [key for key, value in given.items() if value]
            if extra or self.scope == "text":
                extra += ["scope"] if self.scope == "text" else []
                yield f"{here}: a copy has the value of another field, so no {' or '.join(extra)} of its own"

    def _wrong_numbers(self, here: str) -> Iterator[str]:
        rules = [self.values_or_rules] if isinstance(self.values_or_rules, str) else self.values_or_rules
        lows = []
        for rule in rules:
            match = _NUMBER.fullmatch(rule)
            if match is None or int(match[1]) > int(match[2]):
                yield f"{here}: a number needs the rule MIN-MAX with MIN <= MAX, such as 0-999, not {rule[:40]!r}"
            else:
                lows.append(match[1])
        width = max(map(_width, lows), default=0)
        if width and any(len(low) != width for low in lows):
            yield f"{here}: where one rule asks for {width} digits by its leading zeros, all must"


def _width(low: str) -> int:
    """Digits that a MIN asks for by its leading zeros; 0 where it has none."""
    return len(low) if low.startswith("0") and len(low) > 1 else 0
