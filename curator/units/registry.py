"""From ``kind:address`` to units; a user's own kinds join with `register` or ``--unit-module FILE.py``."""

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from curator.artifacts.fields import ProbeName
from curator.artifacts.fingerprints import fingerprint
from curator.artifacts.unit_names import UnitName
from curator.errors import UsageError
from curator.units.base import Unit
from curator.units.duplicate_token import DuplicateTokenHead
from curator.units.induction import InductionHead
from curator.units.previous_token import PreviousTokenHead

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_kinds: dict[str, type[Unit]] = {}


def register(unit_class: type[Unit]) -> type[Unit]:
    """Make ``unit_class.kind`` known; usable as a class decorator.

    Raises:
        UsageError: the kind is missing or taken by another class, or has no probe that is its default.
    """
    kind = getattr(unit_class, "kind", "")
    if not kind or ":" in kind:
        raise UsageError(f"unit class {unit_class.__name__} needs a non-empty 'kind' without a colon")
    taken = _kinds.get(kind)
    if taken is not None and (taken.__module__, taken.__qualname__) != (
        unit_class.__module__,
        unit_class.__qualname__,
    ):
        raise UsageError(f"unit kind '{kind}' is taken by {taken.__module__}.{taken.__qualname__}")
    if unit_class.DEFAULT not in unit_class.PROBES:
        raise UsageError(
            f"unit kind '{kind}' has no probe '{unit_class.DEFAULT}', which would be asked where nothing is said; it "
            f"has {', '.join(unit_class.PROBES)}: say which with DEFAULT"
        )
    _kinds[kind] = unit_class
    return unit_class


register(InductionHead)
register(PreviousTokenHead)
register(DuplicateTokenHead)


def kinds() -> dict[str, type[Unit]]:
    """Every known kind of unit."""
    return dict(_kinds)


def load_unit_module(path: Path) -> None:
    """Import a user's Python file, which registers its own kinds of unit."""
    if not path.is_file():
        raise UsageError(f"{path}: no such unit module; give a Python file that calls curator.units.register")
    # named by place, so that files and classes of the same name in two folders stay two
    name = f"curator_user_units_{path.stem}_{fingerprint(str(path.resolve()))}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)


def parse_units(specs: Sequence[str], model: "PreTrainedModel", probe: ProbeName | None = None) -> list[Unit]:
    """The units that ``specs`` name, in order, each once.

    Args:
        probe: what those are asked by whose spec does not say it; None is their kind's `DEFAULT`. Names that are
            recorded, as a ranking's, mean `PAPER` where they say none.

    Raises:
        UsageError: an unknown kind, or an address that the model does not have; lists what exists.
    """
    if not specs:
        raise UsageError(f"no unit given; a unit is KIND:ADDRESS with a kind of: {', '.join(sorted(_kinds))}")
    units: dict[str, Unit] = {}
    for spec in specs:
        name = UnitName.parse(spec)
        if ":" not in spec or name.kind not in _kinds:
            raise UsageError(
                f"unknown unit '{spec}'; a unit is KIND:ADDRESS, for example induction:1.2 or 'induction:*', "
                f"with a kind of: {', '.join(sorted(_kinds))}"
            )
        for unit in _kinds[name.kind].parse(name.address, model):
            named = unit.with_probe(name.probe or probe or unit.DEFAULT)
            units[named.name] = named
    return list(units.values())
