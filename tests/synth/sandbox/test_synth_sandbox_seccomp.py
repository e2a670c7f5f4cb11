"""The filter's program, run by a small machine of our own: what it answers for every call, on both architectures.

So the answers are known without making the calls, and for the architecture that this machine is not.
"""

import struct
from collections.abc import Iterator

import pytest

from synth.sandbox.seccomp import ALLOW, AUDIT_ARCH, CALLS, KILL, PROT_EXEC, REFUSE, program

machines = pytest.mark.parametrize("machine", CALLS)
EVERY_NUMBER = range(1024)


def answer(code: bytes, arch: int, number: int, arguments: tuple[int, ...] = (0,) * 6) -> int:
    """What a program in the kernel's classic BPF returns for one call."""
    data = struct.pack("IIQ6Q", number, arch, 0, *arguments)
    lines = list(struct.iter_unpack("HBBI", code))
    place, value = 0, 0
    while True:
        operation, if_true, if_false, constant = lines[place]
        place += 1
        if operation == 0x06:
            return int(constant)
        if operation == 0x20:
            (value,) = struct.unpack_from("I", data, constant)
        else:
            holds = {0x15: value == constant, 0x35: value >= constant, 0x45: bool(value & constant)}[
                operation
            ]
            place += if_true if holds else if_false


def checked(machine: str) -> Iterator[tuple[str, tuple[int, ...], int]]:
    """(call, arguments, answer) of the calls whose arguments are looked at."""
    for descriptor in range(5):
        yield "read", (descriptor, 0, 0, 0, 0, 0), ALLOW if descriptor == 0 else REFUSE
        yield "write", (descriptor, 0, 0, 0, 0, 0), ALLOW if descriptor == 1 else REFUSE
        # the kernel takes a descriptor's low word alone, and so must the filter
        yield "write", (descriptor | 1 << 32, 0, 0, 0, 0, 0), ALLOW if descriptor == 1 else REFUSE
    for protection in range(8):
        for name in ("mmap", "mprotect"):
            yield name, (0, 4096, protection, 0, 0, 0), REFUSE if protection & PROT_EXEC else ALLOW


@machines
def test_a_call_is_allowed_if_and_only_if_it_is_listed(machine: str) -> None:
    code, arch = program(machine), AUDIT_ARCH[machine]
    free = {n for name, n in CALLS[machine].items() if name not in ("read", "write", "mmap", "mprotect")}
    assert {n for n in EVERY_NUMBER if answer(code, arch, n, (9, 9, 4, 9, 9, 9)) == ALLOW} == free
    assert {answer(code, arch, n, (9, 9, 4, 9, 9, 9)) for n in EVERY_NUMBER} == {ALLOW, REFUSE}


@machines
def test_reading_writing_and_mapping_are_allowed_by_their_arguments(machine: str) -> None:
    code, arch = program(machine), AUDIT_ARCH[machine]
    for name, arguments, expected in checked(machine):
        assert answer(code, arch, CALLS[machine][name], arguments) == expected, (name, arguments)


@machines
def test_another_architecture_or_numbering_kills(machine: str) -> None:
    code = program(machine)
    for arch in (0x40000003, 0x40000028, 0, *(a for m, a in AUDIT_ARCH.items() if m != machine)):  # i386, ARM
        assert {answer(code, arch, n) for n in EVERY_NUMBER} == {KILL}
    assert {answer(code, AUDIT_ARCH[machine], 0x40000000 + n) for n in EVERY_NUMBER} == {KILL}
    assert answer(code, AUDIT_ARCH[machine], 0xFFFFFFFF) == KILL


def test_nothing_that_reaches_outside_is_listed() -> None:
    harmless = {
        "read",
        "write",
        "mmap",
        "mprotect",
        "munmap",
        "brk",
        "mremap",
        "madvise",
        "futex",
        "getrandom",
    }
    harmless |= {"rt_sigprocmask", "rt_sigreturn", "clock_gettime", "exit", "exit_group"}
    assert all(set(calls) == harmless for calls in CALLS.values())


def test_a_machine_without_a_table_is_refused() -> None:
    with pytest.raises(OSError, match="no table of system calls for riscv64"):
        program("riscv64")
