"""The trusted program inside the sandbox: it locks itself in, proves it, and only then runs what it was given.

Started as ``python -I -S -B -c <this file>`` with an empty environment, it imports nothing but the standard library.
One JSON object per line each way. First line in: what to lock and what to run. First line out: which locks hold, as
found by trying to break them. Then chunks of calls in, one line per text out. Whatever the given code does to this
process, it can at most send other text: the parent believes nothing else.

Locks, in this order, each as far as the kernel offers it:
    namespaces  a user, mount, network, IPC and UTS namespace whose root is an empty read-only tmpfs
    landlock    no access to any file, TCP port, abstract socket or foreign process
    seccomp     nothing but computing, reading descriptor 0, writing descriptor 1, and exit
and before them no_new_privs, resource limits, and death with the parent.
"""

import ctypes
import errno
import json
import os
import platform
import resource
import socket
import struct
import sys

ALLOWED = (
    "base64",
    "binascii",
    "bisect",
    "calendar",
    "collections",
    "copy",
    "dataclasses",
    "datetime",
    "decimal",
    "enum",
    "fractions",
    "functools",
    "hashlib",
    "heapq",
    "html",
    "itertools",
    "json",
    "math",
    "numbers",
    "operator",
    "re",
    "statistics",
    "string",
    "textwrap",
    "types",
    "typing",
    "unicodedata",
    "uuid",
    "zlib",
)
"""Modules that given code may import, as facades of their public names; all are imported before the locks."""
HIDDEN = {
    "types": {
        "CodeType",
        "FunctionType",
        "FrameType",
        "TracebackType",
        "ModuleType",
        "CellType",
        "LambdaType",
    },
    "uuid": {"getnode", "uuid1", "uuid4"},
    "hashlib": {"file_digest"},
    "operator": {"attrgetter", "methodcaller"},
}
"""Names of allowed modules that are left out: makers of code, draws that no seed decides."""


class Locks:
    """What could be locked, and why the rest could not."""

    def __init__(self, wanted):
        self.wanted = wanted
        self.held = {}
        self.libc = ctypes.CDLL(None, use_errno=True)

    def attempt(self, name, lock):
        if name not in self.wanted:
            return
        try:
            self.held[name] = [True, lock()]
        except Exception as error:
            self.held[name] = [False, f"{type(error).__name__}: {error}"]

    def syscall(self, number, *arguments):
        result = self.libc.syscall(ctypes.c_long(number), *arguments)
        if result < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        return result

    def check(self, result):
        if result != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))

    # -- namespaces -----------------------------------------------------------------------------------------

    def namespaces(self):
        """A root that holds nothing, no network, and no other process's memory or messages."""
        uid, gid = os.getuid(), os.getgid()
        self.check(self.libc.unshare(0x10000000 | 0x20000 | 0x40000000 | 0x08000000 | 0x04000000))
        for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)
        private, inside = (
            1 << 18 | 1 << 14,
            2 | 4 | 8,
        )  # MS_PRIVATE | MS_REC; MS_NOSUID | MS_NODEV | MS_NOEXEC
        self.check(self.libc.mount(b"none", b"/", None, ctypes.c_ulong(private), None))
        place = next(p for p in ("/tmp", "/mnt", "/var", "/home", "/usr") if os.path.isdir(p)).encode()
        self.check(self.libc.mount(b"none", place, b"tmpfs", ctypes.c_ulong(inside), b"size=4k,mode=555"))
        os.chdir(place)
        self.check(self.libc.syscall(ctypes.c_long(NUMBERS["pivot_root"]), b".", b"."))
        self.check(self.libc.umount2(b".", 2))  # MNT_DETACH: the old root
        os.chdir("/")
        self.check(self.libc.mount(b"none", b"/", None, ctypes.c_ulong(inside | 1 | 32), None))  # read-only
        header, nothing = struct.pack("Ii", 0x20080522, 0), bytes(24)
        self.check(self.libc.syscall(ctypes.c_long(NUMBERS["capset"]), header, nothing))
        return "empty read-only root, no network"

    # -- Landlock -------------------------------------------------------------------------------------------

    def landlock(self):
        """A ruleset that handles everything the kernel knows and allows nothing."""
        version = self.syscall(444, None, ctypes.c_size_t(0), ctypes.c_uint(1))
        files = (1 << {1: 13, 2: 14, 3: 15, 4: 15}.get(version, 16)) - 1
        attributes = struct.pack("Q", files)
        if version >= 4:
            attributes += struct.pack("Q", 3)  # bind and connect TCP
        if version >= 6:
            attributes += struct.pack("Q", 3)  # abstract sockets, signals
        ruleset = self.syscall(444, attributes, ctypes.c_size_t(len(attributes)), ctypes.c_uint(0))
        self.syscall(446, ctypes.c_int(ruleset), ctypes.c_uint(0))
        os.close(ruleset)
        return f"ABI {version}"

    # -- seccomp --------------------------------------------------------------------------------------------

    def seccomp(self):
        """An allowlist; what is not on it fails with EPERM, another architecture kills."""
        program = seccomp_program()
        buffer = ctypes.create_string_buffer(program)
        filters = struct.pack(
            "HxxxxxxP" if struct.calcsize("P") == 8 else "HxxP", len(program) // 8, ctypes.addressof(buffer)
        )
        self.check(self.libc.prctl(22, 2, ctypes.c_char_p(filters), 0, 0))
        return f"allowlist of {len(NUMBERS['allowed'])} calls"


