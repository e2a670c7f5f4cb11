"""How the runner is started: a bare interpreter, with bubblewrap around it where that is installed and works.

The interpreter is the real one behind a virtual environment, isolated: no site-packages, no user files, no folder of
ours on its path, and no environment but what ``hosts.py`` sets. (``-I`` would do that too, but then the hash seed is
ignored, which can be set in no other way.) It cannot read our files, and so gets the runner's modules as text.
Bubblewrap gives it every namespace, a file system of what an interpreter needs to start, and death with its parent;
what the runner locks behind that is the same with and without it.
"""

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from synth.sandbox.hosts import FIXED

INSIDE = ("wire", "modules", "records", "still", "facades", "limits", "seccomp", "locks", "proof", "runner")
"""The modules of this package that run inside, each after those that it imports."""
ISOLATED = ("-s", "-S", "-B", *(["-P"] if sys.version_info >= (3, 11) else []))
"""What ``-I`` stands for, but for the environment; before 3.11, `BOOTSTRAP` alone keeps the folder off the path."""
SYSTEM = ("/usr", "/lib", "/lib64", "/lib32", "/bin", "/etc/ld.so.cache", "/etc/alternatives")
"""What a dynamically linked interpreter may need to start."""
BOOTSTRAP = """
import sys
sys.path[:] = [place for place in sys.path if place]
for name, text in {modules!r}:
    sys.modules[name] = module = type(sys)(name)
    exec(compile(text, name, "exec"), vars(module))
module.main()
"""


def interpreter() -> str:
    """The real path of the Python that runs us, outside any virtual environment."""
    return os.path.realpath(sys.executable)


@functools.cache
def program() -> str:
    """The runner with all its modules, as one text."""
    folder = Path(__file__).parent
    names = [
        (f"{__package__}.{name}", (folder / f"{name}.py").read_text(encoding="utf-8")) for name in INSIDE
    ]
    return BOOTSTRAP.format(modules=names)


def command(bubblewrap: bool, environment: Mapping[str, str] = FIXED.variables()) -> list[str]:
    """The words that start the runner; ``environment`` is for bubblewrap, which clears what it is given."""
    words = [interpreter(), *ISOLATED, "-c", program()]
    return [*_bubblewrap(environment), *words] if bubblewrap else words


def _bubblewrap(environment: Mapping[str, str]) -> list[str]:
    words = [
        shutil.which("bwrap") or "bwrap",
        "--unshare-all",
        "--die-with-parent",
        "--new-session",
        "--clearenv",
        *(word for name, value in environment.items() for word in ("--setenv", name, value)),
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
    trial = [*_bubblewrap({}), interpreter(), "-I", "-S", "-c", "print('up')"]
    try:
        done = subprocess.run(trial, capture_output=True, text=True, timeout=20, env={}, cwd="/")
    except (OSError, subprocess.TimeoutExpired) as error:
        return False, str(error)[:200]
    if done.stdout.strip() == "up":
        return True, "namespaces of its own, of processes too; of files, the interpreter's alone, read-only"
    return False, f"a trial run failed: {done.stderr.strip()[:200]}"
