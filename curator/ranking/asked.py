"""Which samples a ranking is of, and how its manifest says what was asked; for every stage that makes a ranking."""

from pathlib import Path
from typing import Any

from curator.corpus import Corpus, open_corpus
from curator.corpus.slots import plan_slots
from curator.errors import UsageError
from curator.plan.rules import samples_of_steps


def samples_of_window(
    steps: tuple[int, int], batch_size: int, epochs: int, corpus: Path | str
) -> tuple[int, int]:
    """[first, last) the samples that the run holds in steps [first, last).

    Args:
        corpus: whose length is looked at where the run passes over it more than once.

    Raises:
        UsageError: the run has no such steps, or the corpus ends within them.
    """
    if epochs == 1:
        return samples_of_steps(steps, batch_size)
    opened = open_corpus(corpus)
    n_steps = plan_slots(opened, batch_size, epochs) // batch_size
    if steps[1] > n_steps:
        raise UsageError(
            f"--window {steps[0]}:{steps[1]}: {epochs} epochs of {len(opened)} samples are {n_steps} steps "
            f"of {batch_size}; end at {n_steps}"
        )
    return samples_of_steps(steps, batch_size, len(opened))


def samples_within(asked: tuple[int, int] | None, corpus: Corpus) -> tuple[int, int]:
    """[first, last) the samples that were asked for; all of the corpus where none were.

    Raises:
        UsageError: the corpus does not have them.
    """
    first, last = asked or (0, len(corpus))
    if not 0 <= first < last <= len(corpus):
        raise UsageError(
            f"samples [{first}, {last}) are not within the corpus {corpus.path}, which has {len(corpus)} "
            f"samples: give 0 <= first < last <= {len(corpus)}"
        )
    return first, last


def recorded_window(steps: tuple[int, int] | None, batch_size: int | None, epochs: int) -> dict[str, Any]:
    """``window`` of a manifest's request: the steps, batch size and epochs that the samples were asked for by."""
    if steps is None:
        return {}
    return {"window": {"steps": list(steps), "batch_size": batch_size, "epochs": epochs}}


def absolute_model(model: str) -> str:
    """A model folder's whole path; a hub id as it is."""
    return str(Path(model).absolute()) if Path(model).is_dir() else model
