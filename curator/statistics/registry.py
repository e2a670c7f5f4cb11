"""The statistics there are, and those that can be told of what was asked. A new one is a class and a line here."""

from collections.abc import Sequence

from curator.errors import UsageError
from curator.progress import remark
from curator.statistics.base import Asked, Statistic
from curator.statistics.compression import Compression
from curator.statistics.copyable import Copyable
from curator.statistics.length import Length
from curator.statistics.loss import Loss

STATISTICS: dict[str, type[Statistic]] = {kind.name: kind for kind in (Copyable, Compression, Length, Loss)}


def prepared(names: Sequence[str], asked: Asked) -> list[Statistic]:
    """The statistics of these names, or, without names, all that lack nothing.

    Raises:
        UsageError: one that was named lacks what it needs; says how to give it.
        CuratorError: a model or tokenizer that cannot be read, or a token id that it does not know.
    """
    found = []
    for name in dict.fromkeys(names or STATISTICS):
        lack = STATISTICS[name].lacks(asked)
        if lack and names:
            raise UsageError(f"--statistic {name}: {lack}")
        if lack:
            remark(f"{name} is left out: {lack}")
        else:
            found.append(STATISTICS[name].prepared(asked))
    return found
