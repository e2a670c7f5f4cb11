"""Rendering: generators become rows of ``seq_length + 1`` tokens, an exact number of them, none twice.

A row is a pure function of its generator, the seed, the pattern and a candidate number k = 0, 1, 2, …: its texts have
the seeds ``{seed}/{pattern_id}/{k}/{part}``. So rows can be made in any order, by any number of processes, again after
a kill, and again from the manifest years later.

    settings.py   which rows are wanted, and what decides them
    fill.py       texts of one generator -> rows
    task.py       a range of candidates -> one shard on disk; what worker processes do
    mix.py        which candidates are needed: shares by weight, duplicates, exhausted and failing patterns
    run.py        claims the folder, makes what is missing, puts the rows in seeded order
    folder.py     the finished folder: mmap-ninja rows, provenance of each, manifest
    verify.py     makes rows again and compares
"""

from curator import callable_room

callable_room(__name__)
