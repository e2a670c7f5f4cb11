"""How the runner is started: a bare interpreter, with bubblewrap around it where that is installed and works.

The interpreter is the real one behind a virtual environment, isolated (``-I -S -B``: no site-packages, no user
files, no environment). Bubblewrap gives it every namespace, a file system of what an interpreter needs to start, and
death with its parent; what the runner locks behind that is the same with and without it.
"""

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

RUNNER = Path(__file__).with_name("runner.py")
SYSTEM = ("/usr", "/lib", "/lib64", "/lib32", "/bin", "/etc/ld.so.cache", "/etc/alternatives")
"""What a dynamically linked interpreter may need to start."""


def interpreter() -> str:
    """The real path of the Python that runs us, outside any virtual environment."""
    return os.path.realpath(sys.executable)


def command(bubblewrap: bool) -> list[str]:
    """The words that start the runner."""
    words = [interpreter(), "-I", "-S", "-B", "-u", "-c", RUNNER.read_text(encoding="utf-8")]
    return [*_bubblewrap(), *words] if bubblewrap else words


def _bubblewrap() -> list[str]:
    words = [
        shutil.which("bwrap") or "bwrap",
        "--unshare-all",
        "--die-with-parent",
        "--new-session",
        "--clearenv",
    ]
    for place in dict.fromkeys(
        (*SYSTEM, sys.base_prefix, sys.base_exec_prefix, os.path.dirname(interpreter()))
    ):
        if not any(place.startswith(f"{other}/") for other in SYSTEM):
            words += ["--ro-bind-try", place, place]
    return [*words, "--chdir", "/", "--"]


@functools.cache
def bubblewrap_works() -> tuple[bool, str]:
    """Whether a trial run with bubblewrap succeeds, and what it says."""
    if sys.platform != "linux" or shutil.which("bwrap") is None:
        return False, "bwrap is not on the PATH"
    trial = [*_bubblewrap(), interpreter(), "-I", "-S", "-c", "print('up')"]
    try:
        done = subprocess.run(trial, capture_output=True, text=True, timeout=20, env={}, cwd="/")
    except (OSError, subprocess.TimeoutExpired) as error:
        return False, str(error)[:200]
    if done.stdout.strip() == "up":
        return True, "every namespace, a file system of the interpreter alone"
    return False, f"a trial run failed: {done.stderr.strip()[:200]}"
