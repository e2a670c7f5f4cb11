"""Which block of which unit: two words in the code, ``unit/block`` on disk and in what is said; and units by name."""

from collections.abc import Sequence
from dataclasses import dataclass

from curator.artifacts.fields import PAPER


@dataclass(frozen=True, order=True)
class BlockKey:
    """A block by its unit's name (``induction:1.2``) and its own within the unit (``qk``)."""

    unit: str
    block: str

    @staticmethod
    def parse(text: str) -> "BlockKey":
        """What ``str`` gave; a block's own name has no slash, a unit's may."""
        unit, _, block = text.rpartition("/")
        return BlockKey(unit, block)

    def __str__(self) -> str:
        return f"{self.unit}/{self.block}"


def units_called(name: str, units: Sequence[str]) -> list[str]:
    """Those of ``units``, which are recorded names, that ``name`` means; where it says no probe, any of its probes'."""
    recorded = name.removesuffix(f":{PAPER}")
    if recorded in units:
        return [recorded]
    return [one for one in units if recorded == name and one.startswith(f"{name}:")]
