"""The whole loop on one machine, in minutes: what ``make demo`` runs.

``settings.py`` says what is trained and compared, ``replicate.py`` does one training seed from corpus to arms,
``run.py`` runs the seeds side by side, ``report.py`` writes the table, the plot and the samples.
"""
