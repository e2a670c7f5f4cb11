"""Pictures of metrics over training. matplotlib is imported inside functions: the CLI must start fast.

Okabe and Ito's palette, which colour-blind readers can tell apart; lines are named where they end rather
than in a box; thresholds are thin lines, and everything that is not the point is grey.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from curator.analysis.intervals import Mean
from curator.artifacts.files import new_file
from curator.artifacts.unit_names import UnitName
from curator.errors import CuratorError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from curator.scan.scan import Scan

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
"""Okabe and Ito's, without the yellow that is too light for lines."""
GREY, INK = "#BBBBBB", "#333333"
HIGHLIGHTED = 3
"""How many of the best units of a kind are drawn in colour."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Curve:
    """One line: curves of the same ``group`` are replicates (seeds) and share a colour and a name.

    Attributes:
        steps, values: [n] each.
        colour: of the group; the first curve of a group decides. None: the next of the palette.
        dashed: for controls and references.
    """

    group: str
    steps: np.ndarray
    values: np.ndarray
    colour: str | None = None
    dashed: bool = False


def plot_scan(scan: "Scan", path: Path) -> None:
    """One panel per kind: the best units in colour, all others grey, the best one's window shaded."""
    figure, panels = _figure(len(scan.values))
    for axes, (kind, values) in zip(panels, scan.values.items()):
        best = scan.best(kind, HIGHLIGHTED)
        axes.plot(scan.steps, values.reshape(len(values), -1), color=GREY, linewidth=0.7, zorder=1)
        for unit, colour in zip(best, PALETTE):
            axes.plot(scan.steps, scan.curve(unit), color=colour, linewidth=2, zorder=3, **_dots(scan.steps))
        limits = scan.thresholds.resolved(scan.chance[kind])
        lines = {"noise floor": limits.noise_floor, "sufficient": limits.sufficiency}
        _thresholds(
            axes, {f"{name} {value:.2g}": value for name, value in lines.items() if value is not None}
        )
        window = scan.window(best[0])
        title = kind
        if window.t_start is not None and window.t_end is not None:
            axes.axvspan(window.t_start, window.t_end, color=PALETTE[0], alpha=0.09, linewidth=0, zorder=0)
            title = f"{best[0]} forms in steps {window.t_start:,} to {window.t_end:,}"
        highest = max(float(values.max()), limits.sufficiency or 0)
        _finish(axes, scan.steps, title, f"{kind} metric", (0, 1.08 * highest))
        ends = {UnitName.parse(unit).address: float(scan.curve(unit)[-1]) for unit in best}
        _end_labels(axes, [(name, end, colour) for (name, end), colour in zip(ends.items(), PALETTE)])
    panels[-1].set_xlabel("training step", color=INK)
    _save(figure, path)


def plot_curves(
    curves: Sequence[Curve] | Mapping[str, tuple[Any, Any]],
    path: Path,
    *,
    title: str,
    ylabel: str,
    thresholds: Mapping[str, float] | Sequence[float] = (),
    shaded: tuple[float, float] | None = None,
    xlabel: str = "training step",
    interval: bool = False,
) -> None:
    """Compare runs. Replicates that share their steps are drawn thin, and their mean thick.

    Args:
        curves: `Curve` objects, or ``label -> (steps, values)``.
        thresholds: values, or name -> value, as thin horizontal lines.
        shaded: steps from and to, for example where samples were masked.
        interval: draw the 95 % interval of the mean (Student's t) in place of the replicates.
    """
    if isinstance(curves, Mapping):
        curves = [
            Curve(group=label, steps=np.asarray(steps), values=np.asarray(values))
            for label, (steps, values) in curves.items()
        ]
    if not curves:
        raise CuratorError(f"{path}: no curves to plot")
    groups: dict[str, list[Curve]] = {}
    for curve in curves:
        groups.setdefault(curve.group, []).append(curve)
    figure, (axes,) = _figure(1)
    labels = []
    for number, (group, members) in enumerate(groups.items()):
        colour = members[0].colour or PALETTE[number % len(PALETTE)]
        style = "--" if members[0].dashed else "-"
        same_steps = all(np.array_equal(curve.steps, members[0].steps) for curve in members)
        averaged = len(members) > 1 and same_steps
        for curve in members if not (averaged and interval) else ():
            thin: dict[str, Any] = {"linewidth": 0.8, "alpha": 0.5} if averaged else {"linewidth": 2}
            thin["marker"] = "o" if len(curve.steps) == 1 else ""
            axes.plot(curve.steps, curve.values, color=colour, linestyle=style, zorder=2, **thin)
        last = float(np.mean([curve.values[-1] for curve in members]))
        if averaged:
            mean = np.mean([curve.values for curve in members], axis=0)
            if interval:
                around = [Mean.of(values).half or 0 for values in zip(*(curve.values for curve in members))]
                band: dict[str, Any] = {"color": colour, "alpha": 0.12, "linewidth": 0, "zorder": 2}
                axes.fill_between(members[0].steps, mean - around, mean + around, **band)
            axes.plot(members[0].steps, mean, color=colour, linestyle=style, linewidth=2.2, zorder=3)
        labels.append((group if len(members) == 1 else f"{group} (n = {len(members)})", last, colour))
    if shaded is not None:
        axes.axvspan(*shaded, color=PALETTE[0], alpha=0.09, linewidth=0, zorder=0)
    lines = thresholds if isinstance(thresholds, Mapping) else {f"{value:g}": value for value in thresholds}
    _thresholds(axes, lines)
    every_step = np.unique(np.concatenate([np.asarray(curve.steps) for curve in curves]))
    drawn = [np.asarray(curve.values, np.float64) for curve in curves]
    low, high = _limits([*drawn, np.array(list(lines.values()))])
    _finish(axes, every_step, title, ylabel, (low, high))
    _end_labels(axes, labels)
    axes.set_xlabel(xlabel, color=INK)
    _save(figure, path)


