"""Curves of units over checkpoints, and the window in which a unit forms (paper, section 4).

The room bears the name of its stage, so it can be called as one: ``curator.scan(settings)``.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import Any


class _Room(ModuleType):
    """A module that is the stage as well."""

    def __call__(self, *given: Any, **named: Any) -> Any:
        return import_module("curator.library").scan(*given, **named)


sys.modules[__name__].__class__ = _Room
