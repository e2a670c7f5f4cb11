"""Run-time patches that make an unmodified GPT-NeoX checkout follow a plan and emit per-sample quantities.

    python -m neox_patches --patch study.yml deepy.py train.py -d configs pythia-14m.yml data.yml

Read in this order: ``settings`` (the patch file), ``launch`` (how every rank gets here), ``install`` (what is wrapped
and when), ``clock`` (from step and micro-batch to slots), ``data`` and ``loss`` (obeying a plan), ``emit`` (what comes
out), ``resume`` (what a checkpoint was trained with; ``unpatched``: a forgotten patch file). ``adapters`` holds what
differs between GPT-NeoX generations. Needs torch, numpy, PyYAML, pydantic and curator's light modules
alone, so that it loads in the environment of the checkout.
"""
