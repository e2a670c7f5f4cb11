"""Where generated code runs: one locked process at a time, spoken to in plain text.

``runner.py`` is the trusted program inside, which locks itself in and proves it before it runs anything; ``process.py``
starts, watches and ends it; ``launcher.py`` says how it is started (with bubblewrap where that works); ``sandbox.py``
is the door: it asks the policy first, and refuses where too little can be shut.
"""

from synth.sandbox.process import Failure, Limits
from synth.sandbox.sandbox import LAYERS, Layer, Sandbox, active_layers

__all__ = ["LAYERS", "Failure", "Layer", "Limits", "Sandbox", "active_layers"]
