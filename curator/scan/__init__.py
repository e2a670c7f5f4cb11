"""Curves of units over checkpoints, and the window in which a unit forms (paper, section 4)."""

from curator import callable_room

callable_room(__name__)
