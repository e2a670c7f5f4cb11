"""Curves: what a model does with data, as a number per step of a run."""
