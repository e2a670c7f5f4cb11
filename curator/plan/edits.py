"""How a plan is edited: mask, mask tokens, replace, insert, register an injected set. Each returns a new plan.

All edits work on the plan's sparse tables (segments, weights, token masks), so their cost follows the number of
segments and of edited slots, never that of all slots. They are called as methods of `Plan`, which say what they do.
"""

import os
from dataclasses import replace as changed
from pathlib import Path
from typing import TypeVar

import numpy as np

from curator.errors import CuratorError
from curator.plan.rules import CORPUS, index_array, some_of
from curator.plan.table import Table

T = TypeVar("T", bound=Table)


def mask(plan: T, samples: np.ndarray) -> T:
    """See `Plan.mask`."""
    slots, _ = _slots_of_all(plan, np.unique(index_array("samples", samples)), CORPUS)
    return _with_weight(plan, slots, 0.0)


def mask_tokens(plan: T, samples: np.ndarray, row_masks: np.ndarray, targets: int, source: int) -> T:
    """See `Plan.mask_tokens`."""
    samples = index_array("samples", samples)
    _check_source(plan, source)
    expected = (len(samples), -(-targets // 8))
    if row_masks.dtype != np.uint8 or row_masks.shape != expected:
        raise CuratorError(
            f"the tokens that count of {len(samples)} samples are {row_masks.dtype} {row_masks.shape}, expected uint8 "
            f"{expected}: bits, as token_masks.pack makes them of bool [samples, {targets}]"
        )
    if plan.row_targets not in (None, targets):
        raise CuratorError(
            f"the masks are of rows of {targets} tokens that a model is asked for, but those that the plan has are of "
            f"{plan.row_targets}"
        )
    order = np.argsort(samples, kind="stable")
    samples = samples[order]
    if (twice := samples[1:][np.diff(samples) == 0]).size:
        raise CuratorError(
            f"samples' tokens may be masked once each, but given twice: {some_of(np.unique(twice))}"
        )
    slots, place = _slots_of_all(plan, samples, source)
    masks = row_masks[order[place]]
    there = np.isin(slots, plan.mask_slots)
    if there.any():
        masks[there] &= plan.row_masks[np.searchsorted(plan.mask_slots, slots[there])]
    others, before = _other_masks(plan, slots)
    merged = np.concatenate([others, slots])
    order = np.argsort(merged, kind="stable")
    return changed(
        plan,
        row_targets=targets,
        mask_slots=merged[order],
        row_masks=np.concatenate([before.reshape(-1, masks.shape[1]), masks])[order],
    )


def slots_of(plan: Table, wanted: np.ndarray, source: int = CORPUS) -> tuple[np.ndarray, np.ndarray]:
    """Rising: the slots that hold one of ``wanted``, rising samples of ``source``; and each one's place among these."""
    low = np.searchsorted(wanted, plan.sample_start)
    count = np.where(plan.source == source, np.searchsorted(wanted, plan.sample_ends()) - low, 0)
    segment = np.repeat(np.arange(len(count)), count)  # one entry per (segment, wanted sample in it)
    place = low[segment] + np.arange(len(segment)) - np.repeat(np.cumsum(count) - count, count)
    slots = plan.slot_start[segment] + wanted[place] - plan.sample_start[segment]
    order = np.argsort(slots, kind="stable")
    return slots[order], place[order]


def _slots_of_all(plan: Table, wanted: np.ndarray, source: int) -> tuple[np.ndarray, np.ndarray]:
    """`slots_of`, where each is held by some slot.

    Raises:
        CuratorError: some are held by none.
    """
    slots, place = slots_of(plan, wanted, source)
    missing = np.ones(len(wanted), bool)
    missing[place] = False
    if missing.any():
        raise CuratorError(
            f"{missing.sum()} of {len(wanted)} samples to mask are held by none of the plan's "
            f"{plan.n_slots} slots, the first being {some_of(wanted[missing])}; "
            "leave out samples that the run never reaches or that were replaced before"
        )
    return slots, place


def replace(plan: T, slots: np.ndarray, samples: np.ndarray, source: int) -> T:
    """See `Plan.replace`."""
    slots, samples = index_array("slots", slots), index_array("samples", samples)
    if len(slots) != len(samples):
        raise CuratorError(f"{len(slots)} slots to replace, but {len(samples)} samples to put there")
    _check_source(plan, source)
    order = np.argsort(slots, kind="stable")
    slots, samples = slots[order], samples[order]
    twice = slots[1:][np.diff(slots) == 0]
    if len(twice):
        raise CuratorError(f"slots may be replaced once each, but given twice: {some_of(np.unique(twice))}")
    if not len(slots):
        return plan
    plan.check_slots(slots)
    after = slots + 1
    starts = np.unique(np.concatenate([plan.slot_start, slots, after[after < plan.n_slots]]))
    held = plan.lookup(starts)
    edited = np.searchsorted(starts, slots)
    held.source[edited] = source
    held.sample[edited] = samples
    others, masks = _other_masks(plan, slots)
    cut = changed(
        plan,
        slot_start=starts,
        source=held.source,
        sample_start=held.sample,
        mask_slots=others,
        row_masks=masks,
    )
    return _with_weight(cut, slots, 1.0)


def insert(plan: T, steps: np.ndarray, samples: np.ndarray, source: int) -> T:
    """See `Plan.insert`."""
    steps, samples = index_array("steps", steps), index_array("samples", samples)
    batch, n_steps = plan.batch_size, plan.n_slots // plan.batch_size
    _check_source(plan, source)
    if len(samples) != len(steps) * batch:
        raise CuratorError(
            f"{len(steps)} extra steps of {batch} slots hold {len(steps) * batch} samples, but {len(samples)} "
            f"are given; give exactly {batch} samples per extra step"
        )
    outside = steps[(steps < 0) | (steps > n_steps)]
    if len(outside):
        raise CuratorError(
            f"extra steps before step {some_of(outside)}, but this plan has steps 0 .. {n_steps - 1}; "
            f"{n_steps} puts one at its end"
        )
    if (np.diff(steps) < 0).any():
        raise CuratorError(
            f"the extra steps' places should not fall, but {some_of(steps[1:][np.diff(steps) < 0])} stand after "
            "higher ones; sort them, with their samples"
        )
    if not len(steps):
        return plan

    def moved(slots: np.ndarray) -> np.ndarray:
        """Where these slots lie when the extra steps stand before them."""
        return slots + batch * np.searchsorted(steps, slots // batch, side="right")

    cuts = steps * batch  # a segment that an extra step falls into goes on behind it
    starts = np.unique(np.concatenate([plan.slot_start, cuts[cuts < plan.n_slots]]))
    held = plan.lookup(starts)
    extra = ((steps + np.arange(len(steps)))[:, None] * batch + np.arange(batch)).reshape(-1)
    slot_start = np.concatenate([moved(starts), extra])
    order = np.argsort(slot_start, kind="stable")
    return changed(
        plan,
        n_slots=plan.n_slots + len(extra),
        slot_start=slot_start[order],
        source=np.concatenate([held.source, np.full(len(extra), source, np.int32)])[order],
        sample_start=np.concatenate([held.sample, samples])[order],
        weight_slots=moved(plan.weight_slots),
        weights=np.array(plan.weights),
        mask_slots=moved(plan.mask_slots),
    )


def with_source(plan: T, name: str, path: str | Path, fingerprint: str) -> tuple[T, int]:
    """See `Plan.with_source`."""
    for number, there in enumerate(plan.sources, 1):
        if there["fingerprint"] == fingerprint:
            return plan, number
    source = {"name": name, "path": os.path.abspath(path), "fingerprint": fingerprint}
    return changed(plan, sources=(*plan.sources, source)), len(plan.sources) + 1


def _check_source(plan: Table, source: int) -> None:
    if not 0 <= source <= len(plan.sources):
        raise CuratorError(
            f"there is no source {source}; this plan has 0 (the corpus) .. {len(plan.sources)}; "
            "register an injected set with with_source first"
        )


def _other_masks(plan: Table, slots: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The plan's token masks, their slots and bits, without those of ``slots``."""
    keep = ~np.isin(plan.mask_slots, slots)
    return plan.mask_slots[keep], plan.row_masks[keep]


def _with_weight(plan: T, slots: np.ndarray, weight: float) -> T:
    keep = ~np.isin(plan.weight_slots, slots)
    merged = np.concatenate([plan.weight_slots[keep], slots])
    weights = np.concatenate([plan.weights[keep], np.full(len(slots), weight, np.float32)])
    order = np.argsort(merged, kind="stable")
    return changed(plan, weight_slots=merged[order], weights=weights[order])
