"""How the runner is started: a bare interpreter, with bubblewrap around it where that is installed and works.

The interpreter is the real one behind a virtual environment, isolated (``-I -S -B``: no site-packages, no user
files, no environment). It cannot read our files, and so gets the runner's modules as text. Bubblewrap gives it every
namespace, a file system of what an interpreter needs to start, and death with its parent; what the runner locks
behind that is the same with and without it.
"""

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

INSIDE = ("wire", "modules", "facades", "limits", "seccomp", "locks", "proof", "runner")
"""The modules of this package that run inside, each after those that it imports."""
SYSTEM = ("/usr", "/lib", "/lib64", "/lib32", "/bin", "/etc/ld.so.cache", "/etc/alternatives")
"""What a dynamically linked interpreter may need to start."""
BOOTSTRAP = """
import sys
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


def command(bubblewrap: bool) -> list[str]:
    """The words that start the runner."""
    words = [interpreter(), "-I", "-S", "-B", "-c", program()]
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
        return True, "namespaces of its own, of processes too; of files, the interpreter's alone, read-only"
    return False, f"a trial run failed: {done.stderr.strip()[:200]}"
