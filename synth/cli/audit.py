"""What `synth audit data` does with its flags."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from curator.cli.next_steps import after_audit, next_step
from curator.cli.printing import say
from curator.cli.tables import print_rows
from curator.corpus.rendered import LEAST
from synth.audit import stage
from synth.audit.plot import NAMES
from synth.audit.settings import AuditDataSettings
from synth.render.folder import Rows


def audit_data(settings: AuditDataSettings) -> None:
    """`synth audit data`."""
    print_audit(stage.audit_data(settings).result, settings.out, Rows.open(settings.rows).manifest)


def print_audit(result: dict[str, Any], out: Path, manifest: dict[str, Any]) -> None:
    """Three tables, the verdict, and what to do next."""
    table = []
    for one in result["patterns"][:30]:
        if one["scored"]:
            place = one["percentile"]
            cells = [
                f"{place['median']:.1f} [{place['low']:.1f}, {place['high']:.1f}]",
                f"{one['above_90']:.0%}",
                f"{one['shuffled']['percentile']:.1f}",
                f"{one['mean_score']:+.3g}",
                f"{one['gain']['median']:+.3g} [{one['gain']['low']:+.3g}, {one['gain']['high']:+.3g}]",
                f"{one['loss']:.2f}",
            ]
        else:
            cells = ["-"] * 6
        verdict = "yes" if one["kept"] else "no" if one["scored"] >= LEAST else "too few rows"
        table.append([one["pattern_id"], str(one["scored"]), *cells, verdict])
    natural = result["natural"]
    place = natural["percentile"]
    table.append(
        [
            "random natural",
            str(natural["drawn"]),
            f"{place['median']:.1f} [{place['low']:.1f}, {place['high']:.1f}]",
            f"{natural['above_90']:.0%}",
            "",
            f"{natural['mean_score']:+.3g}",
            "",
            f"{natural['loss']:.2f}",
            "",
        ]
    )
    header = ["pattern", "n", "percentile", "≥ 90", "shuffled", "mean score", "gain", "loss", "kept"]
    print_rows(
        f"Scores for {result['identity']['unit']} among {natural['samples']:,} natural samples: median percentile "
        "[95 %]; that of the rows shuffled; score minus shuffled score, median [95 %]",
        header,
        table,
    )
    if "fidelity" in result:  # not in those of earlier versions
        print_fidelity(result["fidelity"], [one["pattern_id"] for one in result["patterns"]])
    _print_diversity(result["diversity"])
    kept, patterns = len(result["kept"]), len(result["patterns"])
    few = [one["pattern_id"] for one in result["patterns"] if one["scored"] < LEAST]
    say(f"\n{kept} of {patterns} patterns are kept; the rule: {result['rule']}.")
    if few:
        named = ", ".join(few[:8]) + (f" and {len(few) - 8} more" if len(few) > 8 else "")
        say(f"Fewer than {LEAST} rows were scored of {named}: too few to tell whether they carry influence.")
    say(f"Written to {out}/: audit.json, kept.json, audit.png, ranking/.")
    words = after_audit(result, out, manifest)
    if not words:
        if len(few) == patterns:
            say(f"Wanted are patterns with more to draw from: none of these gives {LEAST} distinct rows.")
        else:
            say("Wanted are other patterns, or another ranking: these rows are not what raises the probe.")
        words = ["curator", "show", out, "--top", 5]
    next_step(*words)


def print_fidelity(found: dict[str, Any], names: Sequence[str]) -> None:
    """What rows keep of their pattern's natural samples, of the patterns ``names`` whose samples are known."""
    rows = []
    for name in [name for name in names if name in found["patterns"]][:30]:
        one = found["patterns"][name]
        made, own = one["rendered"], one["natural"]
        cells = [f"{_share(made[key])} / {_share(own[key])}" for key in ("repeated", "copyable")]
        ratios = [f"{made[key] / own[key]:.2f}" if own[key] else "-" for key in ("repeated", "copyable")]
        compressed = " / ".join(
            "-" if v is None else f"{v:.1f}" for v in (made["compression"], own["compression"])
        )
        copied = f"{_share(made['found'])} / {_share(own['found'])}"
        rows.append([name, str(one["samples"]), cells[0], ratios[0], cells[1], ratios[1], compressed, copied])
    random = found["random"]
    compressed = "-" if random["compression"] is None else f"{random['compression']:.1f}"
    shown = [_share(random["repeated"]), "", _share(random["copyable"]), "", compressed, ""]
    rows.append(["random natural", "", *shown])
    header = [
        "pattern",
        "samples",
        "repeated 4-grams",
        "ratio",
        "copyable tokens",
        "ratio",
        "lzma",
        "13-grams found",
    ]
    print_rows(
        "What rows keep of the samples that their pattern was distilled from: rows / samples. 13-grams found: in the "
        "samples; those of a sample in the others",
        header,
        rows,
    )
    if found["note"]:
        say(f"No samples to compare with: {found['note']}.")


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"


def _print_diversity(curves: dict[str, Any]) -> None:
    """The last counts that all three hold."""
    by_rows = [{point["rows"]: point for point in curves[name]} for name in NAMES]
    rows = []
    for n in sorted(by_rows[0])[-8:]:
        cells = []
        for key, digits in (("compression", "{:.1f}"), ("distinct", "{:.1%}"), ("new", "{:.1%}")):
            values = [points[n][key] if n in points else None for points in by_rows]
            cells.append(" / ".join("-" if value is None else digits.format(value) for value in values))
        rows.append([f"{n:,}", *cells])
    print_rows(
        "Diversity as the rows grow: rendered / natural of highest influence / natural random",
        ["rows", "compression ratio", "distinct 4-grams", "new ones in the second half"],
        rows,
    )
