"""The whole of `synth` on one machine: does rendered data speed a head up, and more than natural data would?

A study (``curator/study``) with a stage of its own between the ranking and the arms: ``rows.py`` goes from the ranking
to rendered rows. ``study.py`` is its file, ``report.py`` makes tables with intervals and plots.
Paper: Table 2 and appendix F, at tiny scale.
"""
