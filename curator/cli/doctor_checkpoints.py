"""What `curator doctor --checkpoints FOLDER` says: which checkpoints a folder holds, and which have equal weights."""

from collections.abc import Iterator
from pathlib import Path

from curator.cli.doctor import Check
from curator.errors import CuratorError
from curator.models import list_checkpoints
from curator.models.equal import equal_groups, points_of

USE = "scan: a curve needs one checkpoint per step"


def checkpoint_checks(folder: Path) -> Iterator[Check]:
    """One check of the folder, and one of each line on equal weights."""
    try:
        checkpoints = list_checkpoints(folder)
        groups = equal_groups(checkpoints)
    except CuratorError as error:
        yield Check(
            name="checkpoints",
            status="missing",
            detail=str(error),
            needed_for=USE,
            how_to_get="give the folder of a run",
        )
        return
    steps = [step for step, _ in checkpoints]
    points, lines = points_of(steps, groups)
    found = f", steps {steps[0]} to {steps[-1]}" if steps else ""
    yield Check(
        name="checkpoints",
        status="ok" if steps else "missing",
        detail=f"{folder}: {len(steps)}{found}, {len(points)} of them points of a curve",
        needed_for=USE,
        how_to_get="" if steps else "a folder of step0, checkpoint-100 ... or global_step0 ... with weights",
    )
    doubtful = len(points) < len(steps)
    for line in lines[: len(groups)]:
        wrong = "under different names" in line
        yield Check(
            name="equal weights",
            status="warning" if wrong else "ok",
            detail=line,
            needed_for=USE,
            how_to_get=lines[-1] if wrong and doubtful else "",
        )