X86_64 = {
    "arch": 0xC000003E,
    "pivot_root": 155,
    "capset": 126,
    "read": 0,
    "write": 1,
    "mmap": 9,
    "mprotect": 10,
    # close fstat lseek munmap brk rt_sigprocmask rt_sigreturn sched_yield mremap madvise getpid exit gettimeofday
    # sigaltstack futex clock_gettime exit_group getrandom rseq
    "allowed": (3, 5, 8, 11, 12, 14, 15, 24, 25, 28, 39, 60, 96, 131, 202, 228, 231, 318, 334),
}
AARCH64 = {
    "arch": 0xC00000B7,
    "pivot_root": 41,
    "capset": 91,
    "read": 63,
    "write": 64,
    "mmap": 222,
    "mprotect": 226,
    "allowed": (57, 80, 62, 215, 214, 135, 139, 124, 216, 233, 172, 93, 169, 132, 98, 113, 94, 278, 293),
}
NUMBERS = {"x86_64": X86_64, "aarch64": AARCH64}.get(platform.machine(), {})


def seccomp_program():
    """The filter: read descriptor 0, write descriptor 1, no executable memory, and the allowlist."""
    if not NUMBERS:
        raise OSError(errno.ENOSYS, f"no system call table for {platform.machine()}")
    load, equal, at_least, bits, leave = 0x20, 0x15, 0x35, 0x45, 0x06
    allow, refuse, kill = 0x7FFF0000, 0x00050000 | errno.EPERM, 0x80000000
    argument = (16, 24, 32)  # low words; high words lie 4 bytes behind on little-endian machines

    def op(code, value, true=0, false=0):
        return struct.pack("HBBI", code, true, false, value)

    lines = [op(load, 4), op(equal, NUMBERS["arch"], 1, 0), op(leave, kill), op(load, 0)]
    lines += [op(at_least, 0x40000000, 0, 1), op(leave, kill)]  # x32 numbers
    for name, descriptor in (("read", 0), ("write", 1)):
        lines += [op(equal, NUMBERS[name], 0, 4), op(load, argument[0]), op(equal, descriptor, 0, 1)]
        lines += [op(leave, allow), op(leave, refuse)]
    for name in ("mmap", "mprotect"):
        lines += [op(equal, NUMBERS[name], 0, 4), op(load, argument[2]), op(bits, 4, 1, 0)]  # PROT_EXEC
        lines += [op(leave, allow), op(leave, refuse)]
    for number in NUMBERS["allowed"]:
        lines += [op(equal, number, 0, 1), op(leave, allow)]
    lines.append(op(leave, refuse))
    return b"".join(lines)


