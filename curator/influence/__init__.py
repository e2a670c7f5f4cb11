"""How a training sample gets its score: influence in a unit's own parameter subspace, EK-FAC by default.

Read in this order: ``cross_entropy`` (the loss without logits), ``taps`` (inputs and output
gradients of chosen linear layers), ``factors`` (A, S and per-sample eigenvalues), ``curvature``
(damping and the query P), ``preconditioners`` (what else may stand for H⁻¹), ``probe_gradient``,
``scorer`` (the contraction), ``norms`` (of the samples' gradients). The sharded, resumable whole is
``curator.ranking.run``.
"""
