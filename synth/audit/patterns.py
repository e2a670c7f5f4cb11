"""Does a pattern occur more often where influence is high? Asked of samples that distilling never saw.

For every pattern, occurrences (`Matcher.occurs`) are counted in the held-out top samples and in two controls that
leave all top samples out: random ones, and ones with the losses of the top. A sample in which the search was given up
counts neither as one with the pattern nor as one without it; how many those are is said per group. The odds ratio is
(a+½)(d+½)/((b+½)(c+½)) with Woolf's interval (normal on the log; the halves are Haldane's and Anscombe's, for empty
cells). A pattern is called *carrying* when the interval against random samples lies above 1, at a level corrected for
the number of patterns (Bonferroni), so that a long registry does not pass some by luck; it is *beyond loss* when the
other one does too. The second is no condition: what a model has yet to learn has high loss for that very reason, so
samples of the same loss hold the same pattern, however much of the influence it carries. Intervals are shown at 95 %.

Counting is all the work. The counts of a pattern are a file of their own until all are there, named by the pattern and
the texts they were counted in, so that a killed audit goes on, and one of a registry that was edited or with other
texts begins anew where it must.
"""

import math
import multiprocessing
import os
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from curator.artifacts.files import load_json, save_json
from curator.artifacts.fingerprints import fingerprint
from curator.artifacts.manifests import load_manifest
from curator.artifacts.workers import follow_parent, worker_ended
from curator.corpus import Corpus
from curator.errors import CuratorError
from curator.progress import progress
from curator.ranking.candidates import Candidates, gather_candidates
from curator.ranking.ranking import Ranking, highest_first
from curator.ranking.selection import choose
from synth.patterns.audit import FORMAT
from synth.patterns.matcher import Matcher
from synth.patterns.pattern import Pattern
from synth.patterns.registry import MEND, Registry
from synth.patterns.samples import read_samples

CONTROLS = ("random", "loss-matched")
BINS = (100, 50, 20, 10, 5)
LEVEL = 0.95

Texts = dict[str, list[str]]
"""By group."""
Counts = dict[str, list[int]]
"""By group; see `count`."""
SEARCH = 2
"""Raised when the same patterns would be found in other texts."""


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
    parts: Path | None = None,
) -> dict[str, Any]:
    """Test every pattern of ``registry`` on ``ranking``; the result as JSON, best pattern first.

    Args:
        parts: folder for the counts of each pattern; those that are there are not counted again.

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
    first, stop = ranking.first_sample, ranking.end
    if held_out.min() < first or held_out.max() >= stop:
        raise CuratorError(
            f"{registry.path}: samples.held_out goes from {held_out.min()} to {held_out.max()}, the ranking from "
            f"{first} to {stop - 1}, so it was edited; {MEND}"
        )
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
    for pattern, counted in zip(patterns, _count_all(patterns, texts, workers, parts)):
        sizes = {name: len(samples) - counted[name][1] for name, samples in groups.items()}
        odds, above = {}, {}
        for control in controls:
            counts = (counted["top"][0], sizes["top"], counted[control][0], sizes[control])
            odds[control] = Odds.of(counts)
            above[control] = Odds.of(counts, corrected).low > 1
        results.append(
            {
                "pattern_id": pattern.pattern_id,
                "pattern_name": pattern.pattern_name,
                "odds": {control: value.to_json() for control, value in odds.items()},
                "carries": above["random"],
                "beyond_loss": above.get("loss-matched"),
                "undecided": {name: counted[name][1] for name in groups},
            }
        )
    results.sort(key=_lowest, reverse=True)
    return {
        "format": FORMAT,
        **_identity(registry, ranking, tokenizer, seed),
        "ranking": str(ranking.path.absolute()),
        "unit": unit,
        "samples": {name: len(samples) for name, samples in groups.items()},
        "rule": f"interval against random samples above 1 at {corrected:.4%}: 95 % over all patterns",
        "notes": notes,
        "patterns": results,
    }


def _identity(registry: Registry, ranking: Ranking, tokenizer: Tokenizer, seed: int) -> dict[str, Any]:
    """What decides the result; the corpus is part of the ranking's fingerprint."""
    return {
        "registry_fingerprint": registry.fingerprint(),
        "ranking_fingerprint": fingerprint(ranking.manifest),
        "held_out_fingerprint": fingerprint([registry.header["samples"][key] for key in ("held_out", "top")]),
        "tokenizer_fingerprint": fingerprint(tokenizer.to_str()),
        "seed": seed,
        "search": SEARCH,
    }


def finished(
    file: Path, registry: Registry, ranking: Ranking, tokenizer: Tokenizer, seed: int
) -> dict[str, Any] | None:
    """The result in ``file`` if it is whole and of the same request."""
    try:
        result = load_manifest(file, FORMAT, "", ("patterns[]", "notes[]", "rule"))
    except CuratorError:
        return None
    same = all(result.get(k) == v for k, v in _identity(registry, ranking, tokenizer, seed).items())
    return result if same else None


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
    return float(result["odds"]["random"]["low"])


def _count_all(
    patterns: Sequence[Pattern], texts: Texts, workers: int | None, parts: Path | None
) -> list[Counts]:
    """Per pattern its `count`; ``parts`` keeps what is counted."""
    files = _part_files(patterns, texts, parts)
    counted = {n: load_json(file) for n, file in enumerate(files) if file is not None and file.is_file()}
    missing = [number for number in range(len(patterns)) if number not in counted]
    workers = min(workers or os.cpu_count() or 1, len(missing))
    what = "patterns in held-out and control samples"
    with progress(what, len(patterns), unit="patterns", done=len(counted)) as advance:
        for number, result in _results(patterns, missing, texts, workers):
            counted[number] = result
            file = files[number]
            if file is not None:
                save_json(file, result)
            advance()
    return [counted[number] for number in range(len(patterns))]


def _results(
    patterns: Sequence[Pattern], missing: Sequence[int], texts: Texts, workers: int
) -> Iterator[tuple[int, Counts]]:
    """(number of a pattern, its counts) as they come."""
    if workers < 2:
        for number in missing:
            yield number, count(patterns[number], texts)
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, initializer=_start, initargs=(texts,))
    try:
        futures = {pool.submit(_count, patterns[number]): number for number in missing}
        for future in as_completed(futures):
            yield futures[future], future.result()
    except BrokenProcessPool as error:
        raise worker_ended() from error
    finally:
        pool.shutdown(cancel_futures=True)


def _part_files(patterns: Sequence[Pattern], texts: Texts, parts: Path | None) -> list[Path | None]:
    if parts is None:
        return [None] * len(patterns)
    of_texts = fingerprint(texts)
    return [parts / f"{fingerprint([pattern.to_json(), of_texts, SEARCH])}.json" for pattern in patterns]


_texts: Texts = {}


def _start(texts: Texts) -> None:
    """In a new process, which Ctrl-C ends at once: one pattern may take minutes."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    follow_parent()
    _texts.update(texts)


def _count(pattern: Pattern) -> Counts:
    return count(pattern, _texts)


def count(pattern: Pattern, texts: Texts) -> Counts:
    """Per group of texts: [in how many ``pattern`` occurs, in how many the search was given up]."""
    matcher = Matcher(pattern)
    counted = {}
    for name, group in texts.items():
        found = [matcher.occurs(text) for text in group]
        counted[name] = [sum(one is True for one in found), sum(one is None for one in found)]
    return counted
