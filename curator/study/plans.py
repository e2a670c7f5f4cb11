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
        window: its first step.
        rows: those that the study made, by the word that `Arm.insert` has for them.
    """

    study: Study
    seed: int
    corpus: Corpus
    orders: Mapping[str, Source]
    window: int
    rows: Mapping[str, Corpus] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.categories = self.corpus.categories()

    def source(self, by: str | None = None) -> Source:
        """A ranking and its unit."""
        return self.orders[by or next(iter(self.orders))]

    def choose(self, what: Select, by: str | None = None, draw: int = 0) -> Selection:
        """The study's share of the ranked samples; random ones among all, as the paper's control is.

        Losses are matched in as many bins as leave enough samples beside the top ones.
        """
        for bins in BINS:
            try:
                return select(
                    [self.source(by)],
                    what,
                    percent=self.study.percent,
                    seed=draw,
                    categories=self.categories,
                    exclude_top=False,
                    bins=bins,
                )
            except CuratorError:
                if what != "loss-matched" or bins == BINS[-1]:
                    raise
        raise AssertionError("unreachable")

    def plan(self, arm: Arm, number: int) -> Plan:
        """The plan of one run of ``arm``, which is the study's ``number``-th run, from 0."""
        plan = self.study.unedited(self.corpus)
        if arm.insert is not None and arm.count is not None:
            return self._insert(plan, arm, arm.insert, arm.count)
        draw = 100 * self.seed + number
        if arm.tokens is not None and arm.mask is None:
            return mask_tokens(plan, self.corpus, self.source(arm.by)[0].samples, arm.tokens, draw)
        samples = self.choose(arm.mask or arm.repeat or "top", arm.by, draw).samples
        if arm.tokens is not None:
            return mask_tokens(plan, self.corpus, samples, arm.tokens, draw)
        if arm.mask is not None:
            return plan.mask(samples)
        random = np.random.default_rng(draw)
        others = np.setdiff1d(self.source(arm.by)[0].samples, self.choose("top", arm.by).samples)
        slots = random.choice(others, len(samples), replace=False)
        return plan.replace(slots, random.permutation(samples))

    def _insert(self, plan: Plan, arm: Arm, kind: Rows, count: int) -> Plan:
        """``count`` rows as extra steps, in random order."""
        random, source = np.random.default_rng([self.seed, count]), 0
        ranking, unit = self.source(arm.by)
        if kind == "top":
            samples = ranking.top(count, unit)
        elif kind == "random":
            samples = random.choice(ranking.samples, count, replace=False)
        else:
            rows = self.rows[kind]
            plan, source = plan.with_source(kind, rows.path, rows.fingerprint())
            samples = np.arange(count)
        start = self.window
        over = None if arm.spread is None else (start, start + arm.spread)
        steps = extra_steps(self.study.train.steps, plan.batch_size, count, None if over else start, over)
        return plan.insert(steps, random.permutation(samples), source)