def _figure(panels: int) -> "tuple[Figure, list[Axes]]":
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 0.6 + 3.7 * panels), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, list(figure.subplots(panels, 1, squeeze=False)[:, 0])


def _limits(values: Sequence[np.ndarray]) -> tuple[float, float]:
    everything = np.concatenate(values)
    low, high = float(everything.min()), float(everything.max())
    room = 0.06 * (high - low or abs(high) or 1)
    return (0.0 if 0 <= low < 0.5 * high else low - room), high + room


def _dots(steps: np.ndarray) -> dict[str, Any]:
    """Few checkpoints are marked, so that nobody takes the line between them for data."""
    return {"marker": "o", "markersize": 3.5, "clip_on": False} if len(steps) <= 40 else {}


def _thresholds(axes: "Axes", lines: Mapping[str, float]) -> None:
    for name, value in lines.items():
        axes.axhline(value, color=INK, linewidth=0.7, linestyle=(0, (5, 4)), zorder=1)
        axes.annotate(
            name,
            (0, value),
            xycoords=axes.get_yaxis_transform(),
            xytext=(4, 3),
            textcoords="offset points",
            fontsize=7.5,
            color=INK,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0},
            zorder=4,
        )


def _finish(axes: "Axes", steps: np.ndarray, title: str, ylabel: str, limits: tuple[float, float]) -> None:
    from matplotlib.ticker import MaxNLocator

    positive = steps[steps > 0]
    if (
        len(positive) > 2
        and positive[-1] / positive[0] > 100
        and np.diff(steps).max() > 20 * np.diff(steps).min()
    ):
        axes.set_xscale("symlog", linthresh=float(positive[0]), linscale=0.5)  # 0, 1, 2, 4, ... 143000
    else:
        axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True, steps=[1, 2, 5, 10]))
        axes.xaxis.set_major_formatter(lambda step, _: f"{step:,.0f}")
    alone = int(len(steps) == 1)
    axes.set_xlim(float(steps[0]) - alone, float(steps[-1]) + alone)
    axes.set_ylim(*limits)
    axes.set_title(title, loc="left", fontsize=11, color=INK)
    axes.set_ylabel(ylabel, color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=INK, labelsize=9)


def _end_labels(axes: "Axes", labels: Sequence[tuple[str, float, str]]) -> None:
    """Name each line (name, last value, colour) where it ends."""
    low, high = axes.get_ylim()
    ends = [(value - low) / (high - low) for _, value, _ in labels]
    for (name, _, colour), height in zip(labels, spread(ends, 0.052)):
        axes.annotate(
            name,
            (1, height),
            xycoords="axes fraction",
            xytext=(7, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
            color=colour,
            annotation_clip=False,
        )


def spread(heights: Sequence[float], gap: float) -> list[float]:
    """Heights in the same order, ``gap`` apart at least: crowded ones are centred on their common mean."""
    order = sorted(range(len(heights)), key=lambda index: heights[index])
    crowds: list[list[int]] = []
    middles: list[float] = []
    for index in order:
        crowd, middle = [index], heights[index]
        while crowds and middle - middles[-1] < gap * (len(crowd) + len(crowds[-1])) / 2:
            crowd = crowds.pop() + crowd
            middles.pop()
            middle = float(np.mean([heights[member] for member in crowd]))
        crowds.append(crowd)
        middles.append(middle)
    placed = list(heights)
    for crowd, middle in zip(crowds, middles):
        for number, index in enumerate(crowd):
            placed[index] = middle + gap * (number - (len(crowd) - 1) / 2)
    return placed


def _save(figure: "Figure", path: Path) -> None:
    with new_file(path) as temporary:
        figure.savefig(temporary, format=path.suffix.removeprefix(".") or "png")
