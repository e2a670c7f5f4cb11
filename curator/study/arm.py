"""An arm as a study file says it: a name, how its plan differs from the corpus as it is, and what it is called."""

import re
from typing import Annotated, Literal

from curator.artifacts.fields import Count
from curator.artifacts.schema import Many, Rule, Settings
from curator.planning.settings import Tokens
from curator.ranking.selection import Select

JOINED = re.compile(r"[a-z0-9]+(-[a-z0-9]+)+")
Rows = Literal["top", "random", "rendered"]


class Arm(Settings):
    """One way to train on from the window's start; one of ``mask``, ``repeat``, ``insert`` and ``tokens``."""

    name: Annotated[str, Rule("words joined by dashes, such as mask-top", JOINED.fullmatch)]
    """Also of the folder of its run, where all other folders are called by one word."""
    says: str = ""
    """What it is called in tables and pictures."""
    mask: Select | None = None
    """Leave these samples of the window out."""
    tokens: Tokens | None = None
    """Leave out the loss of these tokens alone, of every sample of the window, or of those that ``mask`` names."""
    repeat: Select | None = None
    """Put these in place of random others, never of the top."""
    insert: Rows | None = None
    """Put ``count`` rows in as extra steps: the window's top or random samples, or rows that the study renders."""
    by: str | None = None
    """Which of the study's ``probes`` or ``statistics`` says what top is; else its first."""
    count: Count | None = None
    """Rows that are put in; whole batches."""
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
        if sum(kind is not None for kind in (self.mask or self.tokens, self.repeat, self.insert)) != 1:
            raise ValueError(
                "an arm has one of 'mask', 'repeat', 'insert' and 'tokens' ('tokens' may have a 'mask')"
            )
        if self.by is not None and "rendered" in (self.insert or ""):
            raise ValueError("rendered rows are not chosen 'by' anything")
        if (self.insert is None) != (self.count is None) or (self.insert is None and self.spread):
            raise ValueError("'insert' needs 'count', and 'count' and 'spread' are of 'insert' alone")

    @property
    def runs(self) -> list[str]:
        """The names of its runs."""
        return [f"{self.name}-{draw + 1}" for draw in range(self.draws)] if self.draws else [self.name]

    @property
    def is_control(self) -> bool:
        """Whether influence had no say in what it takes."""
        chosen = self.mask or self.repeat or self.insert or ""
        return "random" in chosen or chosen == "loss-matched" or self.tokens == "random"
