"""The metric of every head at every checkpoint, and when the best ones form (paper, appendix C).

One forward pass per checkpoint serves all kinds: every kind reads its metric off the attention patterns of
the same repeated random sequences. What a checkpoint gave is kept in a small file that carries the content
fingerprint of the checkpoint and of what was measured, so a killed or extended scan measures only what is
new. Thresholds are applied when a scan is read, never stored in the measurements.
"""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from curator.errors import CuratorError, UsageError
from curator.models import list_checkpoints, load_model
from curator.progress import progress
from curator.storage import fingerprint, load_array, load_json, save_array, save_json
from curator.units import ProbeSettings, Sequences, draw_repeated, kinds
from curator.units.attention import HeadUnit, attention_patterns

FORMAT = "curator-scan-1"
BEST = 5
"""How many of the best units of a kind scan.json lists."""
WHOLE_FILE_BYTES, SAMPLED_BLOCKS, BLOCK_BYTES = 1 << 24, 256, 1 << 14
"""A weight file is fingerprinted whole up to this size, beyond it by evenly spaced blocks and its header."""


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """When a unit begins to form, is worth attributing, and has formed; in units of its metric.

    None means the default: the paper's number for induction heads, or a multiple of what attention spread
    evenly over all earlier tokens would give, whichever is higher. Even attention gives the default induction
    metric 0.05, but the previous-token metric 0.18: a floor of 0.1 would be passed before training.
    """

    noise_floor: float | None = None
    """Default 0.1, or 1.5 times even attention."""
    attribution: float | None = None
    """Default 0.2, or 2 times even attention."""
    sufficiency: float | None = None
    """Default 0.4, or 2.5 times even attention."""
    hold: int = 3
    """A threshold is passed durably at the first of so many checkpoints in a row at or above it."""

    def resolved(self, even_attention: float) -> "Thresholds":
        """All three as numbers, for a kind whose metric is ``even_attention`` without any preference."""
        noise_floor = max(0.1, 1.5 * even_attention) if self.noise_floor is None else self.noise_floor
        attribution = max(0.2, 2 * even_attention) if self.attribution is None else self.attribution
        sufficiency = max(0.4, 2.5 * even_attention) if self.sufficiency is None else self.sufficiency
        if not noise_floor <= sufficiency:
            raise UsageError(f"the noise floor {noise_floor:g} lies above the sufficiency threshold {sufficiency:g}")
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


@dataclass(frozen=True, kw_only=True, eq=False)
class Scan:
    """All metrics of one training run.

    Attributes:
        steps: [n] int64, rising.
        values: kind -> [n, layers, heads] float64.
        even_attention: kind -> the metric of attention spread evenly over all earlier tokens.
        manifest: where the checkpoints were, their fingerprints, and what was measured.
    """

    steps: np.ndarray
    values: dict[str, np.ndarray]
    even_attention: dict[str, float]
    thresholds: Thresholds
    manifest: dict[str, Any]

    def best(self, kind: str, count: int = BEST) -> list[str]:
        """Names of the units with the highest final metric, highest first; ties by layer, then head."""
        final = self._kind(kind)[-1]
        order = np.argsort(-final, axis=None, kind="stable")[:count]
        return [f"{kind}:{index // final.shape[1]}.{index % final.shape[1]}" for index in order.tolist()]

    def curve(self, unit: str) -> np.ndarray:
        """[n] metric of ``unit`` (``kind:layer.head``) per checkpoint."""
        kind, _, address = unit.partition(":")
        values = self._kind(kind)
        layer, _, head = address.partition(".")
        if not (layer.isdigit() and head.isdigit() and int(layer) < values.shape[1] and int(head) < values.shape[2]):
            raise UsageError(
                f"no unit '{unit}' in this scan: {kind} has layers 0 to {values.shape[1] - 1} "
                f"with heads 0 to {values.shape[2] - 1} each"
            )
        return values[:, int(layer), int(head)]

    def window(self, unit: str) -> Window:
        """The formation window of ``unit`` under this scan's thresholds."""
        kind = unit.partition(":")[0]
        return formation_window(
            unit, self.steps, self.curve(unit), self.thresholds.resolved(self.even_attention[kind])
        )

    def _kind(self, kind: str) -> np.ndarray:
        if kind not in self.values:
            raise UsageError(f"no kind '{kind}' in this scan; it has: {', '.join(self.values)}")
        return self.values[kind]

    def save(self, folder: Path) -> None:
        """``metrics-<kind>.npy``, and then ``scan.json``: where that exists, the rest is whole."""
        (folder / "scan.json").unlink(missing_ok=True)
        found = {}
        for kind, values in self.values.items():
            save_array(folder / f"metrics-{kind}.npy", values)
            best = self.best(kind)
            found[kind] = {
                "even_attention": self.even_attention[kind],
                "thresholds": asdict(self.thresholds.resolved(self.even_attention[kind])),
                "best": {unit: float(self.curve(unit)[-1]) for unit in best},
                "window": asdict(self.window(best[0])),
            }
        save_json(
            folder / "scan.json",
            {
                "format": FORMAT,
                **self.manifest,
                "steps": self.steps.tolist(),
                "asked_thresholds": asdict(self.thresholds),
                "kinds": found,
            },
        )

    @staticmethod
    def open(folder: Path) -> "Scan":
        """Open the folder that `scan_checkpoints` filled.

        Raises:
            CuratorError: not a finished scan, or its arrays do not fit its steps.
        """
        file = Path(folder) / "scan.json"
        if not file.is_file():
            raise CuratorError(f"{folder}: not a finished scan (no scan.json); run `curator scan --out {folder}`")
        manifest = load_json(file)
        if not isinstance(manifest, dict) or manifest.pop("format", None) != FORMAT:
            raise CuratorError(f"{file}: not a scan of format {FORMAT!r}; run `curator scan` again")
        steps = np.array(manifest.pop("steps"), np.int64)
        thresholds = Thresholds(**manifest.pop("asked_thresholds"))
        found = manifest.pop("kinds")
        values = {kind: load_array(file.with_name(f"metrics-{kind}.npy"), mmap=False) for kind in found}
        for kind, array in values.items():
            if array.ndim != 3 or len(array) != len(steps):
                raise CuratorError(
                    f"{folder}/metrics-{kind}.npy: shape {array.shape}, but scan.json has {len(steps)} steps"
                )
        even = {kind: float(entry["even_attention"]) for kind, entry in found.items()}
        return Scan(steps=steps, values=values, even_attention=even, thresholds=thresholds, manifest=manifest)


def durable_index(values: np.ndarray, threshold: float, hold: int = 3) -> int | None:
    """First index at or above ``threshold`` with the next ``hold - 1`` also there, as far as they exist."""
    above = np.append(np.asarray(values) >= threshold, np.ones(hold - 1, bool))
    held = np.lib.stride_tricks.sliding_window_view(above, hold).all(1)
    return int(held.argmax()) if held.any() else None


def crossing(steps: Sequence[int] | np.ndarray, values: np.ndarray, threshold: float, hold: int = 3) -> float | None:
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
