"""A sample as people read it: its text with what repeats marked, and what a ranking says of it."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class SampleView:
    """One sample of a ranking, for one unit; of a row of a corpus alone, nothing is said of scores.

    Attributes:
        step: first training step that held it, where the batch size is known.
        score: positive = training on it raises the probe; of a statistic, what that says.
        error: standard error of a score that is a mean.
        rank: 1 is the highest score of ``ranked`` samples; ties by sample index.
        percentile: percent of the samples with a lower score.
        loss: nats per token, where a model was asked.
        block_scores: block -> its part of the score.
        spans: [start, stop) token positions of the maximal repeated spans; they may overlap.
        segments: (text, repeated) in reading order; the texts joined are the whole sample.
    """

    sample: int
    unit: str | None = None
    step: int | None = None
    score: float | None = None
    error: float | None = None
    rank: int | None = None
    ranked: int | None = None
    percentile: float | None = None
    loss: float | None = None
    block_scores: dict[str, float] = field(default_factory=dict)
    provenance: dict[str, Any] | None
    tokens: int
    spans: list[tuple[int, int]]
    segments: list[tuple[str, bool]]

    @property
    def title(self) -> str:
        """What it is."""
        return f"row {self.sample}" if self.unit is None else f"sample {self.sample} for {self.unit}"

    def facts(self) -> dict[str, str]:
        """What there is to say beside the text, as short strings."""
        repeated = len({token for span in self.spans for token in range(*span)})
        facts = {}
        if self.score is not None:
            facts = {
                "score": f"{self.score:+.4g}" + ("" if self.error is None else f" ± {self.error:.2g}"),
                "rank": f"{self.rank:,} of {self.ranked:,} (above {self.percentile:.2f} %)",
            }
        if self.loss is not None:
            facts["loss"] = f"{self.loss:.3f} nats per token"
        if self.block_scores:
            facts["blocks"] = ", ".join(f"{name} {score:+.3g}" for name, score in self.block_scores.items())
        facts["repeated"] = f"{len(self.spans)} spans, {repeated / self.tokens:.0%} of {self.tokens:,} tokens"
        if self.step is not None:
            facts["step"] = f"{self.step:,}"
        if self.provenance:
            facts["from"] = ", ".join(f"{name} {value}" for name, value in self.provenance.items())
        return facts
