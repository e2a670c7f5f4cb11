"""Strings that many samples repeat become anchors; what stands between their occurrences becomes fields.

Candidates are the repeated spans of all samples. They are taken greedily by the characters they repeat in samples
that no anchor taken before repeats as much of, so that one habit of the data does not give a hundred anchors. Between
two occurrences the texts are aligned (``align.py``): more anchors where they agree, typed fields where they vary.
"""

from collections.abc import Callable, Sequence

from synth.found import Found
from synth.miner.align import align
from synth.miner.infer import REPLACEMENT, Pieces, infer_field
from synth.miner.mined import Mined
from synth.pattern import Field, Pattern

CANDIDATES = 600
"""Strings whose occurrences are counted in every sample."""
OF_A_SAMPLE = 12
"""Repeats of a sample that become candidates, the most repeated first."""
GAPS = 300
"""Texts between two occurrences that are aligned."""
LONGEST_GAP = 400
"""Characters."""
LONGEST_ANCHOR = 200
"""Characters."""


def literal_patterns(
    samples: Sequence[Mined], least: int, most: int, pieces: Pieces, advance: Callable[[int], object]
) -> list[Found]:
    """At most ``most`` patterns, each repeated within at least ``least`` samples."""
    texts = [sample.sample.text for sample in samples]
    repeated = {}  # candidate -> {sample number: characters repeated there}
    for candidate in _candidates(samples):
        counts = {number: text.count(candidate) for number, text in enumerate(texts)}
        inside = {n: (count - 1) * len(candidate) for n, count in counts.items() if count > 1}
        if len(inside) >= least:
            repeated[candidate] = inside
        advance(1)
    found: list[Found] = []
    explained = dict.fromkeys(range(len(texts)), 0)
    while repeated and len(found) < most:
        gains = {
            c: sum(max(0, n - explained[i]) for i, n in inside.items()) for c, inside in repeated.items()
        }
        best = max(gains, key=lambda c: (gains[c], c))
        inside = repeated.pop(best)
        if gains[best] < 0.2 * sum(inside.values()):
            continue  # what it repeats, others repeat already
        pattern = _pattern(best, [texts[number] for number in inside], pieces)
        if pattern is not None:
            found.append(Found.of(pattern, [samples[number].sample for number in inside]))
            for number, characters in inside.items():
                explained[number] = max(explained[number], characters)
    return found


def _candidates(samples: Sequence[Mined]) -> list[str]:
    seen: dict[str, int] = {}
    for sample in samples:
        spans = {sample.text(r.start, r.start + r.length) for r in sample.repeats[:OF_A_SAMPLE]}
        for span in spans:
            if REPLACEMENT not in span and len(span.strip()) >= 2 and len(span) <= LONGEST_ANCHOR:
                seen[span] = seen.get(span, 0) + 1
    return sorted(seen, key=lambda span: (-seen[span] * len(span), span))[:CANDIDATES]


def _pattern(anchor: str, texts: Sequence[str], pieces: Pieces) -> Pattern | None:
    gaps: list[str] = []
    for text in texts:
        between = text.split(anchor)[1:-1]
        gaps += [gap for gap in between if 0 < len(gap) <= LONGEST_GAP and REPLACEMENT not in gap]
        if len(gaps) >= GAPS:
            break
    if len(gaps) < 2:
        return None
    aligned = align(gaps[:GAPS])
    template = _escaped(anchor + aligned.literals[0])
    fields: list[Field] = []
    anchors = [anchor + aligned.literals[0]]
    for slot, literal in zip(aligned.slots, aligned.literals[1:]):
        field: Field | None = None
        if any(slot):
            field = infer_field(f"field_{len(fields) + 1}", slot, pieces)
        if field is not None:
            fields.append(field)
            template += f"{{{field.name}}}"
        template += _escaped(literal)
        if literal.strip():
            anchors.append(literal)
    if not fields or len(template) > 4000:
        return None
    return Pattern(
        pattern_id="p",
        pattern_name="repeats " + " ".join(anchor.split())[:60],
        anchor_tokens=tuple(dict.fromkeys(anchors)),
        fields=tuple(fields),
        template=template,
        length_control="repeat the template until the text has target_tokens tokens",
    )


def _escaped(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")
