"""Processes of their own, forked from a server that has the engine imported: each starts in a fraction of a second.

For what is killed, interrupted or at work beside another; that a command starts at all is shown by real ones. A
function that runs in one must stand in a module that can be imported, which a test file cannot.
"""

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from importlib import import_module
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(
    [
        "curator.ranking.run",
        "curator.cli.commands",
        "synth.audit.rows",
        "synth.cli.commands",
        "openai",
        "pytest",
    ]
)


def die(hits: Callable[[Path], bool], moment: str) -> None:
    """SIGKILL to this process ``before`` or ``after`` a file that ``hits`` appears; ``stop``: SIGSTOP after it."""
    replace = os.replace

    def dying(source: Any, target: Any) -> None:
        hit = hits(Path(target))
        if hit and moment == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target)
        if hit:
            os.kill(os.getpid(), signal.SIGSTOP if moment == "stop" else signal.SIGKILL)

    os.replace = dying  # type: ignore[assignment]


def _command(program: str, words: list[str], cwd: Path, prepare: Callable[..., None], given: Any) -> None:
    """Runs in another process."""
    import torch

    main = import_module(f"{program}.cli.app").main
    prepare(*given)
    torch.set_num_threads(1)  # the same bits in every run, and no fight for cores
    os.chdir(cwd)
    sys.argv = [program, *words]
    with open("said.txt", "w") as sys.stdout, open("errors.txt", "w", buffering=1) as sys.stderr:
        main()


def _as_it_is() -> None:
    """Nothing."""


def command(
    program: str, *words: Any, cwd: Path, prepare: Callable[..., None] = _as_it_is, given: Any = ()
) -> BaseProcess:
    """`curator WORDS` or `synth WORDS` in ``cwd``, where ``said.txt`` and ``errors.txt`` are what it prints.

    ``prepare(*given)`` is called in the new process before.
    """
    texts = [str(word) for word in words]
    process = PROCESSES.Process(target=_command, args=(program, texts, cwd, prepare, given))
    process.start()
    return process


def finish(process: BaseProcess, seconds: float = 300) -> int | None:
    """The exit code; None of a process that hangs, which is ended."""
    process.join(seconds)
    code = process.exitcode
    if code is None:
        process.kill()
        process.join()
    return code
