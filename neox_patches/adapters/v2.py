"""2.x, from a few commits after tag v2.0 on (6534f19e), until loaders got a function of their own."""

from neox_patches.adapters.base import Adapter


class V2Adapter(Adapter):
    """GPT-NeoX 2.x: a pipeline of one stage is run without the pipeline engine."""

    schedule_note = (
        "in 2.x the first step's learning rate is 0: the weights after step 0 and step 1 are equal"
    )