def limit(limits):
    """Resource limits; the parent watches the clock and the output."""
    for name, value in (
        ("RLIMIT_CPU", limits["cpu_seconds"]),
        ("RLIMIT_AS", limits["memory_bytes"]),
        ("RLIMIT_FSIZE", 0),
        ("RLIMIT_CORE", 0),
        ("RLIMIT_NPROC", 1),
        ("RLIMIT_MEMLOCK", 0),
        ("RLIMIT_MSGQUEUE", 0),
    ):
        kind = getattr(resource, name, None)
        if kind is None:
            continue
        try:
            hard = resource.getrlimit(kind)[1]
            value = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.setrlimit(kind, (value, value))
        except (OSError, ValueError):  # macOS refuses RLIMIT_AS
            pass


def prove(secret):
    """What is shut, found by trying: {"files": why, ...}, without an entry for what is open."""
    shut = {}

    def refused(attempt):
        try:
            attempt()
        except OSError as error:
            return error.errno
        return 0

    opened = refused(lambda: os.close(os.open(secret, os.O_RDONLY)))
    created = refused(lambda: os.close(os.open("/synth-sandbox-probe", os.O_WRONLY | os.O_CREAT, 0o600)))
    if opened and created:
        shut["files"] = f"open: {errno.errorcode[opened]}, create: {errno.errorcode[created]}"

    def talk(kind):
        with socket.socket(socket.AF_INET, kind) as one:
            one.settimeout(1)
            one.connect(("127.0.0.1", 9))
            one.send(b"x")

    talks = [refused(lambda kind=kind: talk(kind)) for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM)]
    if all(code not in (0, errno.ECONNREFUSED) for code in talks):
        shut["network"] = ", ".join(f"{n}: {errno.errorcode[c]}" for n, c in zip(("TCP", "UDP"), talks))

    def fork():
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)

    forked = refused(fork)
    if forked:
        shut["processes"] = f"fork: {errno.errorcode[forked]}"
    return shut


class Facade:
    """The public names of a module, without the modules it happens to hold."""

    __slots__ = ("_names",)

    def __init__(self, module):
        hidden = HIDDEN.get(module.__name__, ())
        names = getattr(module, "__all__", None) or [
            name for name in vars(module) if not name.startswith("_")
        ]
        found = {
            name: getattr(module, name) for name in names if name not in hidden and hasattr(module, name)
        }
        kept = {name: value for name, value in found.items() if not isinstance(value, type(sys))}
        object.__setattr__(self, "_names", kept)

    def __getattr__(self, name):
        names = object.__getattribute__(self, "_names")
        if name not in names:
            raise AttributeError(f"'{name}' is not available here")
        return names[name]

    def __setattr__(self, name, value):
        raise AttributeError("modules are read-only here")

    __delattr__ = None

    def __dir__(self):
        return sorted(object.__getattribute__(self, "_names"))


def safe_builtins():
    """Builtins without files, code, attributes by name, and input."""
    import builtins

    dropped = {
        "open",
        "eval",
        "exec",
        "compile",
        "input",
        "breakpoint",
        "globals",
        "locals",
        "vars",
        "help",
        "exit",
        "quit",
        "getattr",
        "setattr",
        "delattr",
        "dir",
        "memoryview",
        "copyright",
        "credits",
        "license",
        "id",
        "hash",
    }
    kept = {
        name: value
        for name, value in vars(builtins).items()
        if name not in dropped and not name.startswith("_")
    }
    facades = {name: Facade(__import__(name)) for name in ALLOWED}

    def importer(name, globals=None, locals=None, fromlist=(), level=0):
        if level or name not in facades:
            base = name.split(".")[0]
            if base == "collections" and name == "collections.abc":
                import collections.abc

                return Facade(collections.abc) if fromlist else facades["collections"]
            raise ImportError(f"module '{name}' is not available here")
        return facades[name]

    kept["__import__"] = importer
    kept["__build_class__"] = builtins.__build_class__
    kept["print"] = lambda *values, **options: None
    kept["__name__"] = "builtins"
    return kept


