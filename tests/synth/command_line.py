"""`synth` as it is typed, in this process through its real entry point, and in processes of its own."""

import subprocess
import sys
from functools import partial
from typing import Any

import test_cli

from synth.cli import main

run = partial(test_cli.run, main=main)
done = partial(test_cli.done, main=main)
refused = partial(test_cli.refused, main=main)


def process(*words: Any, **kwargs: Any) -> "subprocess.Popen[str]":
    """A process that has nothing to read; its output is piped."""
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-m", "synth.cli", *map(str, words)], **pipes, **kwargs)


def next_steps(said: str) -> list[list[str]]:
    """The commands that a printed hint names, as words."""
    import shlex

    _, found, hint = " ".join(said.split()).partition("Next: ")
    assert found, said
    return [shlex.split(command) for command in hint.split("; ")]
