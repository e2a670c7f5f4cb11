"""Which block of which unit: two words in the code, ``unit/block`` on disk and in what is said."""

from dataclasses import dataclass


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
