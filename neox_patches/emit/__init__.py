"""What comes out of the trainer's own backward pass.

``taps`` hooks the attention's two linear maps, ``parts`` turns their inputs and output gradients into scores, gradients
and factors with curator's own engine, ``store`` writes them, ``emitter`` runs the three.
"""

from neox_patches.emit.emitter import Emitter

__all__ = ["Emitter"]
