"""The whole of `synth` on one machine: does rendered data speed a head up, and more than natural data would?

``settings.py`` says which arms are trained, ``pipeline.py`` runs the commands from ranking to rows, ``replicate.py``
does one training seed from the ranking to the arms, ``report.py`` writes tables with intervals and plots. It stands on
``curator.demo``, which makes corpus, baseline and ranking.
Paper: Table 2 and appendix F, at tiny scale.
"""
