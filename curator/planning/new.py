"""Where plans begin: a new folder, and the corpus as it is."""

from collections.abc import Sequence
from pathlib import Path

from curator.artifacts.fields import require
from curator.artifacts.files import is_temporary
from curator.corpus import Corpus, open_corpus
from curator.corpus.slots import plan_slots
from curator.errors import CuratorError, UsageError
from curator.plan.plan import Plan
from curator.plan.rules import Divisor
from curator.planning.settings import InjectSettings, MaskSettings
from curator.ranking.ranking import Ranking


def check_new_plan(out: Path) -> None:
    """Refuse a folder for a new plan that is not empty."""
    if (out / "plan.json").exists():
        raise CuratorError(f"{out}: holds a plan already; choose another --out, or remove it")
    if out.is_dir() and any(not is_temporary(path) for path in out.iterdir()):
        raise CuratorError(f"{out}: the folder is not empty and holds no plan; choose another --out")


def identity_plan(corpus: Corpus, batch_size: int, divisor: Divisor, epochs: int = 1) -> Plan:
    """The plan that trains on the whole steps of ``epochs`` passes over the corpus as it is."""
    if batch_size > len(corpus):
        raise UsageError(f"--batch-size is {batch_size}, but {corpus.path} has {len(corpus)} samples alone")
    n_slots = plan_slots(corpus, batch_size, epochs)
    return Plan.identity(n_slots, batch_size, corpus.fingerprint(), divisor, len(corpus))


def corpus_of(settings: InjectSettings | MaskSettings, rankings: Sequence[Ranking]) -> Corpus:
    """The corpus that was ranked, wherever it lies now; without rankings the one that ``settings`` name."""
    if rankings:
        return rankings[0].open_corpus(settings.corpus)
    return open_corpus(require(settings, "corpus"))


def plan_to_edit(settings: InjectSettings | MaskSettings, corpus: Corpus) -> Plan:
    """The plan that ``settings`` name, which must be of ``corpus``; else the corpus as it is."""
    batch_size = settings.batch_size
    if settings.plan is None:
        if batch_size is None:
            raise UsageError(
                "'batch_size' is missing: give --batch-size or 'batch_size' in the experiment file, or --plan"
            )
        return identity_plan(corpus, batch_size, settings.divisor or "kept", settings.epochs)
    plan = Plan.load(settings.plan)
    try:
        plan.check(corpus.fingerprint(), batch_size or plan.batch_size, plan.n_slots)
    except CuratorError as error:
        raise CuratorError(f"{settings.plan}: {error} (corpus {corpus.path})") from error
    return plan
