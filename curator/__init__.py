"""Mechanistic data attribution for GPT-NeoX training data.

Start in ``curator/cli`` for what the tool does, in ``curator/library.py`` for what a notebook calls, in
``curator/influence`` for how a training sample gets its score, and in docs/design.md for everything else.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """The names of `curator.library`, which is imported at the first of them."""
    if not name.startswith("_"):
        library = import_module("curator.library")
        if name in library.__all__:
            return getattr(library, name)
    raise AttributeError(f"module 'curator' has no attribute {name!r}")
