"""The command line of `synth`: options, one module per command, the doctor."""

from synth.cli.app import app, main

__all__ = ["app", "main"]
