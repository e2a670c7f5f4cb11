"""The account of a plan: where every row of the run without it has gone, what was put in, and what does not count.

Extra steps push whole steps back, so a slot is *at home* where it holds what the run without the plan holds k steps
earlier, k being the number of extra steps before it:

    sample = slot - k B     (modulo the corpus' length, where the run passes over it again)

k never falls from one step of that run to the next, and no step of it comes twice; of all ways to tell its steps from
extra ones, that with most rows at home is taken. (Where the corpus is passed over again, extra steps that fill a whole
pass, or stand at the end with rows as that pass would have them there, are taken for it.) Nothing of what made the plan
is believed: what its folder says of it is compared with this (check.py).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from curator.plan.plan import CORPUS, Plan

SLOTS_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class Put:
    """Rows that stand where the run without the plan has none, or others: of the corpus, or of an injected set."""

    name: str
    slots: int
    different: int


@dataclass(frozen=True)
class Account:
    """What a plan does, counted.

    Attributes:
        steps: of the run without the plan; extra_steps: those that the plan adds.
        at_home: slots of its steps that hold what they would without it; replaced: those that hold something else.
        put: what stands in the replaced slots and the extra steps, by source.
        masked: slots of weight 0; weighted: of any other than 1.
        token_slots: slots some of whose tokens do not count; masked_tokens: how many tokens that are.
        row_targets: how many tokens of a row a model is asked for, where some are masked.
    """

    steps: int
    extra_steps: int
    at_home: int
    replaced: int
    put: tuple[Put, ...]
    masked: int
    weighted: int
    token_slots: int
    masked_tokens: int
    row_targets: int | None


def account_of(plan: Plan) -> Account:
    """Count it all, in one pass over the slots."""
    batch = plan.batch_size
    pushed, extra = pushed_back(plan)
    at_home = 0
    away: list[list[np.ndarray]] = [[np.zeros(0, np.int64)] for _ in range(len(plan.sources) + 1)]
    for first, last in _parts(plan):
        slots = np.arange(first * batch, last * batch)
        held = plan.lookup(slots)
        k = np.repeat(pushed[first:last], batch)
        home = slots - k * batch
        if plan.epoch_samples is not None:
            home %= plan.epoch_samples
        there = (k >= 0) & (held.source == CORPUS) & (held.sample == home)
        at_home += int(there.sum())
        for source, samples in enumerate(away):
            samples.append(held.sample[~there & (held.source == source)])
    found = [np.concatenate(samples) for samples in away]
    names = ["the corpus", *(str(source["name"]) for source in plan.sources)]
    steps = len(pushed) - extra
    return Account(
        steps=steps,
        extra_steps=extra,
        at_home=at_home,
        replaced=steps * batch - at_home,
        put=tuple(
            Put(name, len(samples), len(np.unique(samples)))
            for name, samples in zip(names, found)
            if len(samples)
        ),
        masked=len(plan.masked_slots()),
        weighted=len(plan.weight_slots) - len(plan.masked_slots()),
        token_slots=len(plan.mask_slots),
        masked_tokens=plan.masked_tokens(),
        row_targets=plan.row_targets,
    )


def pushed_back(plan: Plan) -> tuple[np.ndarray, int]:
    """([steps] how many extra steps stand before each step of the run without the plan, -1 for all others; how many
    extra steps there are).

    The others are extra steps, and steps all of whose rows were replaced; behind the last known step, extra ones.
    """
    n_steps = plan.n_slots // plan.batch_size
    pushed = np.full(n_steps, -1)
    steps, k, rows = _rows_pushed(plan)
    chosen = _heaviest_chain(steps - k, k, rows, n_steps)
    pushed[steps[chosen]] = k[chosen]
    known = np.flatnonzero(pushed >= 0)
    if not len(known):
        return pushed, 0
    return pushed, int(pushed[known[-1]]) + n_steps - 1 - int(known[-1])


def _rows_pushed(plan: Plan) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """[n] each: a step, a k, and how many of its rows would be at home with k extra steps before it, if any."""
    batch, n_steps = plan.batch_size, plan.n_slots // plan.batch_size
    found = []
    for first, last in _parts(plan):
        slots = np.arange(first * batch, last * batch)
        held = plan.lookup(slots)
        back = slots - held.sample
        if plan.epoch_samples is not None:
            back %= plan.epoch_samples
        whole = (held.source == CORPUS) & (back >= 0) & (back % batch == 0) & (back <= slots)
        keys, rows = np.unique((slots[whole] // batch) * n_steps + back[whole] // batch, return_counts=True)
        found.append((keys // n_steps, keys % n_steps, rows))
    steps, k, rows = (np.concatenate(parts) for parts in zip(*found))
    return steps, k, rows


def _heaviest_chain(base: np.ndarray, k: np.ndarray, rows: np.ndarray, n_steps: int) -> np.ndarray:
    """Which of the points (base step, k), sorted by step, to take: rising base steps, k that never falls, most rows.

    A tree over k holds the heaviest chain that ends at or below it (Fenwick's, of maxima).
    """
    tree = [(0, -1)] * (n_steps + 1)  # (weight, last point)
    before = [-1] * len(base)
    order = np.lexsort((-k, base))  # of one base step the highest k first, so that none follows another
    best = (0, -1)
    for point in order.tolist():
        at, heaviest = int(k[point]) + 1, (0, -1)
        while at:
            heaviest = max(heaviest, tree[at])
            at &= at - 1
        before[point] = heaviest[1]
        chain = (heaviest[0] + int(rows[point]), point)
        best = max(best, chain)
        at = int(k[point]) + 1
        while at <= n_steps and tree[at] < chain:
            tree[at] = chain
            at += at & -at
    chosen = []
    point = best[1]
    while point >= 0:
        chosen.append(point)
        point = before[point]
    return np.array(chosen[::-1], np.int64)


def _parts(plan: Plan) -> Iterator[tuple[int, int]]:
    """[first, last) steps that are looked at together."""
    n_steps, size = plan.n_slots // plan.batch_size, max(1, SLOTS_AT_ONCE // plan.batch_size)
    for first in range(0, n_steps, size):
        yield first, min(first + size, n_steps)
