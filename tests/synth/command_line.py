"""`synth` as it is typed, in this process through its real entry point, and in processes of its own."""

import shlex
import subprocess
import sys
from functools import partial
from typing import Any

import commands

from synth.cli.app import main

run = partial(commands.run, main=main)
done = partial(commands.done, main=main)
refused = partial(commands.refused, main=main)
DISTILL = ["distill", "ranking", "--engine", "builtin", "--out", "new"]
GENERATE = ["generate", "patterns", "--engine", "builtin", "--all", "--out", "new"]
RENDER = ["render", "generators", "--count", 12, "--out", "new"]
AUDIT = ["audit", "data", "rows", "--ranking", "ranking", "--out", "new"]


def process(*words: Any, **kwargs: Any) -> "subprocess.Popen[str]":
    """A process that has nothing to read; its output is piped."""
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-m", "synth.cli", *map(str, words)], **pipes, **kwargs)


def next_step(said: str) -> list[str]:
    """The command that the last line names, as words."""
    last = said.rstrip("\n").splitlines()[-1]
    assert last.startswith("Next: ") and said.count("Next: ") == 1, said
    return shlex.split(last.removeprefix("Next: "))


def follow(said: str, expected: list[str], *more: Any) -> str:
    """The command of the last line is this one; what it prints, run with the flags ``more``."""
    assert next_step(said) == expected
    return {"synth": done, "curator": commands.done}[expected[0]](*commands.instead(expected[1:], more))


def changed(words: list[Any], old: Any, new: Any) -> list[Any]:
    """The command with one word for another."""
    assert words.count(old) == 1
    return [new if word == old else word for word in words]
