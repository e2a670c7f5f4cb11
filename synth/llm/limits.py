"""Attempts that end in time: an event loop in a thread of its own, where each is cancelled at its deadline.

``httpx`` limits single reads, so that a byte now and then, in the headers or in the body of an error, lasts for ever.
The asynchronous client can be cancelled wherever it waits (name look-up, connecting, sending, reading), which no time
limit of single steps can do.
"""

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class TooLate(Exception):
    """The attempt's time is over."""


class Attempts:
    """Runs coroutines for threads that wait; thread-safe until it is closed."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="attempts", daemon=True)
        self._thread.start()

    def run(self, attempt: Coroutine[Any, Any, T], seconds: float) -> T:
        """What ``attempt`` returns or raises, within ``seconds``.

        Raises:
            TooLate: it did not end; it is cancelled.
        """
        future = asyncio.run_coroutine_threadsafe(_in_time(attempt, seconds), self._loop)
        try:
            return future.result()
        except BaseException:  # above all Ctrl-C in the thread that waits
            future.cancel()
            raise

    def close(self, last: Coroutine[Any, Any, None]) -> None:
        """End what is under way, do what is ``last``, and end the thread."""
        asyncio.run_coroutine_threadsafe(_end(last), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _in_time(attempt: Coroutine[Any, Any, T], seconds: float) -> T:
    try:
        return await asyncio.wait_for(attempt, seconds)
    except asyncio.TimeoutError:
        raise TooLate from None


async def _end(last: Coroutine[Any, Any, None]) -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await last
