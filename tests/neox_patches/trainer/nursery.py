"""Starts Python processes that begin with all imported that no checkout has a say in: forked, at once.

Importing torch, transformers, DeepSpeed and our own code takes five seconds, with which every run of a trainer would
begin. The CPU's shim is installed before DeepSpeed is imported, as it is in a process of its own; megatron is never
imported here, nor is anything patched or made compatible. How trainers are really started (deepy.py, torchrun, a path)
is tested by test_neox_launch.py and test_neox_docs.py.

As a script, the server: one line of JSON with a file descriptor beside it per process, its pid in return.
"""

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import random
import runpy
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import traceback
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
    "transformers.models.gpt2.tokenization_gpt2",
    "sentencepiece",
    "tokenizers",
    "tiktoken",
    "requests",
    "yaml",
    "torch._dynamo.backends.debugging",
    "torch._dynamo.repro.after_dynamo",
    "torch._inductor.compile_fx",
    "deepspeed.runtime.zero.muon.muon_optimizer",
    "deepspeed.module_inject.auto_ep_config",
    "neox_patches.install",
    "neox_patches.launch",
)
"""In this order: what asks whether CUDA is there comes before the shim says that it is."""


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
    threads = len(os.listdir("/proc/self/task"))
    assert threads == 1, f"a process would begin with {threads} threads"
    assert "megatron" not in sys.modules, "a process would begin with a checkout imported"
    gc.collect()
    gc.freeze()  # memory that collecting never touches stays one for all processes
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


def _become(order: dict[str, Any], compiled: str) -> NoReturn:
    """What ``python WORDS`` does, from here on."""
    os.chdir(order["cwd"])
    os.environ.clear()
    os.environ.update(order["environment"])
    log = os.open(order["log"], os.O_WRONLY | os.O_APPEND)
    for stream, file in ((0, os.open(os.devnull, os.O_RDONLY)), (1, log), (2, log)):
        os.dup2(file, stream)
    sys.dont_write_bytecode, sys.pycache_prefix = False, compiled  # a checkout's modules are compiled once
    tempfile.tempdir = None  # the environment says where
    random.seed()
    numpy.random.seed()
    code: Any = 0
    try:
        _run(order["words"], order["cwd"])
    except SystemExit as stop:
        code = stop.code or 0
        if not isinstance(code, int):
            print(code, file=sys.stderr)
            code = 1
    except BaseException:
        traceback.print_exc()
        code = 1
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # Python that takes itself apart writes to all memory that the processes share


def _run(words: list[str], cwd: str) -> None:
    if words[0] == "-m":
        sys.path[0], sys.argv = cwd, words[1:]
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.path[0], sys.argv = str(Path(words[0]).parent), words
        runpy.run_path(words[0], run_name="__main__")


if __name__ == "__main__":
    compiled = tempfile.mkdtemp(prefix="nursery-")
    with socket.socket(fileno=int(sys.argv[1])) as socket_of_tests:
        todo = _serve(socket_of_tests)
    if todo is None:
        shutil.rmtree(compiled)
    else:
        _become(todo, compiled)
