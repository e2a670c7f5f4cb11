"""The two pipes to a locked process, within bounds of time and size.

Whoever holds the other end is not trusted: it may write too much, too slowly, before it was asked, or not at all, and
may never read. Nothing here waits longer than it was told, or keeps more than the text that was allowed.
"""

import os
import select
import time

from synth.sandbox.failure import Failure
from synth.sandbox.wire import LONGEST_HEADER, parse_header

CHUNK = 1 << 16
"""Bytes read at once: what a pipe holds."""


class Closed(Exception):
    """The other end is gone."""


class Channel:
    """Frames over two descriptors, neither of which blocks.

    Args:
        most: bytes of the longest text.
    """

    def __init__(self, out: int, back: int, most: int):
        self._out, self._back = out, back
        self._most = most
        self._unsent = bytearray()
        self._unread = bytearray()
        os.set_blocking(out, False)
        os.set_blocking(back, False)

    def send(self, data: bytes) -> None:
        """On its way; what does not fit the pipe goes out while `receive` waits, so that nothing waits here.

        Raises:
            Closed: the other end is gone.
        """
        self._unsent += data
        self._write()

    def receive(self, seconds: float) -> tuple[str, int, bytes]:
        """The next frame.

        Raises:
            Failure: it takes too long, is too long, or is no frame.
            Closed: the other end is gone.
        """
        end = time.monotonic() + seconds
        newline = self._unread.find(b"\n")
        while newline < 0 and len(self._unread) <= LONGEST_HEADER:
            self._more(end, seconds)
            newline = self._unread.find(b"\n")
        try:
            word, number, length = parse_header(bytes(self._unread[: newline + 1 or LONGEST_HEADER + 1]))
        except ValueError:
            raise Failure("died", "it sent something that is no text") from None
        if length > self._most:
            raise Failure("output", f"it sent {length} bytes as one text; {self._most} are allowed")
        start = newline + 1
        while len(self._unread) < start + length:
            self._more(end, seconds)
        data = bytes(self._unread[start : start + length])
        del self._unread[: start + length]
        return word, number, data

    def quiet(self) -> bool:
        """Whether nothing lies there unread."""
        poll = select.poll()
        poll.register(self._back, select.POLLIN)
        return not self._unread and not any(event & select.POLLIN for _, event in poll.poll(0))

    def _more(self, end: float, seconds: float) -> None:
        """Wait until there is more to read; meanwhile, write."""
        while True:
            poll = select.poll()
            poll.register(self._back, select.POLLIN)
            if self._unsent:
                poll.register(self._out, select.POLLOUT)
            ready = [descriptor for descriptor, _ in poll.poll(max(0.0, end - time.monotonic()) * 1000)]
            if not ready:
                raise Failure("timeout", f"it took more than {seconds:g} seconds")
            if self._back in ready:
                break
            self._write()
        data = os.read(self._back, CHUNK)
        if not data:
            raise Closed
        self._unread += data

    def _write(self) -> None:
        try:
            while self._unsent:
                del self._unsent[: os.write(self._out, self._unsent[:CHUNK])]
        except BlockingIOError:
            return
        except BrokenPipeError:
            raise Closed from None
