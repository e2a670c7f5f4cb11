"""From top-ranked samples to new training data (not built yet: see README, *State*).

Distil JSON patterns with a language model, write Python generators from them, run those in a
sandbox, render rows. Dependencies point one way: ``synth`` imports ``curator``, never the reverse.
"""
