"""The tokens that a plan's slots hold, read from the corpus and from the injected sets.

An injected set is any corpus of rows as wide as the corpus's own; the plan says where it lies and carries its
fingerprint. Every trainer that follows a plan reads through `PlannedRows`, so that a row is the same tokens
wherever it comes from (law 6). Imports numpy and curator's light modules alone, because the GPT-NeoX patches
read here in the trainer's own environment.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from curator.corpus import Corpus, open_corpus
from curator.errors import CuratorError
from curator.plan.plan import CORPUS, Plan

MEAN_RUN = 4
"""Samples that follow each other are read as slices where a run of them is at least so long on average."""


def open_sources(plan: Plan, corpus: Corpus) -> list[Corpus]:
    """Open every injected set of the plan, in the order of ``plan.sources``: set k is source k + 1.

    Args:
        plan: its sources' paths are taken as they are written; `Plan.load` makes them absolute.
        corpus: whose rows they stand beside.

    Raises:
        CuratorError: the plan's token masks are of other rows, or a set is missing or damaged, has another fingerprint
            or row width, or is shorter than what the plan reads of it; names both sides.
    """
    if plan.row_targets not in (None, corpus.row_width - 1):
        raise CuratorError(
            f"{corpus.path}: a model is asked for {corpus.row_width - 1} tokens of a row, but the plan masks tokens of "
            f"rows of {plan.row_targets}; make the plan again for this corpus"
        )
    return [_open_source(plan, number, corpus) for number in range(1, len(plan.sources) + 1)]


def _open_source(plan: Plan, number: int, corpus: Corpus) -> Corpus:
    source = plan.sources[number - 1]
    named = f"injected set '{source['name']}' (source {number} of the plan)"
    try:
        opened = open_corpus(Path(source["path"]))
    except CuratorError as error:
        raise CuratorError(
            f"{named} cannot be opened: {error}. If it was moved, write its new path into plan.json"
        ) from error
    check_widths(corpus, opened)
    if opened.fingerprint() != source["fingerprint"]:
        raise CuratorError(
            f"{opened.path}: {named} has fingerprint {opened.fingerprint()}, but the plan was made with "
            f"{source['fingerprint']}: its rows were changed, or this is another set; put the set back, or make "
            "the plan again"
        )
    if plan.highest_sample(number) >= len(opened):
        raise CuratorError(
            f"{opened.path}: the plan reads sample {plan.highest_sample(number)} of {named}, which ends with "
            f"sample {len(opened) - 1}; make the plan again"
        )
    opened.check_index()
    return opened


def check_widths(corpus: Corpus, injected: Corpus) -> None:
    """Refuse rows to inject that are not as wide as the corpus's.

    Raises:
        CuratorError: naming both files and both widths.
    """
    if injected.row_width != corpus.row_width:
        raise CuratorError(
            f"{injected.path}: rows to inject are {injected.row_width} tokens wide, but those of the corpus "
            f"{corpus.path} are {corpus.row_width}; write rows of {corpus.row_width} tokens (seq_length + 1)"
        )


class PlannedRows:
    """Reads what the slots of a plan hold, whether samples of the corpus or of an injected set.

    Args:
        plan: which sample each slot holds. Weights are not looked at: leave masked slots out of what is read.
        corpus: source 0.
        sources: the injected sets, source 1 and on, as from `open_sources`.

    Raises:
        CuratorError: not as many sets as the plan has.
    """

    def __init__(self, plan: Plan, corpus: Corpus, sources: Sequence[Corpus] = ()):
        if len(sources) != len(plan.sources):
            raise CuratorError(
                f"the plan injects {len(plan.sources)} sets, but {len(sources)} are open; open them with "
                "open_sources"
            )
        self.plan = plan
        self.corpora = [corpus, *sources]
        self.row_width = corpus.row_width

    @property
    def corpus(self) -> Corpus:
        """The corpus itself."""
        return self.corpora[CORPUS]

    def rows(self, slots: np.ndarray) -> np.ndarray:
        """[n, row_width] int64 tokens of these slots, in the order given.

        Raises:
            CuratorError: a slot outside the plan, or a sample outside its corpus.
        """
        held = self.plan.lookup(slots)
        tokens = np.empty((len(held.sample), self.row_width), np.int64)
        for source in np.unique(held.source).tolist():
            here = np.flatnonzero(held.source == source)
            tokens[here] = self.source_rows(source, held.sample[here])
        return tokens

    def source_rows(self, source: int, samples: np.ndarray) -> np.ndarray:
        """[n, row_width] int64 tokens of these samples of one source (0 is the corpus), in the order given.

        Raises:
            CuratorError: no such source, or a sample outside it.
        """
        if not 0 <= source < len(self.corpora):
            raise CuratorError(
                f"there is no source {source}; this plan has 0 (the corpus) .. {len(self.corpora) - 1}"
            )
        corpus = self.corpora[source]
        samples = np.asarray(samples, np.int64)
        found = runs(samples)
        if len(samples) < MEAN_RUN * len(found):
            return corpus.rows(samples).astype(np.int64)
        tokens = np.empty((len(samples), self.row_width), np.int64)
        done = 0
        for first, last in found:
            tokens[done : done + last - first] = corpus.rows(slice(first, last))
            done += last - first
        return tokens


def runs(samples: np.ndarray) -> list[tuple[int, int]]:
    """[first, last) of each run of samples that follow each other, in the order given."""
    starts = np.flatnonzero(np.append(True, np.diff(samples) != 1)[: len(samples)])
    ends = np.append(starts[1:], len(samples)) - 1
    return [(int(a), int(b) + 1) for a, b in zip(samples[starts], samples[ends])] if len(samples) else []
