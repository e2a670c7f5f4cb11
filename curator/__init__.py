"""Mechanistic data attribution for GPT-NeoX training data.

Start in ``curator/cli`` for what the tool does, in ``curator/influence`` for how a training sample gets its score, and
in docs/design.md for everything else.
"""

__version__ = "0.1.0"
