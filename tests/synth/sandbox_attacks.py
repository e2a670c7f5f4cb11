"""Programs that try to get out of the process: each is proven to work where nothing is locked.

They run with the policy off, and so with all of Python, behind the locks alone. ``g`` is what the sandbox calls;
the names in capitals come from `World.header`. Harmless where they succeed: they make a file in a temporary folder,
talk to this test, or start a process that ends by itself.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Attack:
    """A program and how its success shows.

    Attributes:
        seen: what `World.spoiled` says then; "secret": the secret is in the text; else: words in the text.
        always: already impossible without any of the kernel's locks (limits, its own environment, closed descriptors).
        capless: already impossible for root without capabilities; possible for others.
        forks: starts a process; without locks that takes a user whom RLIMIT_NPROC does not bind.
        wait: seconds until it shows.
    """

    name: str
    source: str
    seen: str
    always: bool = False
    capless: bool = False
    forks: bool = False
    wait: float = 0.0


def body(code: str, imports: str = "import os", **options: object) -> str:
    """``code`` as the body of ``g``."""
    lines = "\n".join(f"    {line}" for line in code.strip().splitlines())
    return f"{imports}\ndef g(rng, target_tokens):\n{lines}\n    return 'done'\n"


LIBC = "import os, ctypes\nlibc = ctypes.CDLL(None, use_errno=True)"
SOCKET = "import os, socket"
NEW = "a file was made"

ATTACKS = [
    # -- reading ------------------------------------------------------------------------------------------------
    Attack("open a file", body("return open(SECRET_FILE).read()"), "secret"),
    Attack(
        "os.open a file", body("return os.read(os.open(SECRET_FILE, os.O_RDONLY), 99).decode()"), "secret"
    ),
    Attack(
        "open a file through the C library",
        body(
            "buffer = ctypes.create_string_buffer(99)\n"
            "libc.read(libc.open(SECRET_FILE.encode(), 0), buffer, 99)\n"
            "return buffer.value.decode()",
            LIBC,
        ),
        "secret",
    ),
    Attack(
        "map a file into memory",
        body("return mmap.mmap(os.open(SECRET_FILE, 0), 0, prot=1)[:].decode()", "import os, mmap"),
        "secret",
    ),
    Attack(
        "change the folder and open a relative path",
        body("os.chdir(FOLDER)\nreturn open('secret').read()"),
        "secret",
    ),
    Attack(
        "read through linecache",
        body("return linecache.getline(SECRET_FILE, 1)", "import linecache"),
        "secret",
    ),
    Attack("read through codecs", body("return codecs.open(SECRET_FILE).read()", "import codecs"), "secret"),
    Attack(
        "import a module from a folder",
        body("sys.path.insert(0, FOLDER)\nimport evil_module\nreturn evil_module.WORD", "import sys"),
        "secret",
    ),
    Attack("list the root", body("return ' '.join(os.listdir('/'))"), "etc"),
    Attack("see that a file is there", body("return f'size {os.stat(SECRET_FILE).st_size}'"), "size 32"),
    Attack(
        "read the parent's command line",
        body("return open(f'/proc/{PARENT}/cmdline').read().replace(chr(0), ' ')"),
        "python",
    ),
    Attack(
        "walk the parent's open files",
        body("return os.readlink(f'/proc/{PARENT}/exe')"),
        "python",
        capless=True,
    ),
    Attack(
        "read the parent's environment",
        body("return open(f'/proc/{PARENT}/environ').read()"),
        "PATH=",
        capless=True,
    ),
    Attack("read the environment", body("return repr(os.environ) + repr(os.environb)"), "PATH", always=True),
    Attack(
        "read the environment from the C library",
        body(
            "environ = ctypes.POINTER(ctypes.c_char_p).in_dll(libc, 'environ')\n"
            "return repr(environ[0]) if environ else 'none'",
            LIBC,
        ),
        "PATH",
        always=True,
    ),
    Attack(
        "read every descriptor",
        body(
            "found = []\n"
            "for number in range(3, 4096):\n"
            "    try:\n"
            "        found.append(os.pread(number, 99, 0))\n"
            "    except OSError:\n"
            "        pass\n"
            "return repr(found)"
        ),
        "secret",
        always=True,
    ),
    # -- writing ------------------------------------------------------------------------------------------------
    Attack("make a file", body("open(CANARY, 'w')"), NEW),
    Attack("make a folder", body("os.mkdir(CANARY)"), NEW),
    Attack("make a link by name", body("os.symlink('/', CANARY)"), NEW),
    Attack("make a second name", body("os.link(VICTIM, CANARY)"), "the victim's links"),
    Attack("make a pipe with a name", body("os.mkfifo(CANARY)"), NEW),
    Attack("make a socket with a name", body("socket.socket(socket.AF_UNIX).bind(CANARY)", SOCKET), NEW),
    Attack("remove a file", body("os.unlink(VICTIM)"), "the victim is gone"),
    Attack("rename a file", body("os.rename(VICTIM, CANARY)"), "the victim is gone"),
    Attack("change a file's mode", body("os.chmod(VICTIM, 0o777)"), "the victim's mode"),
    Attack("change a file's time", body("os.utime(VICTIM, (5, 5))"), "the victim's time"),
    Attack("make a temporary folder", body("tempfile.mkdtemp(dir=FOLDER)", "import tempfile"), NEW),
    Attack("copy a file", body("shutil.copy(SECRET_FILE, CANARY)", "import shutil"), NEW),
    # -- the network --------------------------------------------------------------------------------------------
    Attack("connect by TCP", body("socket.create_connection(TCP, 2)", SOCKET), "TCP connection"),
    Attack(
        "fetch by HTTP",
        body(
            "urllib.request.urlopen('http://%s:%d/' % TCP, timeout=0.5)",
            "import urllib.request, http.client, encodings.idna",
        ),
        "TCP connection",
    ),
    Attack(
        "send by UDP",
        body("socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', UDP)", SOCKET),
        "UDP datagram",
    ),
    Attack(
        "connect to a socket file",
        body("socket.socket(socket.AF_UNIX).connect(UNIX)", SOCKET),
        "connection to a socket file",
    ),
    Attack(
        "connect to an abstract socket",
        body("socket.socket(socket.AF_UNIX).connect(ABSTRACT)", SOCKET),
        "connection to an abstract socket",
    ),
    Attack(
        "listen on a port",
        body(
            "server = socket.create_server(('127.0.0.1', 0))\nreturn f'port {server.getsockname()[1]}'",
            SOCKET,
        ),
        "port ",
    ),
    Attack(
        "ask the kernel's network",
        body("return f'netlink {socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0).proto}'", SOCKET),
        "netlink 0",
    ),
    # -- processes ----------------------------------------------------------------------------------------------
    Attack(
        "a bomb of three forks",
        body(
            "for _ in range(3):\n    if os.fork() == 0:\n        time.sleep(1)\n        os._exit(0)",
            "import os, time",
        ),
        "processes",
        forks=True,
    ),
    Attack(
        "fork through the C library",
        body("if libc.fork() == 0:\n    libc.sleep(1)\n    libc._exit(0)", LIBC),
        "processes",
        forks=True,
    ),
    Attack(
        "leave a child of its own session behind",
        body(
            "if os.fork() == 0:\n"
            "    os.setsid()\n"
            "    if os.fork() == 0:\n"
            "        time.sleep(0.2)\n"
            "        os.mkdir(CANARY)\n"
            "    os._exit(0)",
            "import os, time",
        ),
        NEW,
        forks=True,
        wait=0.5,
    ),
    Attack("run a shell", body("os.system(f'mkdir {CANARY}')"), NEW, forks=True),
    Attack(
        "spawn a program",
        body("os.waitpid(os.posix_spawn('/bin/mkdir', ['mkdir', CANARY], {}), 0)"),
        NEW,
        forks=True,
    ),
    Attack(
        "run a program with subprocess",
        body("subprocess.run(['/bin/mkdir', CANARY])", "import subprocess"),
        NEW,
        forks=True,
    ),
    Attack("become another program", body("os.execv('/bin/mkdir', ['mkdir', CANARY])"), NEW, wait=0.1),
    Attack(
        "start a process with multiprocessing",
        body(
            "child = multiprocessing.get_context('fork').Process(target=os.mkdir, args=(CANARY,))\n"
            "child.start()\n"
            "child.join()",
            "import os, multiprocessing, multiprocessing.popen_fork, multiprocessing.connection",
        ),
        NEW,
        forks=True,
    ),
    Attack(
        "start a thread",
        body(
            "said = []\n_thread.start_new_thread(said.append, ('ran',))\n"
            "while not said:\n    pass\nreturn f'the thread {said[0]}'",
            "import _thread",
        ),
        "the thread ran",
        forks=True,
    ),
    Attack(
        "a program in a pickle",
        body(
            "class Payload:\n    def __reduce__(self):\n        return os.mkdir, (CANARY,)\n"
            "pickle.loads(pickle.dumps(Payload()))",
            "import os, pickle",
        ),
        NEW,
    ),
    Attack(
        "a folder through __subclasses__",
        body(
            "for found in object.__subclasses__():\n"
            "    if found.__name__ == '_wrap_close':\n"
            "        found.__init__.__globals__['mkdir'](CANARY)",
            "",
        ),
        NEW,
    ),
    Attack(
        "a folder through a frame",
        body(
            "try:\n    1 / 0\nexcept ZeroDivisionError as error:\n"
            "    error.__traceback__.tb_frame.f_back.f_globals['os'].mkdir(CANARY)",
            "",
        ),
        NEW,
    ),
    Attack(
        "a folder through the name of a dataclass's field",
        """
