"""Where generated code runs: one locked process at a time, spoken to in plain text.

Outside: ``sandbox.py`` is the door, which asks ``policy.py`` first and refuses where too little can be shut;
``launcher.py`` says how a process is started (with bubblewrap where that works); ``process.py`` and ``channel.py``
feed, watch and end it; ``hosts.py`` holds what could differ from machine to machine, and is set.
Inside: ``runner.py`` is the trusted program, which puts on the locks (``locks.py``, ``seccomp.py``, ``limits.py``),
proves by trying that they hold (``proof.py``), and only then runs what it was given, with ``facades.py`` for modules,
``still.py`` for clock and chance, and ``records.py`` for dataclasses.
"""

from synth.sandbox.failure import Failure, Limits
from synth.sandbox.hosts import HOSTS, Host
from synth.sandbox.sandbox import LAYERS, Layer, Sandbox, active_layers

__all__ = ["HOSTS", "LAYERS", "Failure", "Host", "Layer", "Limits", "Sandbox", "active_layers"]
