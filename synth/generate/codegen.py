"""The builtin code generator: a pattern as a Python function, by rule.

The source is plain enough to be read and edited by hand. It goes through the same sandbox, policy and checks as code
that a language model wrote. Where the pattern has a ``recurrence``, the function follows its texts, and draws one item
for each of their numbers; else it draws every value for itself. Characters per token, which the function needs to stop
near ``target_tokens``, are measured by whoever calls (``run.py``).
"""

import pprint
from collections.abc import Iterator

from synth.patterns.field import CLASSES, Field
from synth.patterns.pattern import Pattern
from synth.patterns.recurrence import ANY, by_kind


def write_source(pattern: Pattern, characters_per_token: float = 4.0) -> str:
    """The source of the pattern's generator, ``{function}(rng, target_tokens) -> str``."""
    own = [field for field in pattern.fields if field.type != "copy"]
    constants = [line for field in own for line in _constants(field, listed=not pattern.recurrence)]
    helpers = ["", "", *_WORDS] if any(field.type == "random_text" for field in own) else []
    if pattern.recurrence:
        constants += _recurrence(pattern, own)
        helpers += ["", "", *_DRAW, "", "", *_WRITTEN]
        body = _following(pattern, own)
    else:
        body = _drawing(pattern, own)
    lines = [
        *constants,
        f"CHARACTERS_PER_TOKEN = {characters_per_token:.3f}",
        *helpers,
        "",
        "",
        f"def {pattern.function}(rng, target_tokens):",
        f'    """{_plain(pattern.pattern_name)}: the template repeated until the text is long enough."""',
        *(f"    {line}" for line in body),
    ]
    return "\n".join(lines).strip() + "\n"


def _drawing(pattern: Pattern, own: list[Field]) -> Iterator[str]:
    """Every value for itself."""
    yield from (f"{_variable(field)} = {_draw(field)}" for field in own if field.scope == "text")
    yield "limit = target_tokens * CHARACTERS_PER_TOKEN"
    yield "parts = []"
    yield "length = 0"
    yield "while length < limit:"
    yield from (f"    {_variable(field)} = {_draw(field)}" for field in own if field.scope != "text")
    yield f"    part = {_part(pattern)}"
    yield "    parts.append(part)"
    yield "    length += len(part)"
    yield 'return "".join(parts)'


def _following(pattern: Pattern, own: list[Field]) -> Iterator[str]:
    """As a text of the recurrence has them, one text after the other."""
    yield "limit = target_tokens * CHARACTERS_PER_TOKEN"
    yield "parts = []"
    yield "length = 0"
    yield "kept, before = {}, {}"
    yield "while length < limit:"
    yield "    for values in written(rng, before, *rng.choice(RECURRENCE)):"
    for place, field in enumerate(own):
        value = f"values[{place}]"
        if field.scope == "text":
            value = f"kept.setdefault({field.name!r}, {value})"
        yield f"        {_variable(field)} = {value}"
    yield f"        part = {_part(pattern)}"
    yield "        parts.append(part)"
    yield "        length += len(part)"
    yield "        if length >= limit:"
    yield "            break"
    yield 'return "".join(parts)'


def _part(pattern: Pattern) -> str:
    """The expression for one repetition."""
    pieces = []
    for literal, name in pattern.parts():
        if literal:
            pieces.append(repr(literal))
        if name is not None:
            case = pattern.field(name).case
            pieces.append(_variable(pattern.source(name)) + (f".{case}()" if case is not None else ""))
    return " + ".join(pieces)


def _variable(field: Field) -> str:
    return f"field_{field.name}"


def _constant(field: Field) -> str:
    return f"VALUES_{field.name}"


def _constants(field: Field, listed: bool) -> Iterator[str]:
    if field.type == "fixed_list" and listed:
        yield f"{_constant(field)} = {pprint.pformat(list(field.values), width=100, compact=True)}"
    elif field.type == "characters":
        yield f"{_constant(field)} = {CLASSES[field.rule]!r}"
    elif field.type == "number" and len(field.ranges) > 1:
        yield f"RANGES_{field.name} = {list(field.ranges)!r}"
    if field.counts is not None and (listed or field.type == "characters"):
        yield f"COUNTS_{field.name} = {pprint.pformat(list(field.counts), width=100, compact=True)}"


