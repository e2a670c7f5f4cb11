"""One runner process: started, fed, watched and ended.

The parent believes nothing but lines of JSON that are a text or a reason, within bounds of size and time. A process
that does anything else is killed, with its whole group, and its generator has failed.
"""

import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from curator.errors import CuratorError
from synth.sandbox.launcher import command, interpreter

CHUNK = 32
"""Calls in one request; a request fits a pipe's buffer, so that writing it never waits."""


class Failure(CuratorError):
    """Why generated code was stopped or refused, in words fit to be sent back to whoever wrote it.

    Attributes:
        kind: policy, syntax, exception, timeout, memory, output, not-text, or died.
    """

    def __init__(self, kind: str, reason: str):
        super().__init__(reason)
        self.kind = kind


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What generated code may use.

    Attributes:
        seconds: wall-clock time for one text, and for running the module.
        cpu_seconds: of a whole process.
        memory_bytes: address space.
        text_bytes: longest text, in UTF-8.
    """

    seconds: float = 10.0
    cpu_seconds: int = 3600
    memory_bytes: int = 1 << 30
    text_bytes: int = 4 << 20


class Process:
    """A runner under our eyes; a context manager."""

    def __init__(
        self,
        source: str,
        function: str,
        limits: Limits,
        layers: Sequence[str],
        needed: Sequence[str],
        policy: bool,
    ):
        self.limits = limits
        self._buffer = bytearray()
        self._process = subprocess.Popen(
            command("bubblewrap" in layers),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={},
            cwd="/",
            start_new_session=True,
            bufsize=0,
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._in, self._out = self._process.stdin.fileno(), self._process.stdout.fileno()
        os.set_blocking(self._in, False)
        request = {
            "source": source,
            "function": function,
            "limits": asdict(limits),
            "layers": list(layers),
            "needed": list(needed),
            "policy": policy,
            "secret": interpreter(),
        }
        try:
            self._send(request)
            self.state = self._receive(max(30.0, limits.seconds))
        except BaseException:
            self.close()
            raise

    def wait_until_loaded(self) -> None:
        """Raises Failure when running the module did not end well."""
        answer = self._receive(self.limits.seconds)
        if answer.get("ready") is not True:
            raise self._failure(answer)

    def texts(self, calls: Sequence[tuple[str | int, int]]) -> Iterator[str | Failure]:
        """One text per (seed, target_tokens), in order; a `Failure` in its place where one call went wrong.

        Raises:
            Failure: the process ran out of time, sent something else, or ended; nothing more comes.
        """
        chunks = [calls[start : start + CHUNK] for start in range(0, len(calls), CHUNK)]
        for number, chunk in enumerate(chunks):
            if number == 0:
                self._send([list(call) for call in chunk])
            if number + 1 < len(chunks):  # so that the next request lies there when it asks
                self._send([list(call) for call in chunks[number + 1]])
            for _ in chunk:
                answer = self._receive(self.limits.seconds)
                text = answer.get("text")
                yield text if isinstance(text, str) else self._failure(answer)

    def close(self) -> None:
        """Kill the process and all it may have started, and reap it."""
        process = self._process
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

    def _failure(self, answer: dict[str, Any]) -> Failure:
        kind, reason = answer.get("kind"), answer.get("reason")
        if isinstance(kind, str) and isinstance(reason, str):
            return Failure(kind[:20], reason[:1000])
        return Failure("died", "it sent something that is no text")

    def _send(self, value: Any) -> None:
        data = memoryview(json.dumps(value).encode() + b"\n")
        end = time.monotonic() + self.limits.seconds + 30
        while data:
            _, ready, _ = select.select([], [self._in], [], max(0.0, end - time.monotonic()))
            if not ready:
                raise Failure("timeout", "it does not read its input")
            try:
                data = data[os.write(self._in, data) :]
            except BlockingIOError:
                continue
            except BrokenPipeError:
                raise self._ended() from None

    def _receive(self, seconds: float) -> dict[str, Any]:
        """The next line, within time and size."""
        end = time.monotonic() + seconds
        most = 6 * self.limits.text_bytes + 4096  # JSON escapes a control character in six
        searched = 0
        while True:
            newline = self._buffer.find(b"\n", searched)
            if newline >= 0:
                break
            searched = len(self._buffer)
            if searched > most:
                raise Failure("output", f"it wrote more than {most} bytes in one text")
            ready, _, _ = select.select([self._out], [], [], max(0.0, end - time.monotonic()))
            if not ready:
                raise Failure("timeout", f"it took more than {seconds:g} seconds")
            data = os.read(self._out, 1 << 20)
            if not data:
                raise self._ended()
            self._buffer += data
        line = bytes(self._buffer[:newline])
        del self._buffer[: newline + 1]
        try:
            answer = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise Failure("died", "it sent something that is no text") from error
        return answer if isinstance(answer, dict) else {}

    def _ended(self) -> Failure:
        try:
            status = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            return Failure("died", "it closed its output")
        if status == -signal.SIGXCPU or status == -signal.SIGKILL:
            return Failure("timeout", "it was killed: too much processor time, or memory")
        return Failure("died", f"its process ended (status {status})")
