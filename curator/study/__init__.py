"""Studies: arms × seeds, their curves, and what is left of them when they are killed.

study.py       the study file: what is trained, where its head forms, which arms go on from there
arm.py         an arm: how its plan is built from ranking, corpus and rows that were made
replicate.py   one training seed, from the corpus to the last arm
run.py         seeds side by side
result.py      what one seed gave
validate.py    whether an order of samples foretells what training on random halves of the window does
files          the studies of this repository, in ``configs/studies``
"""
