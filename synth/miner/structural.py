"""Samples that repeat each a string of their own: the shape of the repetition is the pattern, the string a field.

``{span}{gap}`` with a span of scope ``text``: drawn once, it comes back in every repetition, which is what an
induction head can learn from; the gap is drawn anew. Fields list the tokens' texts that stood there, as often as they
did, and the lengths are those seen; so samples differ in size and are still one pattern.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from synth.found import Found
from synth.matcher import Matcher
from synth.miner.infer import LONGEST_VALUE, MOST_COUNTS, MOST_VALUES, REPLACEMENT, Inferred, spread
from synth.miner.literal import missing
from synth.miner.mined import Mined, in_proportion
from synth.miner.recurrence import recurrence
from synth.miner.repeats import Repeat
from synth.pattern import Field, Pattern, Scope

COVERED = 0.2
"""A sample counts when so much of it repeats earlier parts of it."""
SHARED = 3
"""A span that so many samples repeat is no string of their own, but an anchor (``literal.py``)."""
LONGEST_GAP = 64
"""Tokens between two occurrences."""


def structural_patterns(samples: Sequence[Mined], least: int) -> tuple[list[Found], list[dict[str, Any]]]:
    """One pattern per shape that at least ``least`` samples have, and what was set aside."""
    groups: dict[bool, list[tuple[Mined, Repeat]]] = defaultdict(list)
    for sample in samples:
        if not sample.repeats or sample.repeats[0].repeated < COVERED * len(sample.pieces):
            continue
        repeat = sample.repeats[0]
        widest = max(stop - start for start, stop in repeat.gaps())
        if widest <= LONGEST_GAP:
            groups[widest > 0].append((sample, repeat))
    found, set_aside = [], []
    for key in sorted(groups):
        spans = Counter(m.text(repeat.start, repeat.start + repeat.length) for m, repeat in groups[key])
        members = [
            (m, repeat)
            for m, repeat in groups[key]
            if spans[m.text(repeat.start, repeat.start + repeat.length)] < SHARED
        ]
        if len(members) < least:
            continue
        pattern = _pattern(members)
        if pattern is None:
            continue
        matcher = Matcher(pattern)
        holding = [member for member, _ in members if matcher.occurs(member.sample.text)]
        if len(holding) < least:
            set_aside.append(missing(pattern, [member.sample for member, _ in members], len(holding), least))
        else:
            found.append(Found.of(pattern, [member.sample for member in holding]))
    return found, set_aside


def _pattern(members: Sequence[tuple[Mined, Repeat]]) -> Pattern | None:
    values: list[tuple[list[str], list[str]]] = []
    texts = []
    for number, (m, repeat) in enumerate(members):
        span = m.pieces[repeat.start : repeat.start + repeat.length]
        values += [(span, m.pieces[start:stop]) for start, stop in repeat.gaps()]
        texts += [number] * (len(repeat.starts) - 1)
    span_field = _field("span", "text", [span for span, _ in values])
    there = any(gap for _, gap in values)
    gap_field = _field("gap", "repetition", [gap for _, gap in values]) if there else None
    if span_field is None or (there and gap_field is None):
        return None
    inferred = [span_field] if gap_field is None else [span_field, gap_field]
    low, high = span_field.field.span
    name = f"span of {low} to {high} pieces repeated"
    if gap_field is not None:
        name += f" with {gap_field.field.span[0]} to {gap_field.field.span[1]} between"
    return Pattern(
        pattern_id="p",
        pattern_name=name,
        anchor_tokens=(),
        fields=tuple(one.field for one in inferred),
        template="{span}" if gap_field is None else "{span}{gap}",
        length_control="repeat the template until the text has target_tokens tokens; the span stays the same",
        recurrence=recurrence(inferred, texts, ()),
    )


def _field(name: str, scope: Scope, values: Sequence[list[str]]) -> Inferred | None:
    """Of the pieces of its values."""
    pieces = [piece for value in values for piece in value if REPLACEMENT not in piece]
    listed = in_proportion([piece for piece in pieces if 0 < len(piece) <= 100], MOST_VALUES)
    if len(set(listed)) < 2:
        return None
    lengths = sorted(min(len(value), LONGEST_VALUE) for value in values)
    low, high = lengths[0], lengths[-1]
    made = Field(
        name=name,
        type="fixed_list",
        values_or_rules=listed,
        scope=scope,
        count=(low, high) if low == high else None,
        counts=None if low == high else tuple(spread(lengths, MOST_COUNTS)),
    )
    return Inferred(made, tuple(value[:LONGEST_VALUE] if all(value) else None for value in values))
