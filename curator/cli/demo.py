"""What `curator demo` does with its flags: the study ``configs/studies/demo.yml``."""

from pathlib import Path

from curator.cli.study import study_and_tell
from curator.study.study import Study, load_study


def run_demo(
    out: Path, seed: int = 0, n_seeds: int = 2, drill_fraction: float | None = None, quick: bool = False
) -> None:
    """Run it on seeds ``seed … seed + n_seeds - 1`` into ``out``, and tell.

    Args:
        drill_fraction: of the embedded corpus; None takes the study's own.
        quick: the smoke size.
    """
    study = load_study("demo", Study)
    study = study.quickened() if quick else study
    if drill_fraction is not None:
        study = study.changed(drill_fraction=drill_fraction)
    study_and_tell(study, out, range(seed, seed + n_seeds), "demo")
