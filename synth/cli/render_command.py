"""`synth render` as the demo calls it."""

from pathlib import Path
from typing import Any

from synth.cli.render import render
from synth.render.settings import RenderSettings


def run_render(
    path: Path, out: Path, given: Any, weights: Any, only: Any, workers: int, unsafe: bool
) -> None:
    """From the flags of `synth render`."""
    render(RenderSettings(generators=path, out=out, weights=weights, only=only, workers=workers, **given))
