"""What makes a plan valid: types, order and ranges of its fields. Imports numpy alone, as plan.py does."""

from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from curator.errors import CuratorError, UsageError

if TYPE_CHECKING:
    from curator.plan import Plan

CORPUS = 0
"""The source number of the corpus itself; injected set k has source k >= 1."""

Divisor = Literal["kept", "renormalised"]

FORMAT = {"format": "curator-plan", "version": 1}
HEADER = ("n_slots", "batch_size", "corpus_fingerprint", "divisor", "sources")
"""A plan's fields in plan.json, beside `FORMAT` and the fingerprint."""
OPTIONAL = ("epoch_samples",)
"""Fields that stand in plan.json, and count for the fingerprint, only where they are not None."""

ARRAYS = {
    "slot_start": np.int64,
    "source": np.int32,
    "sample_start": np.int64,
    "weight_slots": np.int64,
    "weights": np.float32,
}
"""A plan's arrays, [n] each, and their types."""


def problem_of(plan: "Plan") -> str | None:
    """What is wrong with the plan's fields, in words; None where nothing is."""
    for name in ("n_slots", "batch_size"):
        value = getattr(plan, name)
        if type(value) is not int or value < 1:
            return f"{name} is {value!r}, expected a whole number from 1"
    if plan.n_slots % plan.batch_size:
        return f"n_slots is {plan.n_slots}, which is not whole steps of batch_size {plan.batch_size}"
    if plan.divisor not in get_args(Divisor):
        return f"divisor is {plan.divisor!r}, expected one of {', '.join(get_args(Divisor))}"
    if plan.epoch_samples is not None and (type(plan.epoch_samples) is not int or plan.epoch_samples < 1):
        return f"epoch_samples is {plan.epoch_samples!r}, expected a whole number from 1, or none"
    if type(plan.corpus_fingerprint) is not str:
        return f"corpus_fingerprint is {plan.corpus_fingerprint!r}, expected text"
    for source in plan.sources:
        if type(source) is not dict or set(source) != {"name", "path", "fingerprint"}:
            return f"source {source!r} should have exactly the keys name, path and fingerprint"
        if not all(type(value) is str for value in source.values()):
            return f"source {source!r} should hold text alone"
    return _problem_of_arrays(plan)


def _problem_of_arrays(plan: "Plan") -> str | None:
    for name, dtype in ARRAYS.items():
        array = getattr(plan, name)
        if array.dtype != dtype or array.ndim != 1:
            return f"{name} is {array.ndim}-dimensional {array.dtype}, expected [n] {np.dtype(dtype)}"
    lengths = {name: len(getattr(plan, name)) for name in ARRAYS}
    if not lengths["slot_start"] == lengths["source"] == lengths["sample_start"] >= 1:
        return f"slot_start, source and sample_start should be equally long and not empty, found {lengths}"
    if lengths["weight_slots"] != lengths["weights"]:
        return f"weight_slots and weights should be equally long, found {lengths}"
    if plan.slot_start[0] != 0:
        return f"slot_start begins with {plan.slot_start[0]}, expected 0"
    for name in ("slot_start", "weight_slots"):
        slots = getattr(plan, name)
        if len(slots) and (slots[0] < 0 or slots[-1] >= plan.n_slots or not (np.diff(slots) > 0).all()):
            return f"{name} should rise strictly within 0 .. {plan.n_slots - 1}"
    if plan.source.min() < 0 or plan.source.max() > len(plan.sources):
        return f"source holds {plan.source.min()} .. {plan.source.max()}, expected 0 .. {len(plan.sources)}"
    if plan.sample_start.min() < 0:
        return f"sample_start holds {plan.sample_start.min()}, but samples are counted from 0"
    highest = plan.highest_sample()
    if plan.epoch_samples is not None and highest >= plan.epoch_samples:
        return (
            f"a slot holds sample {highest}, but epoch_samples says that the corpus has {plan.epoch_samples}"
        )
    if not np.isfinite(plan.weights).all() or np.signbit(plan.weights).any():
        return "weights should be finite and not negative"
    return None


def problem_of_header(header: Any) -> str | None:
    """What is wrong with the keys of plan.json, in words; None where nothing is."""
    if not isinstance(header, dict) or {key: header.get(key) for key in FORMAT} != FORMAT:
        return f"expected a JSON object with {FORMAT}; was it written by another version?"
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
