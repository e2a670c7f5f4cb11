"""Run-time patches for an unmodified GPT-NeoX checkout (not built yet: see README, *State*).

They will make the official trainer follow a ``curator`` plan and emit per-sample subspace
gradients. Dependencies point one way: ``neox_patches`` imports ``curator``, never the reverse.
"""
