"""What a plan takes out of training or puts in: the sections ``mask`` and ``inject``, and their commands' flags."""

from typing import Annotated, Literal

from pydantic import Field

from curator.artifacts.conditions import Not, Only
from curator.artifacts.fields import (
    BatchSize,
    Corpus,
    Count,
    Epochs,
    Index,
    Out,
    Percent,
    Positive,
    Seed,
    Span,
    Units,
)
from curator.artifacts.flags import Flag
from curator.artifacts.schema import GivenPath, Many, Settings

How = Annotated[
    Literal["top", "bottom", "random", "loss-matched", "random-in-category"],
    Field(description="top, bottom, or a control: random, loss-matched, random-in-category."),
]
Bins = Annotated[
    Count, Field(description="Loss quantile bins of loss-matched."), Only("select", "loss-matched")
]
RANDOM = ("random", "loss-matched", "random-in-category")
Draws = Annotated[Seed, Field(description="Of random choices."), Only("select", *RANDOM)]
Divisor = Literal["kept", "renormalised"]
Tokens = Literal["copyable", "repeated", "random"]
Edited = Annotated[GivenPath | None, Flag(default="the corpus as it is")]


class Choice(Settings):
    """Which samples of rankings are chosen."""

    ranking: Many[GivenPath] = ()
    """Ranking to choose from; repeatable, their ranks are averaged."""
    units: Units = ()
    select: How = "top"
    count: Count | None = None
    """How many samples."""
    percent: Annotated[Percent | None, Not("count")] = None
    """Or which share of the ranked samples."""
    significant: Annotated[Positive | None, Flag(default="as they rank")] = None
    """Of these, only samples whose score lies so many of its standard errors above 0 (for bottom: below); needs one
    ranking that was combined of several. Controls are as many."""


class MaskSettings(Choice):
    """Which samples, or which of their tokens, a plan takes out of training."""

    samples: GivenPath | None = None
    """Or these: a .npy list of sample indices, as samples.npy of another plan."""
    steps: Span | None = None
    """Only samples of training steps FIRST:LAST."""
    tokens: Tokens | None = None
    """Leave out the loss of these tokens alone, of the chosen samples, or without --ranking and --samples of all.
    copyable: what followed the last earlier occurrence of the token before (`curator statistics` counts it); repeated:
    what followed any earlier one, as in Hapax; random: a control, as many as are copyable in each row."""
    seed: Annotated[
        Seed,
        Field(description="Of random choices, of samples or tokens."),
        Only("select", *RANDOM, otherwise=Only("tokens", "random")),
    ] = 0
    loss_bins: Bins = 100
    plan: Edited = None
    """Edit this plan; steps are those of the run without it."""
    divisor: Annotated[Divisor | None, Flag(default="the plan's, or kept")] = None
    """kept: a batch's loss is divided by all its samples, or tokens; renormalised: by those left."""
    batch_size: BatchSize = None
    epochs: Epochs = 1
    corpus: Corpus = None
    out: Out = None

    def check(self) -> None:
        """One list of samples."""
        super().check()
        if self.ranking and self.samples is not None:
            raise ValueError("'ranking' and 'samples' exclude each other; give one")


class InjectSettings(Choice):
    """Which samples a plan adds to training, and where it puts them."""

    ranking: Many[GivenPath] = ()
    """What: samples of the corpus, chosen from this ranking; repeatable, their ranks are averaged."""
    count: Count | None = None
    """How many samples of the ranking, or only the first so many rows."""
    from_steps: Span | None = None
    """Choose only samples of training steps FIRST:LAST."""
    seed: Draws = 0
    loss_bins: Bins = 100
    rows: Annotated[
        GivenPath | None,
        Not("ranking"),
        Not(
            *("units", "select", "percent", "from_steps", "seed", "loss_bins"),
            says="that chooses from a ranking; give 'count', the first so many rows",
        ),
    ] = None
    """Or what: the rows of another corpus, in any known format, as wide as the corpus's own."""
    shuffle_seed: Annotated[Seed | None, Flag(default="as they lie")] = None
    """Put them in in an order drawn with this seed."""
    repeat: Count = 1
    """Put all of them in K times."""
    after: Index | None = None
    """Where: a burst of extra steps right after so many steps. Fills whole steps."""
    spread: Annotated[Span | None, Not("after")] = None
    """Or where: extra steps, spread evenly over steps FIRST:LAST. Fills whole steps."""
    replace: Annotated[Span | None, Not("after", "spread")] = None
    """Or where: in place of as many samples of steps FIRST:LAST, evenly spread; no extra steps."""
    plan: Annotated[Edited, Not("epochs", says="the plan says it itself")] = None
    """Edit this plan; steps are counted in it."""
    divisor: Annotated[Divisor | None, Flag(default="the plan's, or kept")] = None
    """As for mask."""
    batch_size: BatchSize = None
    epochs: Epochs = 1
    corpus: Corpus = None
    out: Out = None
