"""Tag v1.0, with which Pythia was trained."""

from neox_patches.adapters.base import Adapter


class V1Adapter(Adapter):
    """GPT-NeoX v1.0; it never advances ``neox_args.iteration`` while it trains, so steps are counted by us."""

    schedule_note = (
        "in v1.0 the first step's learning rate is 0: the weights after step 0 and step 1 are equal"
    )
