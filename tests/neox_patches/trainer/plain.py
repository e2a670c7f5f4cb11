"""Runs a script of a GPT-NeoX checkout without any of our patches: ``python plain.py HOME SCRIPT ARGUMENTS``.

What lets the checkout run on current packages is applied (neox_patches.compat), as it is with the patches.
"""

import importlib
import runpy
import sys
from pathlib import Path

from neox_patches import compat

if __name__ == "__main__":
    home, script, *arguments = sys.argv[1:]
    sys.path.insert(0, home)
    compat.apply(Path(home))
    compat.mend(importlib.import_module("megatron.training"))
    sys.argv = [script, *arguments]
    runpy.run_path(script, run_name="__main__")
