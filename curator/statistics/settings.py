"""Which statistics of which samples: the section ``statistics`` of an experiment, and the flags of the command."""

import shlex
from typing import Annotated, Literal

from curator.artifacts.conditions import Not, Only
from curator.artifacts.fields import (
    BatchSize,
    Corpus,
    Count,
    Epochs,
    Index,
    Model,
    Out,
    Precision,
    Span,
    Tokenizer,
    Where,
    Window,
)
from curator.artifacts.flags import Flag, flag_words
from curator.artifacts.schema import Many, Settings

Name = Literal["copyable", "compression", "length", "loss"]


class StatisticsSettings(Settings):
    """What is told of every sample without a gradient."""

    corpus: Corpus = None
    statistics: Annotated[Many[Name], Flag(name="statistic", default="all that can be told")] = ()
    """copyable: share of the tokens that are what followed the last earlier occurrence of the token before them;
    compression: bytes per compressed byte; length: tokens before the padding; loss: nats per token, needs --model.
    Repeatable."""
    out: Out = None
    samples: Annotated[Span | None, Not("window"), Flag(default="the window, or all")] = None
    """Of samples FIRST:LAST (LAST not included)."""
    window: Window = None
    """Of the samples of steps FIRST:LAST; needs --batch-size."""
    batch_size: BatchSize = None
    epochs: Annotated[Epochs, Only("window")] = 1
    padding: Annotated[
        Index | None, Only("statistics", "length"), Flag(default="the tokenizer's, and its end-of-text")
    ] = None
    """Token id that fills rows up at their end, for length."""
    tokenizer: Annotated[Tokenizer, Only("statistics", "length")] = None
    model: Annotated[Model, Only("statistics", "loss", "length")] = None
    dtype: Precision = "float32"
    micro_batch: Annotated[Count | None, Only("statistics", "loss"), Flag(default="what fits")] = None
    """Samples per pass through the model."""
    device: Annotated[Where, Only("statistics", "loss")] = "cpu"

    def command(self) -> str:
        """The command that asks for the same again (all but ``--out``)."""
        left_out = {"out", "window", "batch_size", "epochs", "device"}
        return shlex.join(["curator", "statistics", *flag_words(self, left_out)])
