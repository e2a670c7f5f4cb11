"""The system calls that a locked process may still make, as a program for the kernel's filter.

An allowlist: memory, the clock, random bytes, reading descriptor 0, writing descriptor 1, and the end. Everything
else fails with EPERM; a call in another architecture's numbering (32-bit, x32) kills. Memory cannot be made executable,
so that no machine code can be brought along.
"""

import errno
import struct

CALLS: dict[str, dict[str, int]] = {
    "x86_64": {
        "read": 0,
        "write": 1,
        "mmap": 9,
        "mprotect": 10,
        "munmap": 11,
        "brk": 12,
        "rt_sigprocmask": 14,
        "rt_sigreturn": 15,
        "mremap": 25,
        "madvise": 28,
        "exit": 60,
        "futex": 202,
        "clock_gettime": 228,
        "exit_group": 231,
        "getrandom": 318,
    },
    "aarch64": {
        "read": 63,
        "write": 64,
        "mmap": 222,
        "mprotect": 226,
        "munmap": 215,
        "brk": 214,
        "rt_sigprocmask": 135,
        "rt_sigreturn": 139,
        "mremap": 216,
        "madvise": 233,
        "exit": 93,
        "futex": 98,
        "clock_gettime": 113,
        "exit_group": 94,
        "getrandom": 278,
    },
}
"""The numbers of the allowed calls, by machine."""
AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""What the kernel calls these machines; both are little-endian."""
ALLOW, REFUSE, KILL = 0x7FFF0000, 0x00050000 | errno.EPERM, 0x80000000
"""What the filter answers: SECCOMP_RET_ALLOW, _ERRNO, _KILL_PROCESS."""
LOAD, IF_EQUAL, IF_AT_LEAST, IF_ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
NUMBER, ARCH, ARGUMENT_0, ARGUMENT_2 = 0, 4, 16, 32
"""Where `struct seccomp_data` holds them; of an argument, the low word is what the kernel looks at here."""
PROT_EXEC = 4


def program(machine: str) -> bytes:
    """The filter for a machine, 8 bytes per instruction.

    Raises:
        OSError: there is no table for the machine.
    """
    if machine not in CALLS or struct.calcsize("P") != 8:
        raise OSError(errno.ENOSYS, f"no table of system calls for {machine}")
    calls = CALLS[machine]
    lines = [_do(LOAD, ARCH), _do(IF_EQUAL, AUDIT_ARCH[machine], 1, 0), _do(RETURN, KILL), _do(LOAD, NUMBER)]
    lines += [_do(IF_AT_LEAST, 0x40000000, 0, 1), _do(RETURN, KILL)]  # x32
    checked = {
        "read": (ARGUMENT_0, _do(IF_EQUAL, 0, 0, 1)),
        "write": (ARGUMENT_0, _do(IF_EQUAL, 1, 0, 1)),
        "mmap": (ARGUMENT_2, _do(IF_ANY_BIT, PROT_EXEC, 1, 0)),
        "mprotect": (ARGUMENT_2, _do(IF_ANY_BIT, PROT_EXEC, 1, 0)),
    }
    for name, number in calls.items():
        if name in checked:
            place, test = checked[name]
            lines += [_do(IF_EQUAL, number, 0, 4), _do(LOAD, place), test]
            lines += [_do(RETURN, ALLOW), _do(RETURN, REFUSE)]
        else:
            lines += [_do(IF_EQUAL, number, 0, 1), _do(RETURN, ALLOW)]
    return b"".join([*lines, _do(RETURN, REFUSE)])


def _do(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("HBBI", code, if_true, if_false, value)
