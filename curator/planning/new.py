"""Where plans begin: a new folder, and the corpus as it is."""

from pathlib import Path

from curator.artifacts.files import is_temporary
from curator.corpus import Corpus
from curator.corpus.slots import plan_slots
from curator.errors import CuratorError, UsageError
from curator.plan.plan import Plan
from curator.plan.rules import Divisor


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
