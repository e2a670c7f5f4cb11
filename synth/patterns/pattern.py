"""A pattern: the JSON template of paper Appendix J.2, and the rules that make it mean one thing.

A text of a pattern is its template repeated until the wanted length. ``{name}`` stands for a field's value
(``field.py``); the same name twice in a template is the same value twice. A field of scope ``text`` is drawn once per
text and comes back in every repetition, one of scope ``repetition`` is drawn anew in each. `PATTERN_SCHEMA` is what
``jsonschema`` checks and models are told; `Pattern.from_json` also checks what a schema cannot say, and reads
``recurrence``, which the miner alone writes (``recurrence.py``). Patterns come from language models and from users:
they are data, and nothing in a template is evaluated (no attributes, indices, conversions or format specifications).
"""

import re
import string
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from jsonschema import Draft202012Validator

from synth.patterns.field import CLASSES, FIELD_SCHEMA, Field, PatternError, Scope
from synth.patterns.recurrence import Recurrence, read_recurrence, wrong_recurrence

__all__ = [
    "CLASSES",
    "PATTERN_SCHEMA",
    "Field",
    "Pattern",
    "PatternError",
    "Scope",
    "half_character",
    "schema_complaint",
]

MOST_FIELDS = 32
LONGEST_TEMPLATE = 4000
"""Characters."""
LONGEST_REPETITION = 20_000
"""Characters that one repetition of a template usually has, at most: rows are a few thousand tokens."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")

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
        "fields": {"type": "array", "maxItems": MOST_FIELDS, "items": FIELD_SCHEMA},
        "template": {"type": "string", "minLength": 1, "maxLength": LONGEST_TEMPLATE},
        "length_control": {"type": "string", "maxLength": 500},
    },
}
_VALIDATOR = Draft202012Validator(PATTERN_SCHEMA)


@dataclass(frozen=True, kw_only=True)
class Pattern:
    """One pattern; see the module.

    Attributes:
        recurrence: texts that were seen, as which items come back where; empty where nothing is known of them.
    """

    pattern_id: str
    pattern_name: str
    anchor_tokens: tuple[str, ...]
    fields: tuple[Field, ...]
    template: str
    length_control: str = ""
    recurrence: tuple[Recurrence, ...] = ()

    @staticmethod
    def from_json(value: Any) -> "Pattern":
        """The pattern that ``value`` describes.

        Raises:
            PatternError: it breaks the schema, or says two things; the text is fit to be sent back to its author.
        """
        seen: tuple[Recurrence, ...] = ()
        if isinstance(value, dict) and "recurrence" in value:  # thousands of numbers: not for a schema
            seen = read_recurrence(value["recurrence"])
            value = {key: item for key, item in value.items() if key != "recurrence"}
        errors = sorted(_VALIDATOR.iter_errors(value), key=lambda error: str(list(error.absolute_path)))
        if errors:
            raise PatternError("\n".join(map(schema_complaint, errors[:20])))
        if (half := half_character(value)) is not None:
            raise PatternError(f"{ascii(half)[:60]} holds half a character (a lone surrogate)")
        fields = tuple(Field.from_json(field) for field in value["fields"])
        pattern = Pattern(
            pattern_id=value["pattern_id"],
            pattern_name=value["pattern_name"],
            anchor_tokens=tuple(value["anchor_tokens"]),
            fields=fields,
            template=value["template"],
            length_control=value["length_control"],
            recurrence=seen,
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
            **({"recurrence": [text.to_json() for text in self.recurrence]} if self.recurrence else {}),
        }

    def brief(self) -> dict[str, Any]:
        """What a reader needs to write such text: all but ``recurrence``, which is long and for programs."""
        return {key: value for key, value in self.to_json().items() if key != "recurrence"}

    def with_id(self, pattern_id: str) -> "Pattern":
        return replace(self, pattern_id=pattern_id)

    @property
    def function(self) -> str:
        """Name of its generator: ``generate_{pattern_id}_{name}`` (Appendix J.3)."""
        slug = re.sub(r"[^a-z0-9]+", "_", self.pattern_name.lower()).strip("_")[:48].rstrip("_")
        return f"generate_{self.pattern_id}_{slug or 'pattern'}"

    def field(self, name: str) -> Field:
        return next(field for field in self.fields if field.name == name)

    def source(self, name: str) -> Field:
        """The field whose value stands there: that of this name, or the one that it copies."""
        field = self.field(name)
        return self.field(field.rule) if field.type == "copy" else field

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
            len(literal) + (0 if name is None else self.source(name).usual_length)
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
        copies = [field for field in self.fields if field.type == "copy"]
        wrong = list(self._wrong_copies(copies, used))
        yield from wrong
        literals = [literal for literal, _ in self.parts()]
        for anchor in self.anchor_tokens:
            if not any(anchor in literal for literal in literals):
                yield f"anchor_tokens: {anchor[:60]!r} does not stand literally in the template"
        kept = any(field.scope == "text" for field in self.fields)
        if not self.anchor_tokens and not kept and not copies and len(used) == len(set(used)):
            yield (
                "the pattern repeats nothing: give anchor_tokens that stand in the template, a field of scope "
                "'text', or use a field twice"
            )
        if self.recurrence and not wrong:
            yield from wrong_recurrence(self.recurrence, self.fields)
        if not wrong and not any(literals) and all(self.source(n).span[0] == 0 for n in used if n in names):
            yield "template: all of its fields may be empty, so that it may be too; give one of them a count above 0"

    def _wrong_copies(self, copies: list[Field], used: list[str]) -> Iterator[str]:
        """Copies of what is not there, is a copy itself, or stands behind them."""
        others = [field.name for field in self.fields if field.type != "copy"]
        for field in copies:
            if field.rule not in others:
                known = ", ".join(others) or "none"
                yield f"field '{field.name}': no field '{field.rule[:40]}' to copy; there are {known}"
            elif (
                field.name in used and field.rule in used and used.index(field.rule) > used.index(field.name)
            ):
                yield f"field '{field.name}': stands before '{field.rule}', which it copies; let that one be the copy"


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
