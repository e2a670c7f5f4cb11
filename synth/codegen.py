"""The builtin code generator: a pattern as a Python function, by rule.

The source is plain enough to be read and edited by hand. It goes through the same sandbox, policy and checks as code
that a language model wrote. Characters per token, which the function needs to stop near ``target_tokens``, are
measured by whoever calls (``generate.py``).
"""

import pprint
from collections.abc import Iterator

from synth.field import CLASSES, Field
from synth.pattern import Pattern


def write_source(pattern: Pattern, characters_per_token: float = 4.0) -> str:
    """The source of the pattern's generator, ``{function}(rng, target_tokens) -> str``."""
    constants: list[str] = []
    kept: list[str] = []
    drawn: list[str] = []
    for field in pattern.fields:
        if field.type == "copy":
            continue
        constants += _constants(field)
        (kept if field.scope == "text" else drawn).append(f"{_variable(field)} = {_draw(field)}")
    if any(field.again is not None for field in pattern.fields):
        kept.append('memory = {"stream": [], "last": {}, "place": None}')
    pieces = []
    for literal, name in pattern.parts():
        if literal:
            pieces.append(repr(literal))
        if name is not None:
            pieces.append(_written(pattern.field(name), pattern.source(name)))
    helpers = ["", "", *_WORDS] if any(field.type == "random_text" for field in pattern.fields) else []
    helpers += ["", "", *_AGAIN] if any(field.again is not None for field in pattern.fields) else []
    lines = [
        *constants,
        f"CHARACTERS_PER_TOKEN = {characters_per_token:.3f}",
        *helpers,
        "",
        "",
        f"def {pattern.function}(rng, target_tokens):",
        f'    """{_plain(pattern.pattern_name)}: the template repeated until the text is long enough."""',
        *(f"    {line}" for line in kept),
        "    limit = target_tokens * CHARACTERS_PER_TOKEN",
        "    parts = []",
        "    length = 0",
        "    while length < limit:",
        *(f"        {line}" for line in drawn),
        f"        part = {' + '.join(pieces)}",
        "        parts.append(part)",
        "        length += len(part)",
        '    return "".join(parts)',
    ]
    return "\n".join(lines).strip() + "\n"


def _variable(field: Field) -> str:
    return f"field_{field.name}"


def _written(field: Field, source: Field) -> str:
    """The field's value where it stands."""
    return _variable(source) + (f".{field.case}()" if field.case is not None else "")


def _constant(field: Field) -> str:
    return f"VALUES_{field.name}"


def _constants(field: Field) -> Iterator[str]:
    if field.type == "fixed_list":
        yield f"{_constant(field)} = {pprint.pformat(list(field.values), width=100, compact=True)}"
    elif field.type == "characters":
        yield f"{_constant(field)} = {CLASSES[field.rule]!r}"
    if field.counts is not None:
        yield f"COUNTS_{field.name} = {pprint.pformat(list(field.counts), width=100, compact=True)}"


def _draw(field: Field) -> str:
    """The expression for a value."""
    least, most = field.span
    if field.counts is not None:
        count = f"rng.choice(COUNTS_{field.name})"
    else:
        count = str(least) if least == most else f"rng.randint({least}, {most})"
    if field.type in ("fixed_list", "characters"):
        one = f"rng.choice({_constant(field)})"
    elif field.type == "number":
        low, high, width = field.number()
        one = f"str(rng.randint({low}, {high}))" + (f".zfill({width})" if width else "")
    else:
        one = "word(rng)"
    separator = " " if field.type == "random_text" else field.separator
    if field.type == "characters" and field.again is None:
        return f'"".join(rng.choices({_constant(field)}, k={count}))'
    if field.again is not None:
        start, go_on = field.again
        bounds = f"{count}, {least}, {most}, {start}, {go_on}"
        return f"{separator!r}.join(again(rng, memory, {field.name!r}, lambda: {one}, {bounds}))"
    if (least, most) == (1, 1):
        return one
    return f"{separator!r}.join([{one} for _ in range({count})])"


_WORDS = """def word(rng):
    syllables = [rng.choice("bdfgklmnprstvz") + rng.choice("aeiou") for _ in range(rng.randint(1, 4))]
    return "".join(syllables) + rng.choice(["", "", "n", "s", "r"])""".splitlines()

_AGAIN = '''def again(rng, memory, name, draw, wanted, least, most, start, go_on):
    """The items of one value: drawn, or those that followed earlier in this text; an empty one ends a value."""
    stream, last, place = memory["stream"], memory["last"], memory["place"]
    value = []
    while True:
        before = (name, value[-1] if value else "")
        going_on = place is not None
        if not going_on:
            place = last.get(before)
        if len(value) >= most:
            copied, item = going_on and stream[place] == "", ""
        else:
            copied = place is not None and rng.random() < (go_on if going_on else start)
            copied = copied and (stream[place] != "" or len(value) >= least)
            item = stream[place] if copied else draw() if len(value) < wanted else ""
        place = place + 1 if copied else None
        last[before] = len(stream)
        stream.append(item)
        if not item:
            memory["place"] = place
            return value
        value.append(item)'''.splitlines()


def _plain(text: str) -> str:
    return "".join(c for c in text if c.isalnum() or c in " -_.,")