import os
from dataclasses import dataclass, field
plain = field()
class Field(type(plain)):
    asked = 0
    @property
    def name(self):
        Field.asked += 1
        return "x" if Field.asked < 2 else f'x" + (__import__("os").mkdir({CANARY!r}) or "") #'
    @name.setter
    def name(self, value):
        pass
def g(rng, target_tokens):
    @dataclass(init=False, eq=False)
    class A:
        x: int = Field(1, plain.default_factory, True, True, None, True, {}, False)
    return str(A())
""",
        NEW,
    ),
    Attack(
        "a folder through what counts as one's own",
        """
import os
from collections import namedtuple
from collections.abc import Hashable
def look(one, name):
    class K(namedtuple("N", name), Hashable):
        pass
    K.register(type(one))
    match one:
        case K(found):
            return found
def g(rng, target_tokens):
    builtins = look(look((n for n in [1]), "gi_frame"), "f_builtins")
    builtins["__import__"]("os").mkdir(CANARY)
    return "done"
""",
        NEW,
    ),
    # -- the parent ---------------------------------------------------------------------------------------------
    Attack("signal the parent", body("os.kill(PARENT, 10)"), "a signal", wait=0.05),
    Attack(
        "signal the parent through a descriptor",
        body("signal.pidfd_send_signal(os.pidfd_open(PARENT), 10)", "import os, signal"),
        "a signal",
        wait=0.05,
    ),
    Attack(
        "queue a signal to the parent",
        body("libc.sigqueue(PARENT, 10, ctypes.c_void_p(0))", LIBC),
        "a signal",
        wait=0.05,
    ),
    Attack(
        "move the parent to one processor",
        body("os.sched_setaffinity(PARENT, {LAST})"),
        "processors",
        capless=True,
    ),
    Attack(
        "change the parent's limits",
        body(
            "hard = resource.prlimit(PARENT, resource.RLIMIT_CORE)[1]\n"
            "resource.prlimit(PARENT, resource.RLIMIT_CORE, (SOFT, hard))",
            "import resource",
        ),
        "limits",
    ),
    Attack(
        "read the parent's memory",
        body(
            "maps = ' '.join(open(f'/proc/{PARENT}/maps').read().split())\n"
            "return 'memory ' + repr(open(f'/proc/{PARENT}/mem', 'rb')) + maps[:99]"
        ),
        "memory ",
        capless=True,
    ),
    Attack(
        "trace the parent", body("libc.ptrace(0x4206, PARENT, None, None)", LIBC), "a tracer", capless=True
    ),
    # -- the kernel ---------------------------------------------------------------------------------------------
    Attack(
        "shared memory that outlives it",
        body("libc.shmget(SHARED_KEY, ctypes.c_size_t(4096), 0o1600)", LIBC),
        "shared memory",
    ),
    Attack("a file in memory", body("return f'file {os.memfd_create(\"x\")}'"), "file "),
    Attack(
        "memory that can be executed",
        body("return f'{mmap.mmap(-1, 4096, prot=7)}'", "import mmap"),
        "mmap.mmap",
    ),
    Attack(
        "a user namespace of its own",
        body("return f'unshared {libc.unshare(0x10000000)}'", LIBC),
        "unshared 0",
    ),
    Attack(
        "survive the parent",
        body("return f'set {libc.prctl(1, 0, 0, 0, 0)}'", LIBC),
        "set 0",
    ),
    Attack(
        "be looked into",
        body("return f'dumpable {libc.prctl(4, 1, 0, 0, 0)}'", LIBC),
        "dumpable 0",
    ),
    Attack(
        "another personality",
        body("return f'was {libc.personality(ctypes.c_ulong(0x0400000))}'", LIBC),
        "was 0",
    ),
    Attack(
        "more memory than allowed",
        body(
            "try:\n    resource.setrlimit(resource.RLIMIT_AS, (1 << 40, 1 << 40))\nexcept Exception:\n    pass\n"
            "return f'got {len(bytearray(1 << 30))}'",
            "import resource",
        ),
        "got ",
        always=True,
    ),
    Attack(
        "capabilities",
        body("os.chroot('/')\nreturn 'changed the root'"),
        "changed the root",
        always=True,
    ),
    Attack(
        "a signal handler",
        body("return f'was {signal.signal(signal.SIGTERM, signal.SIG_IGN)}'", "import signal"),
        "was ",
    ),
    Attack("a terminal", body("return f'terminal {os.openpty()}'"), "terminal "),
]
