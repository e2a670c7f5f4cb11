"""What differs between GPT-NeoX generations, one small class each; `adapter_for` picks by what the checkout is."""

from curator.neox.checkout import Checkout
from neox_patches.adapters.base import Adapter
from neox_patches.adapters.head import HeadAdapter
from neox_patches.adapters.v1 import V1Adapter
from neox_patches.adapters.v2 import V2Adapter

__all__ = ["Adapter", "adapter_for"]

_ADAPTERS: dict[str, type[Adapter]] = {"HEAD": HeadAdapter, "v1.0": V1Adapter, "2.x": V2Adapter}


def adapter_for(checkout: Checkout) -> Adapter:
    """The adapter of a checkout that `curator.neox.checkout.inspect_checkout` has looked at."""
    return _ADAPTERS[checkout.generation](checkout)
