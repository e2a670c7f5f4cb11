"""What the demo inserts: appendix F's factorial of data, quantity and schedule, scaled to the demo's window."""

from dataclasses import asdict, dataclass
from typing import Any

from curator.demo.settings import DemoSettings

TRAINING = DemoSettings.quick()
"""More drill rows than `curator demo` has. With fewer the head forms later, and when it does varies more between runs
that differ by chance alone: two draws of random rows were then further apart than any effect (docs/results.md)."""
KINDS = ("random", "top", "synthetic")
"""Rows drawn from the window, its rows of highest influence, rendered rows."""
SCHEDULES = ("burst", "spread")


@dataclass(frozen=True, kw_only=True)
class InsertSettings:
    """One factorial.

    Attributes:
        counts: rows inserted, multiples of the batch size. The paper's 12 500 to 100 000 are 1.2 to 10 % of its
            window's samples; these are about the same shares of the demo's.
        schedules: ``burst`` puts all extra steps at the window's start, ``spread`` evenly over ``spread_steps``
            from there.
        top: samples that patterns are distilled from; holdout: the share of them kept for the audit.
    """

    counts: tuple[int, ...] = (128, 256, 512, 960)
    schedules: tuple[str, ...] = SCHEDULES
    spread_steps: int = 150
    top: int = 1000
    holdout: float = 0.2

    @staticmethod
    def quick() -> "InsertSettings":
        """The smoke size: one quantity, one schedule."""
        return InsertSettings(counts=(512,), schedules=("spread",))

    def arms(self) -> list[tuple[str, str, int, str]]:
        """(name, kind, count, schedule) of every arm."""
        return [
            (f"{kind}-{count}-{schedule}", kind, count, schedule)
            for schedule in self.schedules
            for count in self.counts
            for kind in KINDS
        ]

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "counts": list(self.counts), "schedules": list(self.schedules)}
