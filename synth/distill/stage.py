"""The stage `distill`: from its settings to a registry, whichever engine is asked."""

from functools import partial

from curator.errors import UsageError
from synth.distill import run
from synth.distill.llm import LlmEngine
from synth.distill.miner import mine
from synth.distill.settings import DistillSettings
from synth.llm.settings import ASKS_NOBODY
from synth.patterns.registry import Registry


def distill(settings: DistillSettings) -> Registry:
    """Distill patterns into the folder ``settings.out``; the same settings again find them there.

    Raises:
        UsageError: a prompt, unit or share that there is not.
        CuratorError: wrong input, a language model that gives no answer, a budget that is reached, or the folder holds
            something else. What was answered is kept, and the same settings go on.
    """
    top = run.Top.open(settings)
    if settings.engine == "builtin":
        described = {"name": "builtin", **settings.mined}
        engine: run.Engine = partial(mine, tokenizer=top.tokenizer, **settings.mined)
        return run.distill(top, engine, described, settings.out, settings.similar)
    model = LlmEngine(settings, settings.out / "cache")
    return run.distill(top, model, model.describe(), settings.out, settings.similar)


def dry_run(settings: DistillSettings) -> str:
    """What a language model would be asked, and an estimate of what that takes; asks nobody and writes nothing."""
    if settings.engine == "builtin":
        raise UsageError(f"--dry-run is for --engine llm; --engine builtin {ASKS_NOBODY}")
    top = run.Top.open(settings)
    return LlmEngine(settings, settings.out / "cache").dry_run(top.samples())
