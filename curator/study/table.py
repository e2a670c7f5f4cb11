"""All curves of a study in one tidy table, ``curves.parquet``."""

from collections.abc import Sequence
from pathlib import Path

from curator.evaluate.losses import TEXT_CONTEXT, icl_positions
from curator.evaluate.table import Run, points_of, save_curves
from curator.study.effects import BASELINE
from curator.study.result import Result
from curator.study.study import Study


def save_study_curves(path: Path, study: Study, results: Sequence[Result], name: str) -> None:
    """Write every point of every run of every seed; an arm's draws are numbered from 1."""
    runs = [(run, arm.name, number) for arm in study.arms for number, run in enumerate(arm.runs, 1)]
    tokens = study.train.batch_size * study.train.seq_length
    rows = [
        Run(
            study=name,
            seed=result.seed,
            arm=arm,
            draw=draw,
            tokens_per_step=tokens,
            points=points_of(result.content["curves"][run]),
        )
        for result in results
        for run, arm, draw in [(BASELINE, BASELINE, 1), *runs]
        if run in result.content["curves"]
    ]
    about: dict[str, object] = {"thresholds": list(study.thresholds)}
    if "icl" in study.measure:
        of_text = study.icl_text is not None
        context = min(study.train.seq_length, TEXT_CONTEXT) if of_text else study.train.seq_length
        late, early = icl_positions(context)
        about["icl"] = {"late": late, "early": early, "of": "a text" if of_text else "held-out rows"}
    save_curves(path, rows, about)
