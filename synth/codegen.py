"""The builtin code generator: a pattern as a Python function, by rule.

The source is plain enough to be read and edited by hand. It goes through the same sandbox, policy and checks as code
that a language model wrote. Characters per token, which the function needs to stop near ``target_tokens``, are
measured by whoever calls (``generate.py``).
"""

import pprint
from collections.abc import Iterator

from synth.pattern import CLASSES, Field, Pattern


def write_source(pattern: Pattern, characters_per_token: float = 4.0) -> str:
    """The source of the pattern's generator, ``{function}(rng, target_tokens) -> str``."""
    constants: list[str] = []
    kept: list[str] = []
    drawn: list[str] = []
    for field in pattern.fields:
        constants += _constants(field)
        (kept if field.scope == "text" else drawn).append(f"{_variable(field)} = {_draw(field)}")
    pieces = []
    for literal, name in pattern.parts():
        if literal:
            pieces.append(repr(literal))
        if name is not None:
            pieces.append(_variable(pattern.field(name)))
    helper = ["", "", *_WORDS] if any(field.type == "random_text" for field in pattern.fields) else []
    lines = [
        *constants,
        f"CHARACTERS_PER_TOKEN = {characters_per_token:.3f}",
        *helper,
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


def _constant(field: Field) -> str:
    return f"VALUES_{field.name}"


def _constants(field: Field) -> Iterator[str]:
    if field.type == "fixed_list":
        yield f"{_constant(field)} = {pprint.pformat(list(field.values), width=100, compact=True)}"
    elif field.type == "characters":
        yield f"{_constant(field)} = {CLASSES[field.rule]!r}"


def _draw(field: Field) -> str:
    least, most = field.span
    if field.type == "fixed_list":
        one = f"rng.choice({_constant(field)})"
    elif field.type == "characters":
        return f'"".join(rng.choices({_constant(field)}, k=rng.randint({least}, {most})))'
    elif field.type == "number":
        low, high, width = field.number()
        one = f"str(rng.randint({low}, {high}))" + (f".zfill({width})" if width else "")
    else:
        return f"words(rng, rng.randint({least}, {most}))"
    if (least, most) == (1, 1):
        return one
    return f"{field.separator!r}.join([{one} for _ in range(rng.randint({least}, {most}))])"


_WORDS = """def words(rng, count):
    made = []
    for _ in range(count):
        syllables = [rng.choice("bdfgklmnprstvz") + rng.choice("aeiou") for _ in range(rng.randint(1, 4))]
        made.append("".join(syllables) + rng.choice(["", "", "n", "s", "r"]))
    return " ".join(made)""".splitlines()


def _plain(text: str) -> str:
    return "".join(c for c in text if c.isalnum() or c in " -_.,")
