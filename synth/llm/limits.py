"""An HTTP client whose attempts end at a deadline, however slowly or long the server sends.

``httpx`` limits single reads, so that a byte now and then, in the headers or in the body of an error, lasts for ever.
Here a read or write gets no more time than its attempt has left. Redirects are not followed: what is sent stays with
the host that was named.
"""

import math
import threading
import time
from collections.abc import Callable
from typing import Any

import openai

PIECE = 16 * 1024
"""Bytes written at once: one is sent whole or not at all, so that the deadline is looked at in between."""


class TooLate(Exception):
    """The attempt's time is over. No class of ``httpx``: those become errors of connections on their way up."""


class Deadline(threading.local):
    """When this thread's attempt must have ended, on the monotonic clock."""

    at: float = math.inf

    def left(self, timeout: float | None) -> float:
        """Seconds that a step may take."""
        left = self.at - time.monotonic()
        if left <= 0:
            raise TooLate
        return left if timeout is None else min(left, timeout)


def client_with(deadline: Deadline, timeout_s: float, on_response: Callable[[Any], None]) -> Any:
    """A client for ``openai.OpenAI(http_client=…)``, proxies of the environment included.

    Args:
        on_response: is called with every response before its body is read.
    """
    client = openai.DefaultHttpxClient(
        timeout=timeout_s, follow_redirects=False, event_hooks={"response": [on_response]}
    )
    transports: list[Any] = [client._transport, *client._mounts.values()]
    for transport in transports:  # no public way leads there and keeps the proxies
        if transport is not None:
            transport._pool._network_backend = _Backend(transport._pool._network_backend, deadline)
    return client


class _Backend:
    """Opens connections that keep to the deadline; a `httpcore.NetworkBackend`."""

    def __init__(self, inner: Any, deadline: Deadline):
        self._inner = inner
        self._deadline = deadline

    def connect_tcp(self, host: str, port: int, timeout: float | None = None, **options: Any) -> "_Stream":
        left = self._deadline.left(timeout)
        return _Stream(self._inner.connect_tcp(host, port, timeout=left, **options), self._deadline)

    def sleep(self, seconds: float) -> None:
        self._inner.sleep(self._deadline.left(seconds))


class _Stream:
    """A `httpcore.NetworkStream` that keeps to the deadline."""

    def __init__(self, inner: Any, deadline: Deadline):
        self._inner = inner
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        data: bytes = self._in_time(self._inner.read, max_bytes, timeout)
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        for start in range(0, len(buffer), PIECE):
            self._in_time(self._inner.write, buffer[start : start + PIECE], timeout)

    def _in_time(self, step: Callable[..., Any], what: Any, timeout: float | None) -> Any:
        try:
            return step(what, timeout=self._deadline.left(timeout))
        except Exception as error:
            if type(error).__name__ in ("ReadTimeout", "WriteTimeout"):
                raise TooLate from None
            raise

    def start_tls(self, ssl_context: Any, server_hostname: Any = None, timeout: Any = None) -> "_Stream":
        left = self._deadline.left(timeout)
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, left), self._deadline)

    def close(self) -> None:
        self._inner.close()

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)
