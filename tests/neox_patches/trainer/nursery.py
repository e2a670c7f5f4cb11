"""Starts Python processes that begin with torch and transformers imported: forked, a fraction of a second each.

Importing them takes three seconds, with which every run of a trainer would begin. What the shim, the patches and
GPT-NeoX itself change (deepspeed, megatron, curator) is never imported here: a run meets it as in a process of its
own. How trainers are really started (deepy.py, torchrun, a path) is tested by test_neox_launch.py and
test_neox_docs.py.

As a script, the server: one line of JSON with a file descriptor beside it per process, its pid in return.
"""

import contextlib
import functools
import importlib
import json
import os
import random
import runpy
import select
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy

IMPORTED = (
    "torch._dynamo",
    "torch.distributed.fsdp",
    "torch.utils.tensorboard",
    "torch.utils.cpp_extension",
    "transformers",
    "sentencepiece",
    "tokenizers",
    "yaml",
)


class Child:
    """A process that was forked for us; what a test uses of `subprocess.Popen`."""

    def __init__(self, pid: int, ended: int):
        self.pid = pid
        self.returncode: int | None = None
        self._ended = ended

    def poll(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            if not select.select([self._ended], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired([str(self.pid)], timeout or 0)
            (self.returncode,) = struct.unpack("i", os.read(self._ended, 4))
            os.close(self._ended)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def start(words: Sequence[str | Path], cwd: Path, environment: Mapping[str, str], log: Path) -> Child:
    """``python WORDS`` (a script, or -m and a module) with its output in ``log``."""
    server = _server(environment["PYTHONPATH"])
    log.write_text("")
    order = {
        "words": list(map(str, words)),
        "cwd": str(cwd),
        "environment": dict(environment),
        "log": str(log),
    }
    ended, theirs = os.pipe()
    message = json.dumps(order).encode()
    socket.send_fds(server, [struct.pack("i", len(message))], [theirs])
    os.close(theirs)
    server.sendall(message)
    return Child(*struct.unpack("i", server.recv(4)), ended)


@functools.cache
def _server(path: str) -> socket.socket:
    """Of this process; it ends when this one does."""
    ours, theirs = socket.socketpair()
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    words = [sys.executable, __file__, str(theirs.fileno())]
    subprocess.Popen(words, env=environment, pass_fds=[theirs.fileno()])
    theirs.close()
    return ours


def _serve(orders: socket.socket) -> dict[str, Any] | None:
    """Returns what is to be run in each process that it forks, and nothing in the server, at the end."""
    for name in IMPORTED:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    early = {"deepspeed", "megatron", "curator", "neox_patches"} & {
        name.split(".")[0] for name in sys.modules
    }
    threads = len(os.listdir("/proc/self/task"))
    assert not early and threads == 1, f"a process would begin with {sorted(early)} and {threads} threads"
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for a keeper
    while True:
        size, descriptors, _, _ = socket.recv_fds(orders, 4, 1)
        if not size:
            return None
        order: dict[str, Any] = json.loads(orders.recv(*struct.unpack("i", size), socket.MSG_WAITALL))
        (ended,) = descriptors
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            pid = os.fork()
            if pid == 0:
                orders.close()
                os.close(ended)
                return order
            _keep(pid, orders, ended)
        os.close(ended)


def _keep(pid: int, orders: socket.socket, ended: int) -> NoReturn:
    """Say the pid of a process, and its code when it has ended."""
    orders.sendall(struct.pack("i", pid))
    orders.close()
    _, status = os.waitpid(pid, 0)
    with contextlib.suppress(BrokenPipeError):
        os.write(ended, struct.pack("i", os.waitstatus_to_exitcode(status)))
    os._exit(0)


def _become(order: dict[str, Any]) -> None:
    """What ``python WORDS`` does, from here on."""
    os.chdir(order["cwd"])
    os.environ.clear()
    os.environ.update(order["environment"])
    log = os.open(order["log"], os.O_WRONLY | os.O_APPEND)
    for stream, file in ((0, os.open(os.devnull, os.O_RDONLY)), (1, log), (2, log)):
        os.dup2(file, stream)
    random.seed()
    numpy.random.seed()
    words: list[str] = order["words"]
    if words[0] == "-m":
        sys.path[0], sys.argv = order["cwd"], words[1:]
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.path[0], sys.argv = str(Path(words[0]).parent), words
        runpy.run_path(words[0], run_name="__main__")


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as socket_of_tests:
        todo = _serve(socket_of_tests)
    if todo is not None:
        _become(todo)
