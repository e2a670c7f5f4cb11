"""What is measured of every checkpoint: keys of a study file, and the flags of `curator curves`."""

from typing import Annotated, Literal

from pydantic import Field

from curator.artifacts.fields import (
    BatchSize,
    Checkpoints,
    Corpus,
    Count,
    Out,
    Precision,
    Probe,
    Shared,
    Span,
    Tokenizer,
    UnitModules,
    Where,
)
from curator.artifacts.flags import Flag
from curator.artifacts.schema import GivenPath, Many, Settings

Quantity = Literal["metric", "probe", "ablation", "icl", "loss"]


class Measures(Settings):
    """Which numbers a checkpoint gives. Costs are in benchmarks/README.md."""

    measure: Annotated[Many[Quantity], Flag(default="metric")] = ("metric",)
    """metric: of every unit of every kind; probe: the value of every probe; ablation: what each head adds to the
    log-probability of C in [prefix][A B C][gap][A B]; icl: loss at token 500 less the mean of tokens 0 to 50 (scaled to
    shorter contexts), lower = more is learnt in context; loss: mean of held-out rows, nats per token. Repeatable."""
    icl_text: GivenPath | None = None
    """Text for icl; else the held-out rows."""
    held_out_rows: Count = 64
    """Rows for icl and loss."""

    def check(self) -> None:
        """Something is measured, each once."""
        if not self.measure or len(set(self.measure)) < len(self.measure):
            raise ValueError(f"'measure' names some quantities, each once, not {list(self.measure)}")

    @property
    def reads_rows(self) -> bool:
        """Whether held-out rows are needed."""
        return "loss" in self.measure or ("icl" in self.measure and self.icl_text is None)


class CurvesSettings(Measures):
    """Of which checkpoints, and with what."""

    FLAGS = (
        *("runs", "out", "measure", "units", "unit_modules", "steps", "corpus", "held_out", "held_out_rows"),
        *("icl_text", "tokenizer", "probe", "batch_size", "dtype", "device"),
    )

    runs: Annotated[Many[Checkpoints], Flag(argument=True)]
    """Folders of step{N}, checkpoint-{N} or global_step{N}, one for each run; or a hub model's revisions."""
    out: Out = None
    units: Annotated[Many[str], Flag(name="unit", default="'induction:*'")] = ()
    """Whose probes are taken: 'induction:*', 'induction:*:gain' (asked by that one), previous-token:0.1. Repeatable."""
    unit_modules: UnitModules = ()
    steps: Span | None = None
    """Only checkpoints of steps FIRST:LAST."""
    corpus: Corpus = None
    held_out: Span | None = None
    """Samples FIRST:LAST of the corpus that were not trained on, for icl and loss."""
    tokenizer: Tokenizer = None
    probe: Annotated[Probe, Shared()] = Field(default_factory=Probe)
    batch_size: BatchSize = None
    dtype: Precision = "float32"
    device: Where = "cpu"
