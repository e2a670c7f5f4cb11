"""The command line, and all that prints: options, one module per command, what comes next, the doctor."""

from curator.cli.app import app, main

__all__ = ["app", "main"]
