"""GPT-NeoX calls make at the start of every run; where its index helper is compiled for this Python, there is no need.

What make does is tested by test_neox_launch.py, and done by every run that is started as users start one.
"""

import importlib.machinery
from pathlib import Path

from megatron.data import data_utils


def once() -> None:
    """Call make in this process only where the helper is not there."""
    folder = Path(data_utils.__file__).parent
    if any((folder / f"helpers{suffix}").exists() for suffix in importlib.machinery.EXTENSION_SUFFIXES):
        data_utils.compile_helper = lambda: None
