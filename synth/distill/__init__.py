"""From top samples to patterns (paper, section 6.1 and appendix J): by a language model, or the builtin miner."""

from curator import callable_room

callable_room(__name__)
