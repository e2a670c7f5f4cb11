"""The kernel's locks, put on by the process that they shut in, each as far as the kernel offers it.

Always: no new privileges, no capabilities, death with the parent, no look in from other processes.
namespaces  users, mounts, network, IPC, host name, control groups; the root is an empty read-only tmpfs. Signals and
            new processes stay possible, and sockets of the machine's hypervisor.
landlock    no file opened or changed; from ABI 4 no TCP, from ABI 6 no signals and abstract sockets. Names and sizes
            of files stay visible, UDP and new processes possible.
seccomp     nothing but the calls in ``seccomp.py``; alone it shuts all that ``proof.py`` tries.
"""

from __future__ import annotations

import os
import struct
import sys

from synth.sandbox.seccomp import CALLS, program

TYPE_CHECKING = False  # `typing` is slow to import, and one process is started per generator
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

NAMESPACES = 0x10000000 | 0x20000 | 0x40000000 | 0x08000000 | 0x04000000 | 0x02000000
"""CLONE_NEWUSER, NEWNS, NEWNET, NEWIPC, NEWUTS, NEWCGROUP."""
NOSUID_NODEV_NOEXEC, READ_ONLY, REMOUNT, PRIVATE_ALL, DETACH = 2 | 4 | 8, 1, 32, 1 << 18 | 1 << 14, 2
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 1, 4, 22, 38
NUMBERS = {
    "x86_64": {"pivot_root": 155, "capset": 126, "keyctl": 250},
    "aarch64": {"pivot_root": 41, "capset": 91, "keyctl": 219},
}
"""Of calls that the C library does not offer; Landlock's are the same everywhere."""
LANDLOCK_CREATE, LANDLOCK_RESTRICT = 444, 446


class Locks:
    """What could be locked, and why the rest could not.

    Attributes:
        held: for each lock that was wanted, whether it is on, and what it says.
    """

    def __init__(self, wanted: Sequence[str]):
        self.held: dict[str, tuple[bool, str]] = {}
        self._wanted = wanted
        self._libc: Any = None

    def put_on(self, limit: Callable[[], None]) -> None:
        """All of them; ``limit`` sets the resource limits, just before nothing can be set any more."""
        if sys.platform == "linux":
            self._attempt("no_new_privileges", self._no_new_privileges, always=True)
            self._attempt("namespaces", self._namespaces)
            self._attempt("no_capabilities", self._no_capabilities, always=True)
            self._attempt("landlock", self._landlock)
            self._attempt("unseen", self._unseen, always=True)
        limit()
        if sys.platform == "linux":
            self._attempt("seccomp", self._seccomp)

    def _attempt(self, name: str, lock: Callable[[], str], always: bool = False) -> None:
        if not always and name not in self._wanted:
            return
        try:
            if self._libc is None:
                import ctypes  # some builds of Python have none; then no lock can be put on

                self._libc = ctypes.CDLL(None, use_errno=True)
            self.held[name] = True, lock()
        except Exception as error:
            self.held[name] = False, f"{type(error).__name__}: {error}"

    def _no_new_privileges(self) -> str:
        self._call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        return "no new privileges"

    def _no_capabilities(self) -> str:
        """Those of a user namespace too, whether or not the rest of it could be made."""
        self._syscall(NUMBERS[_machine()]["capset"], struct.pack("Ii", 0x20080522, 0), bytes(24))
        return "no capabilities"

    def _unseen(self) -> str:
        self._call("prctl", PR_SET_PDEATHSIG, 9, 0, 0, 0)
        self._call("prctl", PR_SET_DUMPABLE, 0, 0, 0, 0)
        return "dies with its parent; no process looks in"

    def _namespaces(self) -> str:
        self._call("unshare", NAMESPACES)
        self._call("mount", b"none", b"/", None, PRIVATE_ALL, None)
        place = next(p for p in ("/tmp", "/mnt", "/var", "/home", "/usr") if os.path.isdir(p)).encode()
        self._call("mount", b"none", place, b"tmpfs", NOSUID_NODEV_NOEXEC, b"size=4k,mode=555")
        os.chdir(place)
        self._syscall(NUMBERS[_machine()]["pivot_root"], b".", b".")
        self._call("umount2", b".", DETACH)  # the old root
        os.chdir("/")
        self._call("mount", b"none", b"/", None, NOSUID_NODEV_NOEXEC | READ_ONLY | REMOUNT, None)
        self._attempt("own_keyring", self._own_keyring, always=True)
        return "an empty read-only root, no network, no shared memory of others"

    def _own_keyring(self) -> str:
        self._syscall(NUMBERS[_machine()]["keyctl"], 1, None)  # KEYCTL_JOIN_SESSION_KEYRING
        return "keys of the session are out of reach"

    def _landlock(self) -> str:
        """A ruleset that handles everything the kernel knows and allows nothing."""
        version = self._syscall(LANDLOCK_CREATE, None, 0, 1)
        attributes = struct.pack("Q", (1 << {1: 13, 2: 14, 3: 15, 4: 15}.get(version, 16)) - 1)
        shut = ["files"]
        if version >= 4:
            attributes += struct.pack("Q", 3)  # bind and connect
            shut.append("TCP")
        if version >= 6:
            attributes += struct.pack("Q", 3)
            shut += ["abstract sockets", "signals"]
        ruleset = self._syscall(LANDLOCK_CREATE, attributes, len(attributes), 0)
        self._syscall(LANDLOCK_RESTRICT, ruleset, 0)
        os.close(ruleset)
        return f"ABI {version}: no {', no '.join(shut)}; names and sizes of files stay visible"

    def _seccomp(self) -> str:
        import ctypes

        machine = _machine()
        code = program(machine)
        buffer = ctypes.create_string_buffer(code)
        filters = struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(buffer))
        self._call("prctl", PR_SET_SECCOMP, 2, filters, 0, 0)
        return f"{len(CALLS[machine])} system calls are left: memory, clock, random bytes, the two pipes, the end"

    def _call(self, name: str, *arguments: int | bytes | None) -> int:
        """A function of the C library; numbers are passed as full words."""
        import ctypes

        words = [ctypes.c_ulong(a) if isinstance(a, int) else a for a in arguments]
        result: int = self._libc[name](*words)
        if result < 0:
            code = ctypes.get_errno()
            raise OSError(code, f"{name}: {os.strerror(code)}")
        return result

    def _syscall(self, number: int, *arguments: int | bytes | None) -> int:
        return self._call("syscall", number, *arguments)


def _machine() -> str:
    machine = os.uname().machine
    if machine not in NUMBERS:
        raise OSError(f"no table of system calls for {machine}")
    return machine
