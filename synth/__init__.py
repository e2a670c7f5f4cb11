"""From top-ranked samples to new training data: distil patterns, audit them, generate, render rows, audit those.

    patterns/    what a pattern is, whether a text holds it, and the registry of all that were distilled
    distill/     top samples -> patterns: by a language model (llm.py), or by rule (miner/)
    generate/    patterns -> Python functions that pass every check
    sandbox/     where generated code runs, and what it may say
    render/      functions -> rows of tokens
    audit/       do patterns occur where influence is high, and do rows carry it, repeat as their samples, stay new?
    llm/         the model: requests, answers, what they cost
    library.py   the stages as a notebook calls them: ``synth.distill(synth.DistillSettings(...))``
    demo/        all of it, and retraining
    cli/         the command line

Dependencies point one way: ``synth`` imports ``curator``, never the reverse.
"""

from curator import from_library, names_of

__getattr__ = from_library(__name__)
__dir__ = names_of(__name__)
