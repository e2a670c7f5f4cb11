"""``curator curves``: what came out of measuring checkpoints, in a few lines."""

from typing import Any

from curator.artifacts.unit_names import UnitName
from curator.cli.printing import say
from curator.cli.tables import print_rows
from curator.evaluate.settings import CurvesSettings


def run_curves(settings: CurvesSettings) -> None:
    """Measure, and show of every run and quantity the last step's value: of a kind of unit, its highest."""
    from curator.artifacts.tables import load_table
    from curator.evaluate.stage import curves

    file = curves(settings)
    columns, about = load_table(file)
    last: dict[tuple[Any, ...], tuple[int, float, str]] = {}
    for arm, step, quantity, unit, value in zip(
        *(columns[name] for name in ("arm", "step", "quantity", "unit", "value"))
    ):
        name = UnitName.parse(unit)
        key = (arm, quantity, name.kind, name.probe)
        if key not in last or (step, value) > last[key][:2]:
            last[key] = (step, value, unit)
    rows = [
        [f"{arm}: {quantity}", unit or "the model", str(step), f"{value:+.4f}"]
        for (arm, quantity, *_), (step, value, unit) in last.items()
    ]
    print_rows(
        "At the last checkpoint; of a kind of unit, the highest", ["run", "unit", "step", "value"], rows
    )
    for quantity, words in about["quantities"].items():
        say(f"{quantity}: {words}")
    if "icl" in about:
        icl = about["icl"]
        say(f"icl here: token {icl['late']} less the first {icl['early']}, of {icl['rows']} rows")
    say(f"Written to {file}: {len(columns['value']):,} rows.")
