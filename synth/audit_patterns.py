"""Does a pattern occur more often where influence is high? Asked of samples that distilling never saw.

For every pattern, occurrences (`Matcher.occurs`) are counted in the held-out top samples and in two controls that
leave all top samples out: random ones, and ones with the losses of the top. The odds ratio is (a+½)(d+½)/((b+½)(c+½))
with Woolf's interval (normal on the log; the halves are Haldane's and Anscombe's, for empty cells). A pattern is
called *carrying* when the interval lies above 1 against every control, at a level corrected for the number of
patterns (Bonferroni), so that a long registry does not pass some by luck. Shown intervals are plain 95 %.
"""

import math
import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from curator.candidates import Candidates, gather_candidates, highest_first
from curator.corpus import Corpus
from curator.errors import CuratorError
from curator.progress import progress
from curator.ranking import Ranking
from curator.selection import choose
from curator.storage import fingerprint
from synth.matcher import Matcher
from synth.pattern import Pattern
from synth.registry import Registry
from synth.samples import read_samples

FORMAT = "synth-pattern-audit-1"
CONTROLS = ("random", "loss-matched")
BINS = (100, 50, 20, 10, 5)
LEVEL = 0.95


@dataclass(frozen=True)
class Odds:
    """Odds ratio with its interval; ``counts`` are (occurs in top, top samples, occurs in control, control samples)."""

    ratio: float
    low: float
    high: float
    counts: tuple[int, int, int, int]

    @staticmethod
    def of(counts: tuple[int, int, int, int], level: float = LEVEL) -> "Odds":
        a, n_top, c, n_control = counts
        cells = (a + 0.5, n_top - a + 0.5, c + 0.5, n_control - c + 0.5)
        log = math.log(cells[0] * cells[3] / (cells[1] * cells[2]))
        half = NormalDist().inv_cdf((1 + level) / 2) * math.sqrt(sum(1 / cell for cell in cells))
        return Odds(math.exp(log), math.exp(log - half), math.exp(log + half), counts)

    def to_json(self) -> dict[str, Any]:
        return {"ratio": self.ratio, "low": self.low, "high": self.high, "counts": list(self.counts)}


def audit_patterns(
    registry: Registry,
    ranking: Ranking,
    corpus: Corpus,
    tokenizer: Tokenizer,
    *,
    seed: int = 0,
    workers: int | None = None,
) -> dict[str, Any]:
    """Test every pattern of ``registry`` on ``ranking``; the result as JSON, best pattern first.

    Raises:
        CuratorError: another ranking or corpus than the patterns were distilled from, or nothing held out.
    """
    made_of = registry.header["samples"]
    if fingerprint(ranking.manifest) != made_of["ranking_fingerprint"]:
        raise CuratorError(
            f"{registry.path} was distilled from the ranking with fingerprint {made_of['ranking_fingerprint']} "
            f"({made_of['ranking']}), but {ranking.path} has {fingerprint(ranking.manifest)}: give that ranking"
        )
    held_out = np.array(made_of["held_out"], np.int64)
    if not len(held_out):
        raise CuratorError(f"{registry.path}: nothing was held out; distill again with --holdout above 0")
    unit = made_of["unit"]
    candidates = gather_candidates([(ranking, unit)], None, None, None)
    groups, notes = {"top": held_out}, []
    n = min(made_of["top"], len(candidates) - made_of["top"])
    if n < 1:
        raise CuratorError(f"{ranking.path}: all its samples were distilled, so none is left to compare with")
    groups["random"] = _random(candidates, made_of["top"], n, seed)
    try:
        groups["loss-matched"], bins = _loss_matched(candidates, made_of["top"], seed + 1)
        notes.append(f"losses matched within {bins} quantile bins")
    except CuratorError as error:
        notes.append(f"no loss-matched control, so patterns are held against random samples alone: {error}")
    controls = [control for control in CONTROLS if control in groups]
    texts = {
        name: [s.text for s in read_samples(ranking, unit, corpus, tokenizer, samples)]
        for name, samples in groups.items()
    }
    patterns = [entry.pattern for entry in registry.entries]
    results = []
    corrected = 1 - (1 - LEVEL) / max(1, len(patterns))
    for pattern, counted in zip(patterns, _count_all(patterns, texts, workers)):
        a, out_of_time = counted["top"][0], sum(times for _, times in counted.values())
        odds, carries = {}, True
        for control in controls:
            counts = (a, len(held_out), counted[control][0], len(groups[control]))
            odds[control] = Odds.of(counts)
            carries &= Odds.of(counts, corrected).low > 1
        results.append(
            {
                "pattern_id": pattern.pattern_id,
                "pattern_name": pattern.pattern_name,
                "odds": {control: value.to_json() for control, value in odds.items()},
                "carries": carries,
                "out_of_time": out_of_time,
            }
        )
    results.sort(key=_lowest, reverse=True)
    return {
        "format": FORMAT,
        "registry_fingerprint": registry.fingerprint(),
        "ranking": str(ranking.path.absolute()),
        "unit": unit,
        "seed": seed,
        "samples": {name: len(samples) for name, samples in groups.items()},
        "rule": f"carries: interval above 1 against every control at {corrected:.4%} (95 % over all patterns)",
        "notes": notes,
        "patterns": results,
    }


def _random(candidates: Candidates, top: int, n: int, seed: int) -> np.ndarray:
    """[n] samples that are not among the ``top``."""
    rest = highest_first(candidates.scores)[top:]
    return candidates.samples[np.sort(np.random.default_rng(seed).choice(rest, n, replace=False))]


def _loss_matched(candidates: Candidates, top: int, seed: int) -> tuple[np.ndarray, int]:
    """As many samples as the top, with their losses, and the number of bins: the most that leave enough in each."""
    for bins in BINS:
        try:
            return choose(candidates, "loss-matched", top, seed=seed, bins=bins), bins
        except CuratorError as error:
            last = error
    raise last


def _lowest(result: dict[str, Any]) -> float:
    return min(odds["low"] for odds in result["odds"].values())


def _count_all(
    patterns: Sequence[Pattern], texts: dict[str, list[str]], workers: int | None
) -> list[dict[str, tuple[int, int]]]:
    """Per pattern and group: (occurrences, searches that ran out of time)."""
    workers = min(workers or os.cpu_count() or 1, len(patterns))
    with progress("patterns in held-out and control samples", len(patterns), unit="patterns") as advance:
        if workers < 2:
            counted = []
            for pattern in patterns:
                counted.append(count(pattern, texts))
                advance()
            return counted
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, context, initializer=_start, initargs=(texts,)) as pool:
            counted = []
            for result in pool.map(_count, patterns):
                counted.append(result)
                advance()
            return counted


_texts: dict[str, list[str]] = {}


def _start(texts: dict[str, list[str]]) -> None:
    _texts.update(texts)


def _count(pattern: Pattern) -> dict[str, tuple[int, int]]:
    return count(pattern, _texts)


def count(pattern: Pattern, texts: dict[str, list[str]]) -> dict[str, tuple[int, int]]:
    """Per group of texts: in how many ``pattern`` occurs, and in how many the search ran out of time."""
    matcher = Matcher(pattern)
    counted = {}
    for name, group in texts.items():
        found = [matcher.occurs(text) for text in group]
        counted[name] = (sum(one is True for one in found), sum(one is None for one in found))
    return counted
