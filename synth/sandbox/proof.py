"""What is shut, found by trying to break out; a lock that says it is on proves nothing.

files      opening the interpreter (which could be opened before), seeing that it is there, making a file anywhere
network    TCP and UDP over IPv4 and IPv6, and a socket of the machine's hypervisor
processes  starting one, a signal to the parent, reading the parent's memory
memory     more address space than the limit, and shared memory, which the limit does not count
"""

from __future__ import annotations

import _socket
import errno
import mmap
import os
import sys

TYPE_CHECKING = False  # `typing` is slow to import, and one process is started per generator
if TYPE_CHECKING:
    from collections.abc import Callable

PLACES = ("/", "/tmp", "/var/tmp", "/dev/shm")
"""Where a file might be made."""
UNREACHABLE = (
    errno.EPERM,
    errno.EACCES,
    errno.ENETUNREACH,
    errno.ENETDOWN,
    errno.EADDRNOTAVAIL,
    errno.EAFNOSUPPORT,
)
"""What a shut network answers; a refused connection came from an open one."""
NO_SUCH = (errno.EPERM, errno.EACCES, errno.ESRCH)
"""What the attempt to touch a process out of reach answers."""


class Proof:
    """Made before the locks, asked after them.

    Args:
        parent: process id of the parent, in the parent's numbering.
        memory_bytes: the limit on address space.
    """

    def __init__(self, parent: int, memory_bytes: int):
        self._parent = parent
        self._memory_bytes = memory_bytes
        self._was_open = _refused(lambda: os.close(os.open(sys.executable, os.O_RDONLY))) == 0

    def shut(self) -> dict[str, str]:
        """Why each of files, network, processes and memory is shut; what is open is left out."""
        found = {
            "files": self._files(),
            "network": self._network(),
            "processes": self._processes(),
            "memory": self._memory(),
        }
        return {name: why for name, why in found.items() if why}

    def _files(self) -> str:
        if not self._was_open:
            return ""
        codes = {
            "open": _refused(lambda: os.close(os.open(sys.executable, os.O_RDONLY))),
            "stat": _refused(lambda: os.stat(sys.executable)),
        }
        for place in PLACES:
            path = os.path.join(place, f"synth-sandbox-proof-{self._parent}")
            codes[f"create in {place}"] = _refused(lambda path=path: _create(path))  # type: ignore[misc]
        return _say(codes, all(codes.values()))

    def _network(self) -> str:
        codes = {}
        for family, address in ((_socket.AF_INET, "127.0.0.1"), (_socket.AF_INET6, "::1")):
            for kind in (_socket.SOCK_STREAM, _socket.SOCK_DGRAM):
                talk = _refused(lambda f=family, k=kind, a=address: _talk(f, k, a))  # type: ignore[misc]
                codes[f"{'TCP' if kind == _socket.SOCK_STREAM else 'UDP'} to {address}"] = talk
        hypervisor = getattr(_socket, "AF_VSOCK", None)
        if hypervisor is not None:
            codes["vsock"] = _refused(lambda: _socket.socket(hypervisor, _socket.SOCK_STREAM).close())
        return _say(codes, all(code in UNREACHABLE for code in codes.values()))

    def _processes(self) -> str:
        codes = {
            "fork": _refused(_fork),
            "signal": _refused(lambda: os.kill(self._parent, 0)),
            "memory of others": _refused(self._peek),
        }
        reached = any(code not in NO_SUCH for name, code in codes.items() if name != "fork")
        return _say(codes, bool(codes["fork"]) and not reached)

    def _memory(self) -> str:
        codes = {
            "beyond the limit": _refused(lambda: mmap.mmap(-1, self._memory_bytes).close()),
            "shared": _refused(_share),
        }
        return _say(codes, all(codes.values()))

    def _peek(self) -> None:
        """A byte from where the parent has none: EFAULT says that it could be looked for."""
        import ctypes

        libc = ctypes.CDLL(None, use_errno=True)
        byte = ctypes.create_string_buffer(1)
        ours = (ctypes.c_size_t * 2)(ctypes.addressof(byte), 1)
        theirs = (ctypes.c_size_t * 2)(8, 1)
        word = ctypes.c_ulong
        if libc.process_vm_readv(self._parent, ours, word(1), theirs, word(1), word(0)) < 0:
            raise OSError(ctypes.get_errno(), "process_vm_readv")


def _refused(attempt: Callable[[], object]) -> int:
    """The error number with which the attempt failed; 0 when it succeeded, or could not be made at all."""
    try:
        attempt()
    except OSError as error:
        return error.errno or 0
    except (ImportError, AttributeError):
        return 0
    return 0


def _say(codes: dict[str, int], shut: bool) -> str:
    return (
        ", ".join(f"{name}: {errno.errorcode.get(code, code)}" for name, code in codes.items())
        if shut
        else ""
    )


def _create(path: str) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    os.unlink(path)


def _talk(family: int, kind: int, address: str) -> None:
    one = _socket.socket(family, kind)
    try:
        one.settimeout(1)
        one.connect((address, 9))
        one.send(b"x")
    finally:
        one.close()


def _fork() -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)


def _share() -> None:
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    segment = libc.shmget(0, ctypes.c_size_t(4096), 0o600)
    if segment < 0:
        raise OSError(ctypes.get_errno(), "shmget")
    libc.shmctl(segment, 0, None)
