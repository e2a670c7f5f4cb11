"""From top-ranked samples to new training data: distil patterns, audit them, generate, render rows, audit those.

    samples.py, distill.py, registry.py    top samples -> patterns, merged (close.py), with provenance
    pattern.py, matcher.py, follow.py      what a pattern is; does a text hold it, does a text follow it
    miner/, distill_llm.py, llm/           the two engines: by rule, and by a language model (reading.py: its answers)
    audit_patterns.py                      do patterns occur where influence is high?
    generate.py, codegen.py, checks.py     patterns -> Python functions that pass every check
    sandbox/                               where generated code runs, and what it may say
    render/                                functions -> rows of tokens
    audit_data.py, diversity.py            do rows carry influence, and do they run out of new things to say?
    demo/                                  all of it, and retraining
    cli.py, commands.py                    the command line

Dependencies point one way: ``synth`` imports ``curator``, never the reverse.
"""
