"""Interpretable units, one file per kind: each is its metric, its subspace and its probe.

To add a kind, subclass `Unit` and `register` it; nothing else changes (docs/units.md).
"""

from curator.units.base import Architecture, Block, Unit
from curator.units.registry import kinds, load_unit_module, parse_units, register
from curator.units.sequences import ProbeSettings, Sequences, draw_random, draw_repeated, load_sequences

__all__ = [
    "Architecture",
    "Block",
    "ProbeSettings",
    "Sequences",
    "Unit",
    "draw_random",
    "draw_repeated",
    "kinds",
    "load_sequences",
    "load_unit_module",
    "parse_units",
    "register",
]
