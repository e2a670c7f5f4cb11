"""Serving a plan's rows through GPT-NeoX's own loaders.

The training dataset is wrapped before its DataLoader is made: index = slot, the plan says which row. Sampler, workers,
batches and resume stay GPT-NeoX's. Every row carries its slot, which is compared with the clock's arithmetic in every
micro-batch. Validation and test data are not touched.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from curator.corpus import Corpus
from curator.corpus.checks import check_ids
from curator.errors import CuratorError
from curator.plan.plan import Plan
from curator.plan.rows import PlannedRows
from curator.plan.rules import CORPUS
from curator.plan.table import Slots

COMPARED_SLOTS = 64
"""So many planned rows are compared at the start."""


class SlotDataset(Dataset):
    """What each slot holds: ``text`` [seq + 1] int64 and ``slot``.

    Args:
        base: GPT-NeoX's own training data, for corpora that it serves; else None.
        corpus: rows served in file order, where ``base`` is None.
        sources: the plan's injected sets.
        vocab_size: ids at or beyond it are refused (GPT-NeoX's padded vocabulary).
    """

    def __init__(
        self,
        n_slots: int,
        plan: Plan | None,
        base: Any,
        corpus: Corpus | None,
        sources: Sequence[Corpus],
        vocab_size: int,
    ):
        self.n_slots, self.plan, self.vocab_size = n_slots, plan, vocab_size
        self.base, self.corpus, self.sources = base, corpus, sources

    def __len__(self) -> int:
        return self.n_slots

    def __getitem__(self, slot: int) -> dict[str, Any]:
        sources, samples, _ = held(self.plan, np.array([slot]), self.corpus)
        source, sample = int(sources[0]), int(samples[0])
        if source == CORPUS and self.corpus is None:
            return {**self.base[sample], "slot": np.int64(slot)}
        rows = self.corpus if source == CORPUS else self.sources[source - 1]
        assert rows is not None
        text = rows.rows(slice(sample, sample + 1)).astype(np.int64)
        check_ids(rows, sample, text, self.vocab_size)
        return {"text": text[0], "slot": np.int64(slot)}

    def expected(self, slots: np.ndarray, corpus: Corpus) -> np.ndarray:
        """[n, seq + 1] what curator says these slots hold."""
        if self.plan is None:
            return corpus.rows(held(None, slots, self.corpus).sample).astype(np.int64)
        return PlannedRows(self.plan, corpus, self.sources).rows(slots)


def held(plan: Plan | None, slots: np.ndarray, served: Corpus | None) -> Slots:
    """What these slots hold: what the plan says; without one, sample = slot.

    Args:
        served: the corpus whose rows are served in file order, which begins again at its end; None where GPT-NeoX
            serves its own order.
    """
    if plan is not None:
        return plan.lookup(slots)
    samples = slots if served is None else slots % len(served)
    return Slots(np.full(len(slots), CORPUS, np.int32), samples, np.ones(len(slots), np.float32))


class Placeholder(Dataset):
    """Stands for training data that GPT-NeoX shall not index and shuffle, while its loaders are built."""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> dict[str, Any]:
        raise RuntimeError(
            "the placeholder of the training data was read; the patches should have replaced it"
        )


def compared_slots(plan: Plan | None, n_slots: int) -> np.ndarray:
    """Slots worth looking at: the first and last, around the plan's edits, and some drawn from a fixed seed."""
    draw = np.random.default_rng(0).integers(0, n_slots, COMPARED_SLOTS // 2)
    chosen = [np.array([0, n_slots - 1]), draw]
    if plan is not None:
        edges = plan.slot_start[(plan.slot_start > 0) & (plan.slot_start < n_slots)]
        some = edges[np.linspace(0, len(edges) - 1, min(len(edges), COMPARED_SLOTS // 4)).astype(int)]
        chosen += [some, some - 1]
    return np.unique(np.concatenate(chosen))


def compare(dataset: SlotDataset, corpus: Corpus) -> int:
    """Read some slots through the dataset that the loader will use, and compare with what curator reads.

    Returns:
        How many slots were compared.

    Raises:
        CuratorError: names the first slot that differs, its sample, and the first tokens of both sides.
    """
    slots = compared_slots(dataset.plan, dataset.n_slots)
    expected = dataset.expected(slots, corpus)
    for slot, row in zip(slots.tolist(), expected):
        there = np.asarray(dataset[slot]["text"])
        if there.shape != row.shape or (there != row).any():
            where = ""
            if dataset.plan is not None:
                where = (
                    f", which the plan fills with sample {dataset.plan.lookup(np.array([slot])).sample[0]}"
                )
            raise CuratorError(
                f"slot {slot}{where}: GPT-NeoX's loader delivers {len(there)} tokens {there[:8].tolist()} ..., but "
                f"{corpus.path} has {len(row)} tokens {row[:8].tolist()} ...; is the corpus made of the data, seed, "
                "seq-length and number of epochs that this run is configured with?"
            )
    return len(slots)


def check_slots(data: Any, slots: np.ndarray, step: int) -> None:
    """Refuse a micro-batch that holds other slots than the clock says.

    Raises:
        CuratorError: names both sides.
    """
    if data is None or "slot" not in data:
        return
    there = torch.as_tensor(data["slot"]).numpy()
    if not np.array_equal(there, slots):
        raise CuratorError(
            f"step {step}: the loader delivered slots {there[:4].tolist()} ..., expected {slots[:4].tolist()} ...; "
            "GPT-NeoX's sampler is not contiguous, or a loader was restarted"
        )


def needed_samples(plan: Plan, n_slots: int) -> int:
    """How many corpus samples the run's slots reach, rounded up to whole steps.

    GPT-NeoX shuffles all epochs of its data together, so it must be asked for as many samples as without insertions.
    """
    starts = plan.slot_start[plan.slot_start < n_slots]
    ends = np.append(starts[1:], n_slots)
    from_corpus = plan.source[: len(starts)] == CORPUS
    highest = (plan.sample_start[: len(starts)] + ends - starts)[from_corpus].max(initial=0)
    return -(-int(highest) // plan.batch_size) * plan.batch_size


def sized_for(needed: int, function: Callable[..., Any]) -> Callable[..., Any]:
    """``get_normalized_weights_and_num_samples`` with the number of training samples replaced.

    GPT-NeoX calls it for training, validation and test data in this order, perhaps twice over.
    """
    calls = [0]

    def with_samples(weights: Any, num_samples: Any) -> Any:
        training = calls[0] % 3 == 0
        calls[0] += 1
        return function(weights, needed if training else num_samples)

    return with_samples
