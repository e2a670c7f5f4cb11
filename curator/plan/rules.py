"""What a plan consists of, its header's rules, and the steps and samples it is counted in. Imports numpy alone."""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from curator.errors import CuratorError, UsageError

CORPUS = 0
"""The source number of the corpus itself; injected set k has source k >= 1."""

Divisor = Literal["kept", "renormalised"]

FORMAT = {"format": "curator-plan", "version": 1}
HEADER = ("n_slots", "batch_size", "corpus_fingerprint", "divisor", "sources")
"""A plan's fields in plan.json, beside `FORMAT` and the fingerprint."""
OPTIONAL = ("epoch_samples", "row_targets")
"""Fields that stand in plan.json, and count for the fingerprint, only where they are not None."""

ARRAYS = {
    "slot_start": np.int64,
    "source": np.int32,
    "sample_start": np.int64,
    "weight_slots": np.int64,
    "weights": np.float32,
}
"""A plan's arrays, [n] each, and their types."""

TOKEN_ARRAYS = ("mask_slots", "row_masks")
"""And those of a plan with token masks, which has `row_targets` (token_masks.py)."""


def problem_of_header(header: Mapping[str, Any]) -> str | None:
    """What is wrong with the keys of plan.json, in words; None where nothing is."""
    expected = {*FORMAT, *HEADER, "fingerprint"}
    if set(header) - set(OPTIONAL) != expected:
        unknown, missing = sorted(set(header) - expected - set(OPTIONAL)), sorted(expected - set(header))
        return f"unknown keys {unknown}, missing keys {missing}; expected {sorted(expected)}"
    if not isinstance(header["sources"], list):
        return f"sources is {header['sources']!r}, expected a list"
    return None


def index_array(what: str, values: np.ndarray) -> np.ndarray:
    """``values`` as [n] int64.

    Raises:
        CuratorError: they are not a list of whole numbers.
    """
    array = np.asarray(values)
    if array.ndim != 1 or (len(array) and array.dtype.kind not in "iu"):
        raise CuratorError(f"{what} should be a list of whole numbers, found {array.ndim}-d {array.dtype}")
    if what == "samples" and len(array) and array.min() < 0:
        raise CuratorError(f"samples are counted from 0, found {array.min()}")
    return array.astype(np.int64)


def samples_of_steps(
    steps: tuple[int, int], batch_size: int, epoch_samples: int | None = None
) -> tuple[int, int]:
    """[first, last) the samples that the unedited run holds in steps [first, last).

    Args:
        epoch_samples: the corpus's length where the run passes over it more than once: slot s holds sample s modulo
            it. None: sample s.

    Raises:
        UsageError: the corpus ends within these steps, so that their samples do not follow each other.
    """
    first, last = steps[0] * batch_size, steps[1] * batch_size
    if epoch_samples is None:
        return first, last
    epoch = first // epoch_samples
    end = (epoch + 1) * epoch_samples  # the slot that holds sample 0 again
    if last > end:
        before, behind = end // batch_size, -(-end // batch_size)
        raise UsageError(
            f"steps {steps[0]} to {steps[1]} (not included): the corpus ends with sample {epoch_samples - 1}, in step "
            f"{(end - 1) // batch_size}, and begins again with sample 0, so that their samples do not follow each "
            f"other; give steps up to {before}, or from {behind} on"
        )
    return first - epoch * epoch_samples, last - epoch * epoch_samples


def some_of(values: np.ndarray, most: int = 5) -> str:
    """The first few values, for an error message."""
    shown = ", ".join(str(value) for value in values[:most])
    return shown + (f" ... ({len(values)} in all)" if len(values) > most else "")
