"""How many slots a training run over a corpus has."""

from curator.corpus.base import Corpus
from curator.errors import UsageError


def plan_slots(corpus: Corpus, batch_size: int, epochs: int) -> int:
    """The slots of the whole steps of ``epochs`` passes over the corpus.

    Raises:
        UsageError: GPT-NeoX's own order, which holds all its epochs already.
    """
    if epochs > 1 and corpus.neox_order:
        raise UsageError(
            f"--epochs is {epochs}, but {corpus.path} is GPT-NeoX's own order, which holds all epochs of its run, "
            "shuffled together; leave it out"
        )
    return len(corpus) * epochs // batch_size * batch_size
