"""A pattern and where it was found: what both engines hand to the registry."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from synth.pattern import Pattern
from synth.samples import SampleText


@dataclass(frozen=True)
class Found:
    """One pattern with its provenance.

    Attributes:
        samples: sample indices it was distilled from; scores: their scores, in the same order.
        provenance: what else is known (model, prompt, request), as plain JSON values.
    """

    pattern: Pattern
    samples: tuple[int, ...]
    scores: tuple[float, ...]
    provenance: dict[str, Any] = field(default_factory=dict)

    @staticmethod
    def of(pattern: Pattern, samples: Sequence[SampleText], **provenance: Any) -> "Found":
        return Found(
            pattern, tuple(s.sample for s in samples), tuple(s.score for s in samples), dict(provenance)
        )
