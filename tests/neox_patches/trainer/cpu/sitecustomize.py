"""Lets an unmodified GPT-NeoX checkout run without a GPU. Put this folder on PYTHONPATH.

Python imports this module at its start. Nothing happens until ``deepspeed`` or ``megatron`` is imported for the
first time; then `cpu_shim` stands in for the few CUDA calls on the training path.
"""

import importlib.abc
import sys


class _BeforeNeoX(importlib.abc.MetaPathFinder):
    """Finds nothing itself: it only notices the first import of what needs the shim."""

    def find_spec(self, name, path=None, target=None):  # type: ignore[no-untyped-def]
        if name in ("deepspeed", "megatron"):
            import cpu_shim

            cpu_shim.install()
            if name == "megatron":
                sys.meta_path.remove(self)
                cpu_shim.deepspeed_on_any_cpu()
        return None


sys.meta_path.insert(0, _BeforeNeoX())
