"""When a unit forms, from the curve of its metric (paper, appendix C).

A window begins where the metric leaves the noise floor and ends where it suffices. Both are asked of the
checkpoints as they are; only `crossing` interpolates between them. Imports numpy alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from curator.errors import CuratorError, UsageError


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """When a unit begins to form, is worth attributing, and has formed; in units of its metric.

    None means the default: the paper's number for induction heads, or a multiple of what a unit without any preference
    would give, whichever is higher. Of a head, that is attention spread evenly over all earlier tokens: it gives the
    default induction metric 0.05, but the previous-token metric 0.18: a floor of 0.1 would be passed before training.
    """

    noise_floor: float | None = None
    """Default 0.1, or 1.5 times that."""
    attribution: float | None = None
    """Default 0.2, or 2 times that."""
    sufficiency: float | None = None
    """Default 0.4, or 2.5 times that."""
    hold: int = 3
    """A threshold is passed durably at the first of so many checkpoints in a row at or above it."""

    def resolved(self, chance: float) -> "Thresholds":
        """All three as numbers, for a kind whose metric is ``chance`` without any preference."""
        noise_floor = max(0.1, 1.5 * chance) if self.noise_floor is None else self.noise_floor
        attribution = max(0.2, 2 * chance) if self.attribution is None else self.attribution
        sufficiency = max(0.4, 2.5 * chance) if self.sufficiency is None else self.sufficiency
        if not noise_floor <= sufficiency:
            raise UsageError(
                f"the noise floor {noise_floor:g} lies above the sufficiency threshold {sufficiency:g}"
            )
        return Thresholds(
            noise_floor=noise_floor, attribution=attribution, sufficiency=sufficiency, hold=self.hold
        )


@dataclass(frozen=True, kw_only=True)
class Window:
    """When one unit forms: training steps ``[t_start, t_end)``; None where the scan does not show it.

    Attributes:
        t_start: last checkpoint before the metric durably leaves the noise floor.
        t_end: first checkpoint from then on at or above the sufficiency threshold.
        attribution_step: first checkpoint from then on at or above the attribution threshold: where to
            compute influence, since the unit exists there and is still forming.
        note: why a field is None, in words.
    """

    unit: str
    t_start: int | None
    t_end: int | None
    attribution_step: int | None
    note: str = ""


def durable_index(values: np.ndarray, threshold: float, hold: int = 3) -> int | None:
    """First index at or above ``threshold`` with the next ``hold - 1`` also there, as far as they exist."""
    above = np.append(np.asarray(values) >= threshold, np.ones(hold - 1, bool))
    held = np.lib.stride_tricks.sliding_window_view(above, hold).all(1)
    return int(held.argmax()) if held.any() else None


def crossing(
    steps: Sequence[int] | np.ndarray, values: np.ndarray, threshold: float, hold: int = 3
) -> float | None:
    """The step at which ``values`` first durably cross ``threshold``, interpolated between checkpoints.

    Durably: at that checkpoint and the ``hold - 1`` after it (as many as there are) the values are at or
    above the threshold. Between it and the checkpoint before, which is below, the values are taken as a line.

    Returns:
        None when never; the first step, an upper bound, when the values are above from the start.
    """
    steps, values = np.asarray(steps), np.asarray(values, np.float64)
    if steps.shape != values.shape or steps.ndim != 1 or not (np.diff(steps) > 0).all():
        raise CuratorError(f"crossing needs one value per rising step, not {steps.shape} and {values.shape}")
    if not np.isfinite(values).all():
        raise CuratorError(f"the value at step {steps[~np.isfinite(values)][0]} is not a finite number")
    index = durable_index(values, threshold, hold)
    if index is None or index == 0:
        return None if index is None else float(steps[0])
    before, after = values[index - 1 : index + 1]
    share = (threshold - before) / (after - before)
    return float(steps[index - 1] + share * (steps[index] - steps[index - 1]))


def formation_window(unit: str, steps: np.ndarray, values: np.ndarray, thresholds: Thresholds) -> Window:
    """See `Window`; ``thresholds`` are resolved."""
    floor, attribution, sufficiency = thresholds.noise_floor, thresholds.attribution, thresholds.sufficiency
    if floor is None or attribution is None or sufficiency is None:
        raise CuratorError("thresholds must be resolved for the unit's kind first: Thresholds.resolved")
    left = durable_index(values, floor, thresholds.hold)
    if left is None:
        note = f"the metric never durably leaves the noise floor {floor:g}"
        return Window(unit=unit, t_start=None, t_end=None, attribution_step=None, note=note)

    def first(threshold: float) -> int | None:
        reached = np.flatnonzero(values[left:] >= threshold)
        return int(steps[left + reached[0]]) if len(reached) else None

    notes = []
    if left == 0:
        notes.append(f"above the noise floor {floor:g} at the first checkpoint already, step {steps[0]}")
    for name, threshold in (("attribution", attribution), ("sufficiency", sufficiency)):
        if first(threshold) is None:
            notes.append(f"never reaches the {name} threshold {threshold:g}")
    return Window(
        unit=unit,
        t_start=int(steps[left - 1]) if left else None,
        t_end=first(sufficiency),
        attribution_step=first(attribution),
        note="; ".join(notes),
    )