def _draw(field: Field) -> str:
    """The expression for a value."""
    least, most = field.span
    if field.counts is not None:
        count = f"rng.choice(COUNTS_{field.name})"
    else:
        count = str(least) if least == most else f"rng.randint({least}, {most})"
    if field.type == "characters":
        return f'"".join(rng.choices({_constant(field)}, k={count}))'
    if (least, most) == (1, 1):
        return _one(field)
    separator = " " if field.type == "random_text" else field.separator
    return f"{separator!r}.join([{_one(field)} for _ in range({count})])"


def _one(field: Field) -> str:
    """The expression for an item."""
    if field.type == "fixed_list":
        return f"rng.choice({_constant(field)})"
    if field.type == "number":
        width = field.number()[2]
        bounds = (
            "{}, {}".format(*field.ranges[0])
            if len(field.ranges) == 1
            else f"*rng.choice(RANGES_{field.name})"
        )
        return f"str(rng.randint({bounds}))" + (f".zfill({width})" if width else "")
    return "word(rng)"


def _recurrence(pattern: Pattern, own: list[Field]) -> Iterator[str]:
    """The constants that `_DRAW` and `_WRITTEN` read; lists are in the order of the fields."""
    yield "RECURRENCE = ["
    for text in pattern.recurrence:
        yield f"    ({list(text.drawn)!r}, {[[list(value) for value in one] for one in text.repetitions]!r}),"
    yield "]"
    yield f"SEPARATORS = {[field.separator for field in own]!r}"
    yield "ITEMS = ["
    for field in own:
        if field.type == "fixed_list":
            kinds = ", ".join(f"{name!r}: {values!r}" for name, values in by_kind(field.values).items())
            yield f"    {{{kinds}}},"
        else:
            yield f"    {{{ANY!r}: []}},"
    yield "]"
    yield "OTHERS = ["
    for field in own:
        if field.type == "characters":
            one = (
                f"{_draw(field)} or rng.choice({_constant(field)})"  # where it stands, there is at least one
            )
        else:
            one = "None" if field.type == "fixed_list" else _one(field)
        yield f"    lambda rng: {one},"
    yield "]"


_WORDS = """def word(rng):
    syllables = [rng.choice("bdfgklmnprstvz") + rng.choice("aeiou") for _ in range(rng.randint(1, 4))]
    return "".join(syllables) + rng.choice(["", "", "n", "s", "r"])""".splitlines()

_DRAW = '''def draw(rng, kind, places, used):
    """An item of this kind for the fields at all these places, another one than those used if there is one."""
    first, others = places[0], places[1:]
    listed = ITEMS[first][kind]
    if not listed:
        return OTHERS[first](rng)  # the others draw alike
    for _ in range(8):
        item = rng.choice(listed)
        if item not in used and all(item in ITEMS[place][kind] for place in others):
            return item
    return rng.choice([item for item in listed if all(item in ITEMS[place][kind] for place in others)])'''.splitlines()

_WRITTEN = '''def written(rng, before, kinds, repetitions):
    """The values of the fields in each repetition: numbers are items to draw, the same wherever one stands.

    What stands more than once in a text may come back in the next: such items are kept in before, and taken first.
    """
    places, often = {}, set()
    for repetition in repetitions:
        for place, items in enumerate(repetition):
            for item in items:
                if not isinstance(item, str):
                    if item in places:
                        often.add(item)
                    if place not in places.setdefault(item, []):
                        places[item].append(place)
    known, used = {}, set()
    for number in places:
        kept = before.setdefault((kinds[number], *places[number]), []) if number in often else []
        item = next((item for item in kept if item not in used), None)
        if item is None:
            item = draw(rng, kinds[number], places[number], used)
            kept.append(item)
        known[number] = item
        used.add(item)
    return [
        [separator.join([known.get(item, item) for item in items]) for separator, items in zip(SEPARATORS, repetition)]
        for repetition in repetitions
    ]'''.splitlines()


def _plain(text: str) -> str:
    return "".join(c for c in text if c.isalnum() or c in " -_.,")
