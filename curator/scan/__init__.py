"""Curves of units over checkpoints, and the window in which a unit forms (paper, section 4)."""
