"""Strings that many samples repeat become anchors; what stands between their occurrences becomes fields.

Candidates are the repeated spans of all samples. They are taken greedily by the characters they repeat in samples
that no anchor taken before repeats as much of, so that one habit of the data does not give a hundred anchors. Between
two occurrences the texts are aligned (``align.py``): more anchors where they agree, places where they vary. Places that
repeat each other share a field (``relate.py``), and every field is typed from its values (``infer.py``). A template
counts where it occurs, not where its anchor does; where its search was given up it is neither there nor absent.
"""

from collections.abc import Callable, Sequence
from typing import Any

from curator.visible import visible
from synth.distill.miner.align import DEEPEST, align
from synth.distill.miner.infer import Inferred, Pieces, coming_back, infer
from synth.distill.miner.mined import REPLACEMENT, Mined
from synth.distill.miner.recurrence import recurrence
from synth.distill.miner.relate import relate
from synth.patterns.matcher import Matcher
from synth.patterns.occurrence import Found, searched
from synth.patterns.pattern import LONGEST_TEMPLATE, MOST_FIELDS, Field, Pattern
from synth.patterns.samples import SampleText

CANDIDATES = 600
"""Strings whose occurrences are counted in every sample."""
OF_A_SAMPLE = 12
"""Repeats of a sample that become candidates, the most repeated first."""
GAPS = 600
"""Texts between two occurrences that are aligned."""
LONGEST_GAP = 400
"""Characters."""
LONGEST_ANCHOR = 200
"""Characters."""
SHALLOW = 3
"""Cuts within cuts where more give too many fields."""
NEW = 0.2
"""Share of what an anchor repeats that no anchor taken before repeats, at least."""


def literal_patterns(
    samples: Sequence[Mined], least: int, most: int, pieces: Pieces, advance: Callable[[int], object]
) -> tuple[list[Found], list[dict[str, Any]]]:
    """At most ``most`` patterns, each occurring in at least ``least`` samples, and what was set aside."""
    texts = [sample.sample.text for sample in samples]
    repeated = {}  # candidate -> {sample number: characters repeated there}
    for candidate in _candidates(samples):
        counts = {number: text.count(candidate) for number, text in enumerate(texts)}
        inside = {n: (count - 1) * len(candidate) for n, count in counts.items() if count > 1}
        if len(inside) >= least:
            repeated[candidate] = inside
        advance(1)
    found: list[Found] = []
    set_aside: list[dict[str, Any]] = []
    explained = dict.fromkeys(range(len(texts)), 0)
    while repeated and len(found) < most:
        gains = {
            c: sum(max(0, n - explained[i]) for i, n in inside.items()) for c, inside in repeated.items()
        }
        best = max(gains, key=lambda c: (gains[c], c))
        inside = repeated.pop(best)
        if gains[best] < NEW * sum(inside.values()):
            continue  # what it repeats, others repeat already
        own_texts = {number: texts[number] for number in inside}
        tried = (_pattern(best, own_texts, pieces, depth) for depth in (DEEPEST, SHALLOW))
        made = next((one for one in tried if one is not None), None)
        if made is None:
            continue
        pattern, outliers = made
        holding, undecided = searched(Matcher(pattern), [samples[number].sample for number in inside])
        if len(holding) + len(undecided) < least:
            set_aside.append(
                missing(pattern, [samples[number].sample for number in inside], len(holding), least)
            )
            continue
        known = {"outliers": outliers} if outliers else {}
        found.append(Found.of(pattern, holding, undecided, **known))
        held = set(holding)
        for number, characters in inside.items():
            if samples[number].sample in held:
                explained[number] = max(explained[number], characters)
    return found, set_aside


def missing(pattern: Pattern, samples: Sequence[SampleText], occurs: int, least: int) -> dict[str, Any]:
    """What is written down of a pattern that does not occur in the samples it was made of."""
    where = f"occurs in {occurs or 'none'} of the {len(samples)} samples that it was made of"
    return {
        "samples": [sample.sample for sample in samples],
        "reason": where + (f"; at least {least} are wanted (--least)" if occurs else ""),
        "answer": pattern.template,
    }


def _candidates(samples: Sequence[Mined]) -> list[str]:
    seen: dict[str, int] = {}
    for sample in samples:
        spans = {sample.text(r.start, r.start + r.length) for r in sample.repeats[:OF_A_SAMPLE]}
        for span in spans:
            if REPLACEMENT not in span and len(span.strip()) >= 2 and len(span) <= LONGEST_ANCHOR:
                seen[span] = seen.get(span, 0) + 1
    return sorted(seen, key=lambda span: (-seen[span] * len(span), span))[:CANDIDATES]


def _gaps(anchor: str, texts: dict[int, str]) -> list[tuple[int, str]]:
    """(sample number, text between two occurrences), at most `GAPS`, of samples from first to last alike."""
    of_samples = []
    for number, text in texts.items():
        between = text.split(anchor)[1:-1]
        good = [(number, gap) for gap in between if 0 < len(gap) <= LONGEST_GAP and REPLACEMENT not in gap]
        if good:
            of_samples.append(good)
    every = -(-sum(map(len, of_samples)) // GAPS) or 1
    return [gap for good in of_samples[::every] for gap in good][:GAPS]


def _pattern(
    anchor: str, texts: dict[int, str], pieces: Pieces, depth: int
) -> tuple[Pattern, dict[str, list[int]]] | None:
    """The pattern of an anchor; None where nothing varies behind it, or too much for one template.

    With it, by field, how many values of another type were left out, of how many.
    """
    gaps = _gaps(anchor, texts)
    if len(gaps) < 2:
        return None
    aligned = align([gap for _, gap in gaps], depth)
    related = relate(aligned.slots)
    of = [gaps[aligned.fitting[row]][0] for row in related.rows]
    again = coming_back([place.values for place in related.places], of, pieces)
    made: dict[int, Inferred] = {}
    copies: dict[int, Field] = {}
    template, anchors = _escaped(anchor + aligned.literals[0]), [anchor + aligned.literals[0]]
    for order, literal in zip(related.order, aligned.literals[1:]):
        for number in order:
            place = related.places[number]
            name = f"field_{len(made) + len(copies) + 1}"
            shown = ""
            if place.of is None:
                inferred = infer(name, place.values, pieces, again=again)
                if inferred is not None:
                    made[number], shown = inferred, name
            elif place.of in made:
                source = made[place.of].field.name
                shown = source if place.case is None else name
                if place.case is not None:
                    copies[number] = Field(name=name, type="copy", values_or_rules=source, case=place.case)
            template += f"{{{shown}}}" if shown else ""
        template += _escaped(literal)
        if literal.strip():
            anchors.append(literal)
    if not made or len(made) + len(copies) > MOST_FIELDS or len(template) > LONGEST_TEMPLATE:
        return None
    own = {piece for string in (anchor, *aligned.literals) if string for piece in pieces(string)}
    varying = list(made.values())
    pattern = Pattern(
        pattern_id="p",
        pattern_name="repeats " + " ".join(visible(anchor).split())[:60],
        anchor_tokens=tuple(dict.fromkeys(anchors)),
        fields=(*(one.field for one in varying), *copies.values()),
        template=template,
        length_control="repeat the template until the text has target_tokens tokens",
        recurrence=recurrence(varying, of, own),
    )
    return pattern, {one.field.name: [one.outliers, len(one.items)] for one in varying if one.outliers}


def _escaped(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")
