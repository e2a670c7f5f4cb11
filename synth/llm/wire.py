"""One HTTP attempt: an answer (`replies`), a failure worth another attempt, or a refusal (`outcomes`).

The asynchronous ``openai`` client sends. The time limit holds for the whole attempt (see `synth.llm.limits`; servers
keep waiting connections alive with blank lines), and bodies, of errors too, are read here piece by piece up to a limit.
Redirects are not followed: what is sent stays with the host that was named. What a server says is shown without the
key; its answers are never changed.
"""

import email.utils
import json
import math
import re
import time
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import openai

from curator.errors import UsageError
from synth.llm.limits import Attempts, TooLate
from synth.llm.outcomes import Failed, Refused, Said, WrongPlace, judge, page
from synth.llm.replies import Reply, read_reply
from synth.llm.settings import NO_KEY, ChatSettings

BYTES_PER_TOKEN = 256
"""Longest body accepted per token of the answer, beyond the first MiB."""
ERROR_BYTES = 64 * 1024
"""Read of an error's body."""
NO_SECRET = 4
"""A key of fewer characters is not hidden in messages: it is none, and would blot out half of every sentence."""
SECRET = 16
"""From so many on a key is hidden wherever it stands; a shorter one may be a word, and is where it stands alone."""

_NO_HTTP = re.compile("illegal (request|status) line|wrong.version.number", re.IGNORECASE)


@dataclass
class _Attempt:
    """``formatted``: it asks for JSON; ``sent``: some of it has left, so that the server may have worked."""

    formatted: bool
    sent: bool = False

    async def trace(self, event: str, info: Any) -> None:
        """Called by the client at every step of a request."""
        if event.endswith("send_request_headers.started") and info["request"].method == b"POST":
            self.sent = True  # of a tunnel's CONNECT the server sees nothing


_attempt: ContextVar[_Attempt] = ContextVar("_attempt")


class Wire:
    """A connection to the server of ``settings``; thread-safe.

    Raises:
        CuratorError: there is no key for it, or its address is none.
    """

    def __init__(self, settings: ChatSettings):
        self._settings = settings
        self._key = settings.key()
        self._attempts = Attempts()
        try:
            self._client = openai.AsyncOpenAI(
                api_key=self._key,
                base_url=settings.base_url,
                timeout=None,  # that of the attempt rules them all
                max_retries=0,
                http_client=openai.DefaultAsyncHttpxClient(
                    timeout=None,
                    follow_redirects=False,
                    event_hooks={"request": [_watch], "response": [self._check_status]},
                ),
            )
        except Exception as error:
            if type(error).__name__ != "InvalidURL":
                raise
            raise UsageError(
                f"--base-url {self._plain(settings.base_url)}: {self._plain(str(error))}"
            ) from None
        # loads a large part of the library, in time that is no attempt's
        self._create = self._client.chat.completions.with_streaming_response.create

    def close(self) -> None:
        """End what is under way."""
        self._attempts.close(self._client.close())

    def send(self, parameters: dict[str, Any]) -> Reply:
        """One attempt.

        Raises:
            Failed, Refused: see there; no key stands in their texts.
        """
        attempt = _Attempt(formatted="response_format" in parameters)
        limit = f"within {self._settings.timeout_s:g} s"
        try:
            body = self._attempts.run(self._body(parameters, attempt), self._settings.timeout_s)
        except TooLate:
            missing = "whole answer" if attempt.sent else f"connection to {self._settings.base_url}"
            raise Failed(f"no {missing} {limit}", billed=attempt.sent) from None
        except openai.APIConnectionError as error:
            cause = self._plain(str(error.__cause__ or error))
            if _NO_HTTP.search(cause):
                raise WrongPlace(f"{self._settings.base_url} speaks no HTTP: {cause}") from None
            where = (
                "the connection broke off" if attempt.sent else f"no connection to {self._settings.base_url}"
            )
            raise Failed(f"{where}: {cause}", billed=attempt.sent) from None
        except Exception as error:
            if type(error).__module__.partition(".")[0] not in ("httpx", "httpx2", "httpcore", "httpcore2"):
                raise
            raise Failed(f"the answer broke off: {self._plain(str(error))}", billed=True) from None
        if body is None:
            return Reply(text="", finish_reason="length", model="")
        return read_reply(body, self._settings.base_url, attempt.formatted, self._plain)

    async def _body(self, parameters: dict[str, Any], attempt: _Attempt) -> bytes | None:
        """Of the answer; None where it is longer than any answer is."""
        _attempt.set(attempt)
        most = 2**20 + BYTES_PER_TOKEN * self._settings.max_tokens
        body = bytearray()
        async with self._create(**parameters) as response:
            async for piece in response.iter_bytes():
                body += piece
                if len(body) > most:
                    return None
        return bytes(body)

    async def _check_status(self, response: Any) -> None:
        """For every response before its body is read: the client would read all that an error says.

        Raises:
            Failed, Refused: it is no answer.
        """
        status = response.status_code
        if status < 300:
            return
        where = response.headers.get("location")
        if status < 400 and where:
            shown = (
                f"HTTP {status}: it redirects to {self._plain(where)}, and nothing is sent elsewhere than "
            )
            raise Refused(
                shown + "--base-url says; give another --base-url if that is right", status, Said("")
            )
        body = bytearray()
        async for piece in response.aiter_bytes():
            body += piece
            if len(body) > ERROR_BYTES:
                break
        text = body[:ERROR_BYTES].decode("utf-8", "replace")
        try:
            error = Said.of(json.loads(text))
        except (ValueError, RecursionError):
            error = None
        wait_s = retry_after(response.headers.get("retry-after"))
        said = error or Said(page(text) or text.strip() or response.reason_phrase)
        raise judge(status, said, self._plain, formatted=_attempt.get().formatted, wait_s=wait_s)

    def _plain(self, text: str) -> str:
        """A server's words for an error message: one short line, without the key."""
        text = hide(self._key, "".join(c if c.isprintable() else " " for c in text))
        return " ".join(text.split())[:300]


def hide(key: str, text: str) -> str:
    """``text`` without the key, as far as that is one."""
    if key == NO_KEY or len(key) < NO_SECRET:
        return text
    if len(key) >= SECRET:
        return text.replace(key, "[key]")
    return re.sub(rf"(?<![A-Za-z0-9]){re.escape(key)}(?![A-Za-z0-9])", "[key]", text)


async def _watch(request: Any) -> None:
    """For every request: lets its attempt know how far it is."""
    request.extensions["trace"] = _attempt.get().trace


def retry_after(value: str | None) -> float | None:
    """Seconds of a Retry-After header, which gives seconds or a date; None where it makes no sense."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, TypeError, OverflowError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None
