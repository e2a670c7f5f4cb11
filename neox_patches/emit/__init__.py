"""What comes out of the trainer's own backward pass.

``emitter`` runs it: ``blocks`` says what a rank owns, ``taps`` hooks linear maps of its layers, ``parts`` (made
by ``build``) turn their inputs and output gradients into scores, gradients and factors with curator's own engine,
``sums`` adds the factors up, ``store`` writes, and ``description`` says what was written.
"""

from neox_patches.emit.emitter import Emitter

__all__ = ["Emitter"]
