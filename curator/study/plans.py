"""The plans of a seed's arms, built from its ranking, its corpus and rows that were made.

Every run of an arm is one draw. Draws of different arms and seeds differ; the same study draws the same again.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from curator.corpus import Corpus
from curator.errors import CuratorError
from curator.plan.plan import Plan
from curator.planning.inject import extra_steps
from curator.planning.tokens import mask_tokens
from curator.ranking.candidates import Source
from curator.ranking.ranking import highest_first
from curator.ranking.selection import Select, Selection, select
from curator.study.arm import Arm, Rows
from curator.study.study import Study

BINS = (100, 50, 20, 10, 5)


@dataclass(kw_only=True)
class Plans:
    """What a seed has made before its arms are trained.

    Attributes:
        orders: what samples are ranked by: the study's word for it -> a ranking and its unit; the first is the arms'
            where they do not say.
        window: its steps [first, last).
        rows: those that the study made, by the word that `Arm.insert` has for them.
    """

    study: Study
    seed: int
    corpus: Corpus
    orders: Mapping[str, Source]
    window: tuple[int, int]
    rows: Mapping[str, Corpus] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.categories = self.corpus.categories()

    def source(self, by: str | None = None) -> Source:
        """A ranking and its unit."""
        return self.orders[by or next(iter(self.orders))]

    @property
    def samples(self) -> np.ndarray:
        """Those of the window, rising."""
        return self.within(self.window)

    def within(self, steps: tuple[int, int], by: str | None = None) -> np.ndarray:
        """The ranked samples of these steps, rising."""
        ranking, _ = self.source(by)
        first, last = (step * self.study.train.batch_size for step in steps)
        return ranking.samples[(ranking.samples >= first) & (ranking.samples < last)]

    def _steps(self, arm: Arm) -> tuple[int, int]:
        return arm.steps_within(self.window, self.study.train.steps)

    def choose(
        self,
        what: Select,
        by: str | None = None,
        draw: int = 0,
        count: int | None = None,
        steps: tuple[int, int] | None = None,
        exclude_top: bool = False,
    ) -> Selection:
        """``count`` samples, by default the study's share, of these steps, by default of the window.

        Random ones are drawn among all, as the paper's control is. Losses are matched in as many bins as leave enough
        samples beside the top ones.
        """
        for bins in BINS:
            try:
                return select(
                    [self.source(by)],
                    what,
                    count=self.share(self.study.percent) if count is None else count,
                    steps=self.window if steps is None else steps,
                    batch_size=self.study.train.batch_size,
                    seed=draw,
                    categories=self.categories,
                    exclude_top=exclude_top,
                    bins=bins,
                )
            except CuratorError:
                if what != "loss-matched" or bins == BINS[-1]:
                    raise
        raise AssertionError("unreachable")

    def share(self, percent: float) -> int:
        """So much of the window's samples."""
        return round(len(self.samples) * percent / 100)

    def plan(self, arm: Arm, number: int) -> Plan:
        """The plan of one run of ``arm``, which is the study's ``number``-th run, from 0."""
        plan = self.study.unedited(self.corpus)
        if arm.insert is not None and arm.count is not None:
            return self._insert(plan, arm, arm.insert, arm.count)
        draw, count = 100 * self.seed + number, arm.count or self.share(arm.percent or self.study.percent)
        if arm.repeat is not None:
            return self._repeat(plan, arm, arm.repeat, draw, count)
        if arm.tokens is not None and arm.mask is None:
            return mask_tokens(plan, self.corpus, self.samples, arm.tokens, draw)
        chosen = self.choose(arm.mask or arm.keep or "top", arm.by, draw, count).samples
        if arm.tokens is not None:
            return mask_tokens(plan, self.corpus, chosen, arm.tokens, draw)
        return plan.mask(chosen if arm.keep is None else np.setdiff1d(self.samples, chosen))

    def _repeat(self, plan: Plan, arm: Arm, kind: Select, draw: int, count: int) -> Plan:
        """``count`` samples in place of as many of the window's, in random order."""
        random = np.random.default_rng(draw)
        away = arm.place == "top" and arm.from_window  # a control that puts top samples back would be none
        samples = self.choose(kind, arm.by, draw, count, self._steps(arm), exclude_top=away).samples
        if arm.place == "random":
            top = self.choose("top", arm.by, count=count).samples
            slots = random.choice(np.setdiff1d(self.samples, top), len(samples), replace=False)
        else:
            slots = self.choose(arm.place, arm.by, count=count).samples
        return plan.replace(slots, random.permutation(samples))

    def _insert(self, plan: Plan, arm: Arm, kind: Rows, count: int) -> Plan:
        """``count`` rows as extra steps, in random order."""
        random, source = np.random.default_rng([self.seed, count]), 0
        ranking, unit = self.source(arm.by)
        there = self.within(self._steps(arm), arm.by)
        if kind == "top":
            samples = there[highest_first(ranking.scores_of(there, unit))[:count]]
        elif kind == "random":
            samples = random.choice(there, count, replace=False)
        else:
            rows = self.rows[kind]
            plan, source = plan.with_source(kind, rows.path, rows.fingerprint())
            samples = np.arange(count)
        start = self.window[0]
        over = None if arm.spread is None else (start, start + arm.spread)
        steps = extra_steps(self.study.train.steps, plan.batch_size, count, None if over else start, over)
        return plan.insert(steps, random.permutation(samples), source)
