"""Scores of samples that need no gradient, as rankings of their own: what an influence ranking must be better than.

A statistic is one small class in a file of its own; ``registry.py`` lists them, ``stage.py`` makes the ranking folder.
"""

from curator import callable_room

callable_room(__name__)
