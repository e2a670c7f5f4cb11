"""Samples that repeat each a string of their own: the shape of the repetition is the pattern, the string a field.

``{span}{gap}`` with a span of scope ``text``: drawn once, it comes back in every repetition, which is what an
induction head can learn from; the gap is drawn anew. Fields list the tokens' texts that stood there, as often as they
did, and the lengths are those seen; so samples differ in size and are still one pattern.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from synth.distill.miner.infer import LONGEST_VALUE, Inferred, listed, of_items
from synth.distill.miner.literal import missing
from synth.distill.miner.mined import REPLACEMENT, Mined
from synth.distill.miner.recurrence import recurrence
from synth.distill.miner.repeats import Repeat
from synth.patterns.matcher import Matcher
from synth.patterns.occurrence import Found, searched
from synth.patterns.pattern import Pattern, Scope

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
        spans = Counter(
            sample.text(repeat.start, repeat.start + repeat.length) for sample, repeat in groups[key]
        )
        members = [
            (sample, repeat)
            for sample, repeat in groups[key]
            if spans[sample.text(repeat.start, repeat.start + repeat.length)] < SHARED
        ]
        if len(members) < least:
            continue
        pattern = _pattern(members)
        if pattern is None:
            continue
        own = [sample.sample for sample, _ in members]
        holding, undecided = searched(Matcher(pattern), own)
        if len(holding) + len(undecided) < least:
            set_aside.append(missing(pattern, own, len(holding), least))
        else:
            found.append(Found.of(pattern, holding, undecided))
    return found, set_aside


def _pattern(members: Sequence[tuple[Mined, Repeat]]) -> Pattern | None:
    texts = [number for number, (_, repeat) in enumerate(members) for _ in repeat.gaps()]
    gaps = [m.items(start, stop) for m, repeat in members for start, stop in repeat.gaps()]
    span = _field("span", "text", [m.items(r.start, r.start + r.length) for m, r in members])
    inferred = [None if span is None else Inferred(span.field, tuple(span.items[text] for text in texts))]
    if any(gaps):
        inferred.append(_field("gap", "repetition", gaps))
    known = [one for one in inferred if one is not None]
    if len(known) < len(inferred):
        return None
    fields = [one.field for one in known]
    low, high = fields[0].span
    name = f"span of {low} to {high} pieces repeated"
    if len(fields) > 1:
        name += f" with {fields[1].span[0]} to {fields[1].span[1]} between"
    return Pattern(
        pattern_id="p",
        pattern_name=name,
        anchor_tokens=(),
        fields=tuple(fields),
        template="".join(f"{{{field.name}}}" for field in fields),
        length_control="repeat the template until the text has target_tokens tokens; the span stays the same",
        recurrence=recurrence(known, texts, ()),
    )


def _field(name: str, scope: Scope, values: Sequence[list[str]]) -> Inferred | None:
    """Of the pieces of its values; None of a single one, which teaches nothing."""
    rules = listed((piece for value in values for piece in value if piece and REPLACEMENT not in piece), 100)
    if len(set(rules)) < 2:
        return None
    items = [value[:LONGEST_VALUE] if all(value) else None for value in values]
    return of_items(name, "fixed_list", rules, items, scope=scope)
