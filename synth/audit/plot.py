"""The picture of `synth audit data`: percentiles per pattern, and diversity as the count grows."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from curator.artifacts.files import new_file
from curator.report.plots import GREY, INK, PALETTE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_SHOWN = 40
"""Patterns drawn: beyond it, the highest and the lowest."""
NAMES = {"rendered": "rendered", "natural_top": "natural, top", "natural_random": "natural, random"}


def plot_audit(result: dict[str, Any], path: Path) -> None:
    """Write the PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    patterns = [one for one in result["patterns"] if one["scored"]]
    shown = patterns
    if len(patterns) > MOST_SHOWN:
        shown = patterns[: MOST_SHOWN // 2] + patterns[-MOST_SHOWN // 2 :]
    height = 1.5 + 0.22 * (len(shown) + 1)
    figure = Figure(figsize=(8, height + 6.4), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(3, 1, height_ratios=[height, 3.2, 3.2])
    _percentiles(axes[0], shown, len(patterns), result)
    curves = result["diversity"]
    _growth(axes[1], curves, "new", "Share of 4-grams in the second half of the rows that are new")
    axes[1].set_ylim(0, 1.02)
    _growth(axes[2], curves, "compression", "Compression ratio (LZMA) of the first n rows")
    axes[2].set_xlabel("rows", color=INK)
    with new_file(path) as temporary:
        figure.savefig(temporary, format="png")


def _percentiles(axes: "Axes", shown: list[dict[str, Any]], total: int, result: dict[str, Any]) -> None:
    natural = result["natural"]["percentile"]
    axes.errorbar(natural["median"], 0, xerr=_half(natural), fmt="D", color=INK, markersize=4, linewidth=1.2)
    labels = ["random natural samples"]
    for place, one in enumerate(reversed(shown), 1):
        colour = PALETTE[0] if one["kept"] else PALETTE[1]
        percentile = one["percentile"]
        axes.errorbar(
            percentile["median"],
            place,
            xerr=_half(percentile),
            fmt="o",
            color=colour,
            markersize=4,
            linewidth=1.2,
            clip_on=False,
            zorder=3,
        )
        axes.plot(one["shuffled"]["percentile"], place, "x", color=GREY, markersize=5, clip_on=False)
        labels.append(f"{one['pattern_id']} ({one['scored']})")
    threshold = result["identity"]["threshold"]
    axes.axvline(threshold, color=INK, linewidth=0.7, linestyle=(0, (5, 4)), zorder=1)
    axes.set_yticks(range(len(labels)), labels, fontsize=7)
    axes.set_ylim(-0.8, len(labels) - 0.2)
    axes.set_xlim(0, 100)
    axes.set_xlabel("percentile among natural samples: median, 95 % interval", color=INK)
    some = f", {len(shown)} of {total} patterns" if total > len(shown) else ""
    title = f"Rendered rows, scored for {result['identity']['unit']}{some}"
    axes.set_title(title, loc="left", fontsize=11, color=INK)
    handles = [
        axes.plot([], [], "o", color=PALETTE[0], markersize=4, label="kept")[0],
        axes.plot([], [], "o", color=PALETTE[1], markersize=4, label="not kept")[0],
        axes.plot([], [], "x", color=GREY, markersize=5, label="its rows, tokens shuffled")[0],
    ]
    axes.legend(
        handles=handles, fontsize=7.5, frameon=False, loc="lower left", bbox_to_anchor=(0, 1.0), ncols=3
    )
    axes.set_title(title, loc="left", fontsize=11, color=INK, pad=20)
    _plain(axes)


def _half(interval: dict[str, float]) -> list[list[float]]:
    middle = interval["median"]
    return [[max(0.0, middle - interval["low"])], [max(0.0, interval["high"] - middle)]]


def _growth(axes: "Axes", curves: dict[str, Any], key: str, title: str) -> None:
    for points in curves["patterns"].values():
        _line(axes, points, key, color=GREY, linewidth=0.8)
    axes.plot([], [], color=GREY, linewidth=0.8, label="single patterns (largest)")
    for number, (name, label) in enumerate(NAMES.items()):
        dashed = "--" if name == "natural_random" else "-"
        _line(axes, curves[name], key, color=PALETTE[number], linewidth=1.6, linestyle=dashed, label=label)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.set_title(title, loc="left", fontsize=11, color=INK)
    axes.legend(fontsize=7.5, frameon=False)
    _plain(axes)


def _line(axes: "Axes", points: list[dict[str, Any]], key: str, **style: Any) -> None:
    known = [(point["rows"], point[key]) for point in points if point[key] is not None]
    axes.plot([n for n, _ in known], [value for _, value in known], marker="o", markersize=3, **style)


def _plain(axes: "Axes") -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=INK, labelsize=8)
