"""Which of a slot's tokens count, as bits: of the ``targets`` tokens that a model is asked for, all but a row's first.

    row_masks[k, t // 8], bit 7 - t % 8  =  1 where token t + 1 of slot mask_slots[k] counts, else 0

So a row of 2049 tokens takes 256 bytes and has its place in the file by arithmetic: a trainer reads the rows of its
micro-batch, and no others. Refused: lists of the places left out, two bytes each, which are longer from one token in
sixteen on (Hapax leaves out three in ten); and a number per token, since what is between 0 and 1 is a slot's weight.
"""

from typing import Any

import numpy as np

ROWS_AT_ONCE = 1 << 14
"""Rows whose bits are counted together."""
_ONES = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(1).astype(np.uint8)


def pack(counted: np.ndarray) -> np.ndarray:
    """[n, ceil(targets / 8)] uint8 of [n, targets] bool."""
    return np.packbits(np.asarray(counted, bool), axis=1)


def unpack(row_masks: np.ndarray, targets: int) -> np.ndarray:
    """[n, targets] bool."""
    return np.unpackbits(row_masks, axis=1, count=targets).astype(bool)


def counts(row_masks: np.ndarray) -> np.ndarray:
    """[n] int64 how many tokens of each row count."""
    starts = range(0, len(row_masks), ROWS_AT_ONCE)
    parts = [_ONES[row_masks[start : start + ROWS_AT_ONCE]].sum(1, dtype=np.int64) for start in starts]
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def problem_of(plan: Any) -> str | None:
    """What is wrong with a plan's token masks, in words; None where nothing is."""
    targets, slots, masks = plan.row_targets, plan.mask_slots, plan.row_masks
    if slots.dtype != np.int64 or slots.ndim != 1:
        return f"mask_slots is {slots.ndim}-dimensional {slots.dtype}, expected [n] int64"
    if targets is None:
        return f"mask_slots has {len(slots)} slots, but row_targets is missing" if len(slots) else None
    if type(targets) is not int or targets < 1:
        return f"row_targets is {targets!r}, expected a whole number from 1, or none"
    expected = (len(slots), -(-targets // 8))
    if masks.dtype != np.uint8 or masks.shape != expected:
        return f"row_masks is {masks.dtype} {masks.shape}, expected uint8 {expected}: a bit for each of {targets}"
    if len(slots) and (slots[0] < 0 or slots[-1] >= plan.n_slots or not (np.diff(slots) > 0).all()):
        return f"mask_slots should rise strictly within 0 .. {plan.n_slots - 1}"
    if targets % 8 and (masks[:, -1] & (0xFF >> targets % 8)).any():
        return f"row_masks has bits behind the last of {targets} tokens"
    return None
