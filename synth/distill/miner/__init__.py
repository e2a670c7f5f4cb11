"""The builtin engine: a deterministic template miner, no model and no network.

``repeats.py`` finds what a sample repeats; ``literal.py`` turns strings that many samples repeat into anchors, and
what varies between them into fields (``align.py``, ``infer.py``); ``structural.py`` describes samples that repeat each
its own string by the shape of the repetition alone. ``mine.py`` strings them together.
"""

from synth.distill.miner.mine import mine

__all__ = ["mine"]
