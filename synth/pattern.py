"""A pattern: the JSON template of paper Appendix J.2, and the rules that make it mean one thing.

A text of a pattern is its template repeated until the wanted length. ``{name}`` stands for a field's value; the same
name twice in a template is the same value twice. A field of scope ``text`` is drawn once per text and comes back in
every repetition, one of scope ``repetition`` is drawn anew in each. `PATTERN_SCHEMA` is what ``jsonschema`` checks;
`Pattern.from_json` also checks what a schema cannot say. Patterns come from language models and from users: they are
data, and nothing in a template is evaluated (no attributes, indices, conversions or format specifications).
"""

import re
import string
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

from jsonschema import Draft202012Validator

from curator.errors import CuratorError

Scope = Literal["repetition", "text"]
TYPES = ("fixed_list", "characters", "number", "random_text")
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

LONGEST_REPETITION = 20_000
"""Characters that one repetition of a template usually has, at most: rows are a few thousand tokens."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
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
        "separator": {"type": "string", "maxLength": 20},
    },
}
PATTERN_SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["pattern_id", "pattern_name", "anchor_tokens", "fields", "template", "length_control"],
    "properties": {
        "pattern_id": {"type": "string", "pattern": "^[A-Za-z][A-Za-z0-9_]{0,31}$"},
        "pattern_name": {"type": "string", "minLength": 1, "maxLength": 80},
        "anchor_tokens": {
            "type": "array",
            "maxItems": 32,
            "items": {"type": "string", "minLength": 1, "maxLength": 2000},
        },
        "fields": {"type": "array", "maxItems": 32, "items": FIELD_SCHEMA},
        "template": {"type": "string", "minLength": 1, "maxLength": 4000},
        "length_control": {"type": "string", "maxLength": 500},
    },
}
_VALIDATOR = Draft202012Validator(PATTERN_SCHEMA)


class PatternError(CuratorError):
    """A pattern that breaks the schema or contradicts itself; the text lists everything found, a line each."""


@dataclass(frozen=True, kw_only=True)
class Field:
    """A placeholder of a template.

    Attributes:
        type: ``fixed_list`` (one of the listed strings; listed twice is twice as likely), ``characters`` (of a class
            in `CLASSES`), ``number`` (rule ``MIN-MAX``, both included; leading zeros in MIN ask for that width) or
            ``random_text`` (the rule describes it in words; any text matches).
        scope: ``text``: drawn once per text; ``repetition``: drawn anew in every repetition.
        count: least and most items, joined by ``separator``; characters for ``characters``. None: one item.
    """

    name: str
    type: str
    values_or_rules: tuple[str, ...] | str
    scope: Scope = "repetition"
    count: tuple[int, int] | None = None
    separator: str = ""

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
        return self.count or (WORDS if self.type == "random_text" else (1, 1))

    @property
    def usual_length(self) -> float:
        """Characters of its values, on average."""
        if self.type == "characters":
            one = 1.0
        elif self.type == "number":
            one = float(len(str(self.number()[1])))
        elif self.type == "random_text":
            one = 8.0
        else:
            one = sum(map(len, self.values)) / len(self.values)
        return (one + len(self.separator)) * sum(self.span) / 2

    def number(self) -> tuple[int, int, int]:
        """(least, most, width in digits, 0 for as many as it takes) of a ``number``."""
        match = _NUMBER.fullmatch(self.rule)
        if match is None:
            raise PatternError(f"field '{self.name}': {self.rule!r} is no MIN-MAX")
        low, high = match.groups()
        return int(low), int(high), len(low) if low.startswith("0") and len(low) > 1 else 0

    def complaints(self) -> Iterator[str]:
        """What contradicts the type, in words for whoever wrote it."""
        here = f"field '{self.name}'"
        listed = not isinstance(self.values_or_rules, str)
        if self.type == "fixed_list" and not listed:
            yield f"{here}: a fixed_list needs a list of strings in values_or_rules, not one string"
        if self.type != "fixed_list" and listed and len(self.values_or_rules) > 1:
            yield f"{here}: type {self.type} needs one string as its rule, not a list"
        if self.type == "characters" and self.rule not in CLASSES:
            yield f"{here}: no character class {self.rule[:40]!r}; the classes are {', '.join(CLASSES)}"
        if self.type == "number":
            match = _NUMBER.fullmatch(self.rule)
            if match is None or int(match[1]) > int(match[2]):
                yield f"{here}: a number needs the rule MIN-MAX with MIN <= MAX, such as 0-999, not {self.rule[:40]!r}"
        if self.count is not None and self.count[0] > self.count[1]:
            yield f"{here}: count is [least, most], not {list(self.count)}"
        if self.separator and self.type == "characters":
            yield f"{here}: characters are not joined by a separator"

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
        if self.separator:
            value["separator"] = self.separator
        return value


@dataclass(frozen=True, kw_only=True)
class Pattern:
    """One pattern; see the module."""

    pattern_id: str
    pattern_name: str
    anchor_tokens: tuple[str, ...]
    fields: tuple[Field, ...]
    template: str
    length_control: str = ""

    @staticmethod
    def from_json(value: Any) -> "Pattern":
        """The pattern that ``value`` describes.

        Raises:
            PatternError: it breaks the schema, or says two things; the text is fit to be sent back to its author.
        """
        errors = sorted(_VALIDATOR.iter_errors(value), key=lambda error: str(list(error.absolute_path)))
        if errors:
            raise PatternError("\n".join(map(schema_complaint, errors[:20])))
        if (half := half_character(value)) is not None:
            raise PatternError(f"{ascii(half)[:60]} holds half a character (a lone surrogate)")
        fields = tuple(
            Field(
                name=field["name"],
                type=field["type"],
                values_or_rules=_rules(field["values_or_rules"]),
                scope=field.get("scope", "repetition"),
                count=tuple(field["count"]) if "count" in field else None,
                separator=field.get("separator", ""),
            )
            for field in value["fields"]
        )
        pattern = Pattern(
            pattern_id=value["pattern_id"],
            pattern_name=value["pattern_name"],
            anchor_tokens=tuple(value["anchor_tokens"]),
            fields=fields,
            template=value["template"],
            length_control=value["length_control"],
        )
        complaints = list(pattern.complaints()) or list(pattern.too_long())
        if complaints:
            raise PatternError("\n".join(complaints[:20]))
        return pattern

    def to_json(self) -> dict[str, Any]:
        return {
            "pattern_id": self.pattern_id,
            "pattern_name": self.pattern_name,
            "anchor_tokens": list(self.anchor_tokens),
            "fields": [field.to_json() for field in self.fields],
            "template": self.template,
            "length_control": self.length_control,
        }

    def with_id(self, pattern_id: str) -> "Pattern":
        return replace(self, pattern_id=pattern_id)

    @property
    def function(self) -> str:
        """Name of its generator: ``generate_{pattern_id}_{name}`` (Appendix J.3)."""
        slug = re.sub(r"[^a-z0-9]+", "_", self.pattern_name.lower()).strip("_")[:48].rstrip("_")
        return f"generate_{self.pattern_id}_{slug or 'pattern'}"

    def field(self, name: str) -> Field:
        return next(field for field in self.fields if field.name == name)

    def parts(self) -> list[tuple[str, str | None]]:
        """The template in order, as (literal text, name of the field behind it or None)."""
        pieces: list[tuple[str, str | None]] = []
        for literal, name, _, _ in string.Formatter().parse(self.template):
            before = (
                pieces.pop()[0] if pieces and pieces[-1][1] is None else ""
            )  # an escaped brace ends a piece
            pieces.append((before + literal, name))
        return pieces

    def too_long(self) -> Iterator[str]:
        """A template whose repetitions no row could hold: writing and checking them takes memory and time."""
        usual = sum(
            len(literal) + (0 if name is None else self.field(name).usual_length)
            for literal, name in self.parts()
        )
        if usual > LONGEST_REPETITION:
            yield (
                f"template: one repetition has about {usual:,.0f} characters, at most {LONGEST_REPETITION:,} are "
                "allowed; give smaller counts, fewer fields or shorter values"
            )

    def complaints(self) -> Iterator[str]:
        """What the schema cannot see, in words for whoever wrote the pattern."""
        if _CONTROL.search(self.pattern_name):
            yield "pattern_name: one line without control characters is wanted"
        names = [field.name for field in self.fields]
        for name in sorted({name for name in names if names.count(name) > 1}):
            yield f"fields: '{name}' is there twice; names must differ"
        for field in self.fields:
            yield from field.complaints()
        try:
            pieces = list(string.Formatter().parse(self.template))
        except ValueError as error:
            yield f"template: {error}; a literal brace is written twice, {{{{ or }}}}"
            return
        used = [name for _, name, _, _ in pieces if name is not None]
        for _, written, specification, conversion in pieces:
            if written is not None and (specification or conversion or not written.isidentifier()):
                yield f"template: '{{{written}}}' is more than a field's name; placeholders are plain {{name}}"
        for name in sorted(set(used) - set(names)):
            yield f"template: no field '{name[:40]}'; the fields are: {', '.join(names) or 'none'}"
        for name in sorted(set(names) - set(used)):
            yield f"fields: '{name}' does not stand in the template; use {{{name}}} or leave the field out"
        literals = [literal for literal, _ in self.parts()]
        for anchor in self.anchor_tokens:
            if not any(anchor in literal for literal in literals):
                yield f"anchor_tokens: {anchor[:60]!r} does not stand literally in the template"
        kept = any(field.scope == "text" for field in self.fields)
        if not self.anchor_tokens and not kept and len(used) == len(set(used)):
            yield (
                "the pattern repeats nothing: give anchor_tokens that stand in the template, a field of scope "
                "'text', or use a field twice"
            )


def _rules(value: Any) -> tuple[str, ...] | str:
    return value if isinstance(value, str) else tuple(value)


def half_character(value: Any) -> str | None:
    """The first string within a JSON value that cannot be written down, since it holds half a character."""
    if isinstance(value, str):
        return value if any("\ud800" <= c <= "\udfff" for c in value) else None
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return next((found for item in inner if (found := half_character(item)) is not None), None)


def schema_complaint(error: Any) -> str:
    """A validator's error as ``place: what is wrong``, short enough to be sent back."""
    place = ".".join(map(str, error.absolute_path)) or "the pattern"
    text = error.message if len(error.message) <= 300 else error.message[:140] + " … " + error.message[-140:]
    return f"{place}: {text}"
