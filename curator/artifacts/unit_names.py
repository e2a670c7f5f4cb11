"""The name of a unit taken apart: ``kind:address``, and ``:probe`` where it says one. Nothing else splits names."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast, get_args

from curator.artifacts.fields import PAPER, ProbeName


@dataclass(frozen=True)
class UnitName:
    """What a name says.

    Attributes:
        address: what its kind understands, such as ``1.2``; probe: None where none is said.
    """

    kind: str
    address: str
    probe: ProbeName | None = None

    @staticmethod
    def parse(name: str) -> "UnitName":
        """Of any text; whether there is such a unit is asked of the registry (`parse_units`)."""
        kind, _, rest = name.partition(":")
        address, _, said = rest.rpartition(":")
        if address and said in get_args(ProbeName):
            return UnitName(kind, address, cast(ProbeName, said))
        return UnitName(kind, rest)

    @property
    def numbers(self) -> tuple[int, ...]:
        """Layer and head, of an address of numbers joined by points; of any other none."""
        parts = self.address.split(".")
        return tuple(map(int, parts)) if all(part.isdecimal() for part in parts) else ()


def units_called(name: str, units: Sequence[str]) -> list[str]:
    """Those of ``units``, which are recorded names, that ``name`` means; where it says no probe, any of its probes'."""
    recorded = name.removesuffix(f":{PAPER}")
    if recorded in units:
        return [recorded]
    return [one for one in units if recorded == name and one.startswith(f"{name}:")]
