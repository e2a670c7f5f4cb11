"""Samples that repeat each a string of their own: the shape of the repetition is the pattern, the string a field.

``{span}{gap}`` with a span of scope ``text``: drawn once, it comes back in every repetition, which is what an
induction head can learn from; the gap is drawn anew. Samples are put together by the size of span and gap, in
powers of two, and fields list the tokens' texts that stood there, as often as they did.
"""

from collections import defaultdict
from collections.abc import Sequence

from synth.found import Found
from synth.miner.infer import MOST_VALUES, REPLACEMENT
from synth.miner.mined import Mined, in_proportion
from synth.miner.repeats import Repeat
from synth.pattern import Field, Pattern

COVERED = 0.2
"""A sample counts when so much of it repeats earlier parts of it."""
OWN = 0.5
"""Different spans per sample; where samples share theirs, those are anchors (``literal.py``)."""
LONGEST_GAP = 64
"""Tokens between two occurrences."""


def structural_patterns(samples: Sequence[Mined], least: int) -> list[Found]:
    """One pattern per shape that at least ``least`` samples have."""
    groups: dict[tuple[int, int], list[tuple[Mined, Repeat]]] = defaultdict(list)
    for sample in samples:
        if not sample.repeats or sample.repeats[0].repeated < COVERED * len(sample.pieces):
            continue
        repeat = sample.repeats[0]
        widest = max(stop - start for start, stop in repeat.gaps())
        if widest <= LONGEST_GAP:
            groups[repeat.length.bit_length(), widest.bit_length()].append((sample, repeat))
    found = []
    for key in sorted(groups):
        members = groups[key]
        spans = {m.text(repeat.start, repeat.start + repeat.length) for m, repeat in members}
        if len(members) < least or len(spans) < OWN * len(members):
            continue
        pattern = _pattern(members)
        if pattern is not None:
            found.append(Found.of(pattern, [member.sample for member, _ in members]))
    return found


def _pattern(members: Sequence[tuple[Mined, Repeat]]) -> Pattern | None:
    spans = [(m, repeat.start, repeat.start + repeat.length) for m, repeat in members]
    gaps = [(m, start, stop) for m, repeat in members for start, stop in repeat.gaps() if stop > start]
    span = _field("span", "text", spans)
    gap = _field("gap", "repetition", gaps) if gaps else None
    if span is None or (gaps and gap is None):
        return None
    low, high = span.span
    name = f"span of {low} to {high} pieces repeated"
    if gap is not None:
        name += f" with {gap.span[0]} to {gap.span[1]} between"
    return Pattern(
        pattern_id="p",
        pattern_name=name,
        anchor_tokens=(),
        fields=(span,) if gap is None else (span, gap),
        template="{span}" if gap is None else "{span}{gap}",
        length_control="repeat the template until the text has target_tokens tokens; the span stays the same",
    )


def _field(name: str, scope: str, places: Sequence[tuple[Mined, int, int]]) -> Field | None:
    lengths = [stop - start for _, start, stop in places]
    pieces = [
        piece for m, start, stop in places for piece in m.pieces[start:stop] if REPLACEMENT not in piece
    ]
    listed = in_proportion([piece for piece in pieces if 0 < len(piece) <= 100], MOST_VALUES)
    if len(set(listed)) < 2:
        return None
    return Field(
        name=name,
        type="fixed_list",
        values_or_rules=listed,
        scope="text" if scope == "text" else "repetition",
        count=(min(lengths), min(max(lengths), 1000)),
    )
