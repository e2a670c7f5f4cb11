"""A pattern and where it was found: what both engines hand to the registry."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from synth.patterns.matcher import Matcher
from synth.patterns.pattern import Pattern
from synth.patterns.samples import SampleText


@dataclass(frozen=True)
class Found:
    """One pattern with its provenance.

    Attributes:
        samples: indices of the samples in which it was found; scores: their scores, in the same order.
        undecided: indices of those in which the search for it was given up: neither found there nor absent.
        provenance: what else is known (model, prompt, request), as plain JSON values.
    """

    pattern: Pattern
    samples: tuple[int, ...]
    scores: tuple[float, ...]
    provenance: dict[str, Any] = field(default_factory=dict)
    undecided: tuple[int, ...] = ()

    @staticmethod
    def of(
        pattern: Pattern,
        samples: Sequence[SampleText],
        undecided: Sequence[SampleText] = (),
        **provenance: Any,
    ) -> "Found":
        return Found(
            pattern,
            tuple(s.sample for s in samples),
            tuple(s.score for s in samples),
            dict(provenance),
            tuple(s.sample for s in undecided),
        )

    @staticmethod
    def where(pattern: Pattern, samples: Sequence[SampleText], **provenance: Any) -> "Found":
        """The pattern, found in those of the ``samples`` in which it occurs; in none, perhaps.

        It occurs where its template stands twice in a row. Where it does so in no sample, those count in which it
        stands once, if it has anchors: what comes back from one sample to the next was asked for too.
        """
        undecided: list[SampleText] = []
        for least in (2, 1) if pattern.anchor_tokens else (2,):
            holding, undecided = searched(Matcher(pattern, least=least), samples)
            if holding:
                return Found.of(pattern, holding, undecided, **provenance)
        return Found.of(pattern, (), undecided, **provenance)


def searched(matcher: Matcher, samples: Sequence[SampleText]) -> tuple[list[SampleText], list[SampleText]]:
    """The samples in which the pattern occurs, and those in which the search for it was given up."""
    occurs = [(sample, matcher.occurs(sample.text)) for sample in samples]
    return [sample for sample, found in occurs if found], [
        sample for sample, found in occurs if found is None
    ]
