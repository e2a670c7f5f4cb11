"""Mechanistic data attribution for GPT-NeoX training data.

Start in ``curator/cli.py`` for what the tool does, and in ``curator/influence`` for how a
training sample gets its score.
"""

__version__ = "0.1.0"
