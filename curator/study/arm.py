"""An arm as a study file says it: a name, how its plan differs from the corpus as it is, and what it is called."""

import re
from typing import Annotated, Literal

from curator.artifacts.fields import Count, Percent, Span
from curator.artifacts.schema import Many, Rule, Settings
from curator.planning.settings import Tokens
from curator.ranking.selection import Select

JOINED = re.compile(r"[a-z0-9]+(-[a-z0-9]+)+")
Rows = Literal["top", "random", "rendered"]


class Arm(Settings):
    """One way to train on from the window's start; one of ``mask``, ``keep``, ``repeat``, ``insert`` and ``tokens``."""

    name: Annotated[str, Rule("words joined by dashes, such as mask-top", JOINED.fullmatch)]
    """Also of the folder of its run, where all other folders are called by one word."""
    says: str = ""
    """What it is called in tables and pictures."""
    mask: Select | None = None
    """Leave these samples of the window out."""
    keep: Select | None = None
    """Leave all samples of the window out but these."""
    tokens: Tokens | None = None
    """Leave out the loss of these tokens alone, of every sample of the window, or of those that ``mask`` names."""
    repeat: Select | None = None
    """Put these in place of others."""
    place: Literal["random", "top", "bottom"] = "random"
    """Of which others: random ones, never of the top, or those of highest or lowest score."""
    when: Literal["window", "before", "after"] = "window"
    """Whether samples that are put in are the window's, or from all steps before or after it."""
    steps: Span | None = None
    """Or from these steps of the baseline."""
    insert: Rows | None = None
    """Put ``count`` rows in as extra steps: the window's top or random samples, or rows that the study renders."""
    by: str | None = None
    """Which of the study's ``probes`` or ``statistics`` says what top is; else its first."""
    percent: Percent | None = None
    """Of the window's samples, so many are left out, kept or put in; else the study's ``percent``."""
    count: Count | None = None
    """Or so many; whole batches, where they are inserted."""
    spread: Count | None = None
    """Steps from the window's start over which they are spread evenly; else all stand at its start."""
    draws: Count | None = None
    """Runs per seed, with draws of their own, called ``name-1``, ``name-2`` ...; else one."""
    against: Many[str] = ()
    """Arms that this one is compared with, paired by seed."""
    plot: bool = True
    """Whether it is drawn."""

    def check(self) -> None:
        """One kind of plan, with what it needs."""
        if (
            sum(kind is not None for kind in (self.mask or self.tokens, self.keep, self.repeat, self.insert))
            != 1
        ):
            raise ValueError(
                "an arm has one of 'mask', 'keep', 'repeat', 'insert' and 'tokens' ('tokens' may have a 'mask')"
            )
        if self.by is not None and "rendered" in (self.insert or ""):
            raise ValueError("rendered rows are not chosen 'by' anything")
        if self.insert is not None and (self.count is None or self.percent is not None):
            raise ValueError("'insert' needs 'count', not 'percent'")
        if self.percent is not None and self.count is not None:
            raise ValueError("an arm has one of 'percent' and 'count'")
        if self.insert is None and self.spread:
            raise ValueError("'spread' is of 'insert' alone")
        if self.repeat is None and self.place != "random":
            raise ValueError("'place' is of 'repeat' alone")
        if self.when != "window" and self.steps is not None:
            raise ValueError("an arm has one of 'when' and 'steps'")
        if not self.from_window and (self.mask or self.keep or self.insert == "rendered"):
            raise ValueError(
                "'when' and 'steps' say where samples are from that are put in, by 'repeat' or 'insert'"
            )

    @property
    def runs(self) -> list[str]:
        """The names of its runs."""
        return [f"{self.name}-{draw + 1}" for draw in range(self.draws)] if self.draws else [self.name]

    def steps_within(self, window: tuple[int, int], steps: int) -> tuple[int, int]:
        """The steps [first, last) that what it puts in is from, of a baseline of so many."""
        named = {"window": window, "before": (0, window[0]), "after": (window[1], steps)}
        return self.steps or named[self.when]

    @property
    def from_window(self) -> bool:
        """Whether what it puts in is the window's own."""
        return self.when == "window" and self.steps is None

    @property
    def is_control(self) -> bool:
        """Whether influence had no say in what it takes."""
        chosen = self.mask or self.keep or self.repeat or self.insert or ""
        return "random" in chosen or chosen == "loss-matched" or self.tokens == "random"
