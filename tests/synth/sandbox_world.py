"""What attacks on the sandbox are after, watched from outside.

A `World` holds a secret, a file to spoil, sockets that listen, and the state of this very process. An attack has
succeeded when something here has changed, or when the secret came back in its text; what it claims counts only where
nothing outside can show it.
"""

import ctypes
import os
import resource
import secrets
import signal
import socket
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from types import FrameType

import psutil

from synth.sandbox import Failure, Limits, Sandbox

SHARED_KEY = 0x5A4D0000 + os.getpid() % 0xFFFF
"""Of a piece of shared memory that an attack tries to make."""

FILES = 4
"""In a world's folder at the start."""


class World:
    """Everything within reach of an attack; make it with `worlds`."""

    def __init__(self, folder: Path, stack: ExitStack):
        self.folder = folder
        self.secret = secrets.token_hex(16)
        self.secret_file = folder / "secret"
        self.secret_file.write_text(self.secret)
        self.secret_file.chmod(0o644)
        self.victim = folder / "victim"
        self.victim.write_text("untouched")
        os.utime(self.victim, (1e9, 1e9))
        self.canary = folder / "canary"
        (folder / "evil_module.py").write_text(f"WORD = {self.secret!r}\n")
        self.inherited = os.open(self.secret_file, os.O_RDONLY)
        os.set_inheritable(self.inherited, True)
        stack.callback(os.close, self.inherited)
        self.tcp = stack.enter_context(closing(socket.create_server(("127.0.0.1", 0))))
        self.udp = stack.enter_context(closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)))
        self.udp.bind(("127.0.0.1", 0))
        self.unix = stack.enter_context(closing(socket.socket(socket.AF_UNIX)))
        self.unix.bind(str(folder / "socket"))
        self.abstract = stack.enter_context(closing(socket.socket(socket.AF_UNIX)))
        self.address = f"\0{folder.name}"
        self.abstract.bind(self.address)
        for listener in (self.unix, self.abstract):
            listener.listen()
        for one in (self.tcp, self.udp, self.unix, self.abstract):
            one.setblocking(False)
        self.signals = 0
        before = signal.signal(signal.SIGUSR1, self._signalled)
        stack.callback(signal.signal, signal.SIGUSR1, before)
        self.cpus = os.sched_getaffinity(0)
        stack.callback(os.sched_setaffinity, 0, self.cpus)
        self.core = resource.getrlimit(resource.RLIMIT_CORE)
        stack.callback(_restore_core, self.core)
        stack.callback(shared_memory, SHARED_KEY)
        self.processes = 0  # of the sandbox, once the generator is loaded
        self.more_processes = 0

    def header(self) -> str:
        """The addresses, as lines of Python for an attack to begin with."""
        values = {
            "SECRET_FILE": str(self.secret_file),
            "VICTIM": str(self.victim),
            "CANARY": str(self.canary),
            "FOLDER": str(self.folder),
            "TCP": self.tcp.getsockname(),
            "UDP": self.udp.getsockname(),
            "UNIX": str(self.folder / "socket"),
            "ABSTRACT": self.address,
            "PARENT": os.getpid(),
            "INHERITED": self.inherited,
            "SHARED_KEY": SHARED_KEY,
        }
        return "".join(f"{name} = {value!r}\n" for name, value in values.items())

    def spoiled(self) -> list[str]:
        """All that has changed."""
        victim = self.victim.lstat() if self.victim.is_file() else None
        found = {
            "a file was made": len(list(self.folder.iterdir())) > FILES,
            "the victim is gone": victim is None,
            "the victim's mode": victim is not None and bool(victim.st_mode & stat.S_IXOTH),
            "the victim's time": victim is not None and victim.st_mtime != 1e9,
            "the victim's links": victim is not None and victim.st_nlink != 1,
            "TCP connection": _arrived(self.tcp),
            "UDP datagram": _arrived(self.udp),
            "connection to a socket file": _arrived(self.unix),
            "connection to an abstract socket": _arrived(self.abstract),
            "a signal": self.signals > 0,
            "processors": os.sched_getaffinity(0) != self.cpus,
            "limits": resource.getrlimit(resource.RLIMIT_CORE) != self.core,
            "a tracer": "TracerPid:\t0" not in Path("/proc/self/status").read_text(),
            "processes": self.more_processes > 0,
            "shared memory": shared_memory(SHARED_KEY),
        }
        return [name for name, changed in found.items() if changed]

    def _signalled(self, number: int, frame: FrameType | None) -> None:
        self.signals += 1


@contextmanager
def worlds() -> Iterator[World]:
    """A world in a short path (socket files need one), tidied up afterwards."""
    with tempfile.TemporaryDirectory(prefix="synth-", dir="/tmp") as folder, ExitStack() as stack:
        yield World(Path(folder), stack)


def run(world: World, source: str, sandbox: Sandbox, wait: float = 0.0) -> str:
    """What the program ``g`` of ``source`` writes, or why it wrote nothing; everything it started is over then."""
    try:
        with sandbox.load(world.header() + source, "g") as generator:
            world.processes = len(psutil.Process().children(recursive=True))
            said = next(generator.attempts([(1, 10)]))
            world.more_processes = len(psutil.Process().children(recursive=True)) - world.processes
    except Failure as failure:
        said = failure
    time.sleep(wait)
    return said if isinstance(said, str) else f"{said.kind}: {said}"


def limits(**values: float) -> Limits:
    """Short ones."""
    return Limits(**{"seconds": 5.0, **values})  # type: ignore[arg-type]


def shared_memory(key: int) -> bool:
    """Whether there is a piece of shared memory with this key; removes it."""
    libc = ctypes.CDLL(None)
    found = libc.shmget(key, ctypes.c_size_t(0), 0)
    if found >= 0:
        libc.shmctl(found, 0, None)
    return bool(found >= 0)


def _arrived(listener: socket.socket) -> bool:
    try:
        if listener.type == socket.SOCK_DGRAM:
            listener.recv(100)
        else:
            listener.accept()[0].close()
    except BlockingIOError:
        return False
    return True


def _restore_core(core: tuple[int, int]) -> None:
    soft, hard = core
    now = resource.getrlimit(resource.RLIMIT_CORE)[1]
    resource.setrlimit(resource.RLIMIT_CORE, (soft, hard if os.getuid() == 0 else now))
