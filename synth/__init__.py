"""From top-ranked samples to new training data: distil patterns, audit them, generate, render rows, audit those.

    samples.py, distill.py, registry.py    top samples -> patterns, merged (close.py), with provenance
    pattern.py, field.py, recurrence.py    what a pattern is
    matcher.py, search.py, over.py         does a text hold it (places.py: sets of places in a text)
    follow.py                              does a generated text follow it
    found.py                               a pattern, and the samples in which it occurs
    miner/, distill_llm.py, llm/           the two engines: by rule, and by a language model (reading.py: its answers)
    audit_patterns.py                      do patterns occur where influence is high?
    generate.py, codegen.py, checks.py     patterns -> Python functions that pass every check
    sandbox/                               where generated code runs, and what it may say
    render/                                functions -> rows of tokens
    audit_data.py, diversity.py            do rows carry influence, and do they run out of new things to say?
    fidelity.py, token_statistics.py       do they repeat as much as the samples of their pattern?
    demo/                                  all of it, and retraining
    cli.py, commands.py                    the command line

Dependencies point one way: ``synth`` imports ``curator``, never the reverse.
"""
