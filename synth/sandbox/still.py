"""No clock, no time zone, no chance but the seed: taken out of the modules themselves, before any generated code runs.

A facade hides a module's names, but a class leads to its methods by many ways (``date.min.today()``, the class of any
date), and the standard library asks for randomness of its own (``NormalDist.samples``). So datetime is loaded in its
Python form, whose classes lose now, today and utcnow and whose local time is UTC; the functions of ``random`` refuse;
and the generator that code is given refuses to be seeded by the machine. Runs inside the locked process.
"""

from __future__ import annotations

import sys
from random import Random

TYPE_CHECKING = False  # `typing` is slow to import, and one process is started per generator
if TYPE_CHECKING:
    from typing import Any, NoReturn

CLOCKS = ("now", "today", "utcnow")
"""Methods of datetime's classes that ask the clock."""
SEEDS = (int, bool, float, str, bytes, bytearray)
"""Kinds of seed that mean the same everywhere; None is the machine's randomness, of others the hash would count."""


class Seeded(Random):
    """`random.Random`, which does not run without a seed."""

    def seed(self, a: Any = None, version: int = 2) -> None:
        """Begin again from the seed ``a``."""
        if type(a) not in SEEDS:
            raise TypeError("rng is seeded already; to begin again, give a seed that is a number or a text")
        super().seed(a, version)


Seeded.__name__ = Seeded.__qualname__ = "Random"


def before_imports() -> None:
    """From here on ``import datetime`` loads classes that can be changed."""
    sys.modules["_datetime"] = None  # type: ignore[assignment]


def after_imports() -> None:
    """Nothing that was imported asks the clock, the time zone or the machine's randomness any more."""
    if "datetime" in sys.modules:
        _without_clock(sys.modules["datetime"])
    chance = sys.modules["random"]
    for name, value in list(vars(chance).items()):
        if isinstance(getattr(value, "__self__", None), Random):
            setattr(chance, name, no_chance)


def no_chance(*arguments: object, **named: object) -> NoReturn:
    """In the place of `random.random` and the others, which have no seed."""
    raise RuntimeError("there is no randomness but rng's: draw from the argument rng")


def no_clock() -> NoReturn:
    """In the place of `time.time`."""
    raise RuntimeError("there is no clock: draw dates from rng")


def _without_clock(module: Any) -> None:
    import time as system

    class Utc:
        """What datetime uses of the module ``time``: always UTC, and never now."""

        gmtime, strftime, struct_time = system.gmtime, system.strftime, system.struct_time
        time = no_clock

        @staticmethod
        def localtime(seconds: float | None = None) -> Any:
            if seconds is None:
                no_clock()
            return system.struct_time((*system.gmtime(seconds)[:8], 0), {"tm_zone": "UTC", "tm_gmtoff": 0})

    for kind in (module.date, module.datetime):
        for name in CLOCKS:
            if name in vars(kind):
                delattr(kind, name)
    module.date.ctime.__globals__["_time"] = Utc
