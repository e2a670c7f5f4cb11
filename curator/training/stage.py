"""The stage `train`: from its settings to a folder of checkpoints."""

from pathlib import Path

from curator.artifacts.fields import require
from curator.corpus import check_tokens, open_corpus
from curator.models.devices import check_device
from curator.plan.plan import Plan
from curator.training.checkpoint import read_run
from curator.training.settings import TrainSettings
from curator.training.trainer import train as run


def train(settings: TrainSettings, every_step_asked: bool = False) -> Path:
    """Train into the folder ``settings.out``, following a plan; a killed run resumes bit-identically.

    Args:
        every_step_asked: refuse ``checkpoint_steps`` outside this run, which otherwise are those of the whole schedule.

    Raises:
        UsageError: something is missing.
        CuratorError: corpus, plan, recipe and checkpoints do not fit together.
    """
    out = require(settings, "out")
    corpus = open_corpus(require(settings, "corpus"))
    check_device(settings.device)
    stop = settings.stop_step or settings.steps
    if (
        corpus.row_width == settings.seq_length + 1
    ):  # another width is refused by the trainer, with its reason
        check_tokens(corpus, settings.vocab_size, 0, min(stop * settings.batch_size, len(corpus)))
    first = 0 if settings.start_from is None else read_run(settings.start_from)["step"]
    steps = [step for step in settings.saved_steps if every_step_asked or first <= step <= stop]
    run(
        settings.recipe,
        corpus,
        out,
        plan=None if settings.plan is None else Plan.load(settings.plan),
        start_from=settings.start_from,
        checkpoint_steps=steps,
        stop_step=settings.stop_step,
        device=settings.device,
        epochs=settings.epochs,
    )
    return Path(out)
