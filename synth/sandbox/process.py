"""One runner process: started, fed, watched and ended.

The parent believes nothing but frames that answer the next open call, with a text or a reason, within bounds of size
and time. Each call carries a number that cannot be guessed, so that no answer can be given before its call, twice, or
for another one. A process that does anything else is killed, with its whole group, and its generator has failed.
"""

import os
import secrets
import signal
import subprocess
import time
from collections import deque
from collections.abc import Iterator, Sequence

from synth.sandbox.channel import Channel, Closed
from synth.sandbox.failure import Failure, Limits
from synth.sandbox.hosts import FIXED, Host
from synth.sandbox.launcher import command
from synth.sandbox.wire import frame, from_lines, to_lines

CHUNK = 32
"""Calls that are sent at once."""
START_SECONDS = 30.0
"""For an interpreter to start on a busy machine."""
LONGEST_REASON = 4096
"""Bytes of a frame that is no text, at most."""


class Process:
    """A runner under our eyes; a context manager. It dies with the thread that made it.

    Args:
        modules: what is imported before the locks.
        needed: what must be shut, or it does not run the source.
        policy: whether the source gets safe builtins and facades of ``modules``.
        host: what could be otherwise on another machine.

    Attributes:
        active: for each layer, whether it holds and what it says; shut: what is shut, and why.
        hash_seed_holds: whether the interpreter hashes by the seed that it was given.

    Raises:
        Failure: the runner could not be started.
    """

    def __init__(
        self,
        source: str,
        function: str,
        limits: Limits,
        layers: Sequence[str],
        needed: Sequence[str],
        modules: Sequence[str],
        policy: bool,
        host: Host = FIXED,
    ):
        self.limits = limits
        self._owed: deque[int] = deque()  # numbers of calls whose answers were not read yet
        self._process = subprocess.Popen(
            command("bubblewrap" in layers, host.variables()),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=host.variables(),
            cwd="/",
            start_new_session=True,
            bufsize=0,
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        most = max(limits.text_bytes, LONGEST_REASON)
        self._channel = Channel(self._process.stdin.fileno(), self._process.stdout.fileno(), most)
        setup = {
            "function": function,
            "layers": " ".join(layers),
            "needed": " ".join(needed),
            "modules": " ".join(modules),
            "policy": "on" if policy else "off",
            "parent": str(os.getpid()),
            "cpu_seconds": str(limits.cpu_seconds),
            "memory_bytes": str(limits.memory_bytes + host.more_memory),
            "hash_seed": str(host.hash_seed),
            "recursion": str(host.recursion),
            "litter": str(host.litter),
            "text_bytes": str(limits.text_bytes),
        }
        try:
            start = max(START_SECONDS, limits.seconds)
            text = source.encode("utf-8", "replace")
            self._send(frame("setup", 0, to_lines(setup)) + frame("source", 0, text))
            self._state(start)
            missing = [what for what in needed if what not in self.shut]
            if missing:
                raise Failure("died", f"could not be shut in this time: {', '.join(missing)} stayed open")
            if not self.hash_seed_holds:
                raise Failure(
                    "died", "this Python ignores its hash seed, so the order of sets would be chance"
                )
        except BaseException:
            self.close()
            raise

    def _state(self, seconds: float) -> None:
        word, _, data = self._receive(seconds)
        if word != "state":
            raise Failure("died", "its process did not start")
        state = from_lines(data)
        self.active = {
            name.removeprefix("layer."): (said[:1] == "1", said[2:])
            for name, said in state.items()
            if name.startswith("layer.")
        }
        self.shut = {n.removeprefix("shut."): why for n, why in state.items() if n.startswith("shut.")}
        self.hash_seed_holds = state.get("hash_seed") == "holds"

    def wait_until_loaded(self) -> None:
        """Raises Failure when running the module did not end well."""
        word, number, data = self._receive(self.limits.seconds)
        if (word, number) != ("ready", 0):
            raise self._failure(word, data)

    def texts(self, calls: Sequence[tuple[str | int, int]]) -> Iterator[str | Failure]:
        """One text per (seed, target_tokens), in order; a `Failure` in its place where one call went wrong.

        Raises:
            Failure: the process ran out of time, sent something else, or ended; nothing more comes.
        """
        while self._owed:  # of calls that nobody waited for
            self._answer()
        if not self._channel.quiet():
            raise Failure("died", "it wrote without being asked")
        chunks = [calls[start : start + CHUNK] for start in range(0, len(calls), CHUNK)]
        for number, chunk in enumerate(chunks):
            if number == 0:
                self._ask(chunk)
            if number + 1 < len(chunks):  # so that the next request lies there when it asks
                self._ask(chunks[number + 1])
            for _ in chunk:
                yield self._answer()

    def close(self) -> None:
        """Kill the process and all it may have started, and reap it."""
        process = self._process
        if process.returncode is None:  # else its number may be another's by now
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, calls: Sequence[tuple[str | int, int]]) -> None:
        frames = []
        for seed, target in calls:
            number = secrets.randbits(62)
            self._owed.append(number)
            kind = "int" if isinstance(seed, int) else "str"
            frames.append(frame("call", number, f"{target} {kind} {seed}".encode()))
        self._send(b"".join(frames))

    def _answer(self) -> str | Failure:
        word, number, data = self._receive(self.limits.seconds)
        if number != self._owed.popleft():
            raise Failure("died", "it answered what was not asked")
        if word != "text":
            return self._failure(word, data)
        if len(data) > self.limits.text_bytes:
            return Failure(
                "output", f"the text is {len(data)} bytes long; {self.limits.text_bytes} are allowed"
            )
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            return Failure("not-text", f"the text is not valid UTF-8 ({error.reason})")

    def _failure(self, word: str, data: bytes) -> Failure:
        kind, _, reason = data[:LONGEST_REASON].decode("utf-8", "replace").partition(" ")
        if word == "failed" and kind in ("syntax", "exception", "memory", "output", "not-text"):
            return Failure(kind, reason[:1000])
        return Failure("died", "it sent something that is no text")

    def _send(self, data: bytes) -> None:
        try:
            self._channel.send(data)
        except Closed:
            raise self._ended() from None

    def _receive(self, seconds: float) -> tuple[str, int, bytes]:
        try:
            return self._channel.receive(seconds)
        except Closed:
            raise self._ended() from None

    def _ended(self) -> Failure:
        """Why it is gone."""
        status = self._status()
        if status is None:
            return Failure("died", "it closed its output")
        if 0 <= status <= 128:
            return Failure("died", f"its process ended (exit status {status})")
        number = -status if status < 0 else status - 128  # as bubblewrap passes a signal on
        if number == signal.SIGXCPU:
            return Failure(
                "timeout", f"it took more than {self.limits.cpu_seconds} seconds of processor time"
            )
        if number == signal.SIGKILL:
            return Failure("died", "it was killed: the machine had no memory left, or it ran for too long")
        return Failure("died", f"its process was ended by signal {number}")

    def _status(self) -> int | None:
        """Its exit status, or minus the signal; None while it lives. It stays unreaped: its group keeps its name."""
        if not hasattr(os, "waitid"):  # macOS before Python 3.13
            return self._process.poll()
        end = time.monotonic() + 5
        while time.monotonic() < end:
            found = os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)
            if found is not None:
                return found.si_status if found.si_code == os.CLD_EXITED else -found.si_status
            time.sleep(0.005)
        return None
