"""How a training sample gets its score: EK-FAC influence in a unit's own parameter subspace.

Read in this order: ``cross_entropy`` (the loss without logits), ``taps`` (inputs and output
gradients of chosen linear layers), ``factors`` (A, S and per-sample eigenvalues), ``curvature``
(damping and the query P), ``probe_gradient``, ``scorer`` (the contraction), ``run`` (the sharded,
resumable whole).
"""
