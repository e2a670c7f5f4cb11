"""What patterns and rows are held to: the flags of `synth audit patterns` and `synth audit data`."""

from typing import Annotated

from pydantic import Field

from curator.artifacts.fields import Corpus, Count, Index, OneUnit, Seed, Tokenizer, Where
from curator.artifacts.flags import Flag
from curator.artifacts.schema import GivenPath, Settings
from synth.fields import PatternsFolder, Workers


class AuditPatternsSettings(Settings):
    """Which patterns are audited, and the controls."""

    patterns: PatternsFolder
    ranking: GivenPath | None = None
    """The ranking they were distilled from, where it has moved."""
    corpus: Corpus = None
    tokenizer: Tokenizer = None
    seed: Seed = 0
    """Of the drawn controls."""
    workers: Workers = None


class AuditDataSettings(Settings):
    """Which rows are scored, and what a pattern must pass."""

    rows: Annotated[GivenPath, Flag(argument=True)]
    """Folder of rendered rows (synth render)."""
    ranking: GivenPath
    """Ranking of natural samples; its queries and checkpoint score the rows."""
    out: GivenPath
    """Folder for the result."""
    unit: OneUnit = None
    sample: Index = 100
    """Rows scored per pattern, drawn by seed; 0 scores all."""
    random: Count = 1000
    """Natural samples drawn as the control."""
    threshold: Annotated[float, Field(ge=0, le=100)] = 50.0
    """Percentile among natural samples that a pattern must pass."""
    seed: Seed = 0
    """Of every draw."""
    corpus: Corpus = None
    model: str | None = None
    """The ranking's checkpoint, where it has moved."""
    device: Where = "cpu"
