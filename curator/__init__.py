"""Mechanistic data attribution for GPT-NeoX training data.

Start in ``curator/cli`` for what the tool does, in ``curator/library.py`` for what a notebook calls, in
``curator/influence`` for how a training sample gets its score, and in docs/design.md for everything else.
"""

import sys
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any

__version__ = "0.1.0"


def from_library(package: str) -> Callable[[str], Any]:
    """The ``__getattr__`` of a package that gives the names of its ``library``, imported at the first of them."""

    def get(name: str) -> Any:
        if not name.startswith("_"):
            library = import_module(f"{package}.library")
            if name in library.__all__:
                return getattr(library, name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return get


def names_of(package: str) -> Callable[[], list[str]]:
    """The ``__dir__`` of such a package: what is there, and what its library gives."""

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *import_module(f"{package}.library").__all__})

    return names


def callable_room(name: str) -> None:
    """Let a room that bears the name of its stage be called as one: ``curator.scan(settings)``."""
    package, _, stage = name.rpartition(".")

    class Room(ModuleType):
        def __call__(self, *given: Any, **named: Any) -> Any:
            return getattr(import_module(f"{package}.library"), stage)(*given, **named)

    sys.modules[name].__class__ = Room


__getattr__ = from_library(__name__)
__dir__ = names_of(__name__)