def warm():
    """What the standard library would import or open late, when nothing can be opened any more."""
    import codecs
    import datetime
    import decimal
    import hashlib
    import random
    import traceback
    import unicodedata

    for name in ALLOWED:
        __import__(name)
    for name in (
        "ascii",
        "latin-1",
        "utf-8",
        "utf-16",
        "utf-32",
        "hex",
        "base64",
        "rot13",
        "punycode",
        "cp1252",
    ):
        codecs.lookup(name)
    for name in ("md5", "sha1", "sha256", "sha512", "blake2b"):
        getattr(hashlib, name)(b"x").hexdigest()
    datetime.datetime.strptime("2024-01-02", "%Y-%m-%d").strftime("%A %d %B %Y %H:%M:%S")
    decimal.Decimal("1.5").sqrt()
    unicodedata.name("a")
    random.Random("seed").random()
    try:
        raise ValueError("x")
    except ValueError as error:
        "".join(traceback.format_exception_only(type(error), error))
    return random.Random, traceback


def main():
    source = sys.stdin.buffer
    say_to = sys.stdout.buffer

    def say(value):
        say_to.write(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace") + b"\n")
        say_to.flush()

    request = json.loads(source.readline())
    make_random, traceback = warm()
    locks = Locks(request["layers"])
    if sys.platform == "linux":
        locks.libc.prctl(1, 9, 0, 0, 0)  # die with the parent
        locks.libc.prctl(38, 1, 0, 0, 0)  # no new privileges
    locks.attempt("namespaces", locks.namespaces)
    locks.attempt("landlock", locks.landlock)
    if sys.platform == "linux":
        locks.libc.prctl(4, 0, 0, 0, 0)  # not dumpable: no other process of the user looks in
    limit(request["limits"])
    locks.attempt("seccomp", locks.seccomp)
    shut = prove(request["secret"])
    say({"layers": locks.held, "shut": shut})
    if any(name not in shut for name in request["needed"]):
        return
    name, most = request["function"], request["limits"]["text_bytes"]
    if not name:
        return

    def reason(error):
        place = ""
        for frame, line in traceback.walk_tb(error.__traceback__):
            if frame.f_code.co_filename == "<generator>":
                place = f" (line {line})"
        try:
            return f"{type(error).__name__}: {str(error)[:400]}{place}"
        except Exception:
            return f"{type(error).__name__}{place}"

    space = {"__builtins__": safe_builtins() if request["policy"] else __builtins__, "__name__": "generator"}
    try:
        exec(compile(request["source"], "<generator>", "exec", dont_inherit=True), space)
        function = space[name]
    except MemoryError:
        return say({"kind": "memory", "reason": "out of memory while the module was run"})
    except SyntaxError as error:
        return say({"kind": "syntax", "reason": f"{error.msg} (line {error.lineno})"})
    except BaseException as error:
        return say({"kind": "exception", "reason": reason(error)})
    say({"ready": True})
    while True:
        line = source.readline()
        if not line:
            return None
        for seed, target in json.loads(line):
            try:
                text = function(make_random(seed), target)
                if type(text) is not str:
                    say({"kind": "not-text", "reason": f"it returned {type(text).__name__}, not str"})
                    continue
                size = len(text.encode("utf-8"))
                if size > most:
                    say({"kind": "output", "reason": f"the text is {size} bytes long; {most} are allowed"})
                    continue
                say({"text": text})
            except MemoryError:
                text = None
                say({"kind": "memory", "reason": "out of memory"})
            except UnicodeEncodeError as error:
                say({"kind": "not-text", "reason": f"the text is not valid Unicode ({error.reason})"})
            except BaseException as error:
                say({"kind": "exception", "reason": reason(error)})


main()
