"""One HTTP attempt, and what its outcome means: an answer, a failure worth another attempt, or a refusal.

The asynchronous ``openai`` client sends. The time limit holds for the whole attempt (see `synth.llm.limits`; servers
keep waiting connections alive with blank lines), and bodies, of errors too, are read here piece by piece up to a limit.
What comes back is not trusted: only the text, the reason it ended, the model's name and token counts are taken, each
checked. Redirects are not followed: what is sent stays with the host that was named.
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

from synth.llm.limits import Attempts, TooLate
from synth.llm.settings import NO_KEY, ChatSettings

BYTES_PER_TOKEN = 256
"""Longest body accepted per token of the answer, beyond the first MiB."""
ERROR_BYTES = 64 * 1024
"""Read of an error's body."""
_REFUSED_TEXT = re.compile(
    r"content.?(filter|policy|exists.risk|management)|data_inspection|moderation", re.I
)
_FORMAT = re.compile(r"response_format|json_schema|json_object|structured.?output|guided|grammar", re.I)
_HINTS = {
    400: "check --model, --temperature, --max-tokens and --json-mode; of a prompt that is too long send less "
    "(--per-request, --max-chars)",
    401: "check the key",
    402: "the account has no balance left",
    403: "the key may not use this model, or not from here",
    404: "check --base-url and --model",
    405: "check --base-url",
    413: "the prompt is too long; send less (--per-request, --max-chars)",
    422: "check --model, --temperature and --max-tokens",
}


@dataclass(frozen=True, kw_only=True)
class Reply:
    """The parts of an answer that are taken; see `synth.llm.cache.Answer`."""

    text: str
    finish_reason: str
    model: str
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class Failed(Exception):
    """This attempt brought nothing; another may.

    Attributes:
        billed: whether the server may have worked, and bill it.
        wait_s: how long it asks to be left alone; None: it does not say.
    """

    def __init__(self, text: str, billed: bool, wait_s: float | None = None):
        super().__init__(text)
        self.billed = billed
        self.wait_s = wait_s


class Refused(Exception):
    """The server will not do this, however often it is asked.

    Attributes:
        about_format: it complains of the wanted form of the answer.
        about_limit_name: it wants ``max_completion_tokens`` in place of ``max_tokens``.
        filtered: it complains of the text it was sent.
    """

    def __init__(self, status: int, said: str):
        super().__init__(f"HTTP {status}: {said}" + (f" ({_HINTS[status]})" if status in _HINTS else ""))
        bad_request = status in (400, 422)
        self.filtered = bad_request and bool(_REFUSED_TEXT.search(said))
        self.about_format = bad_request and bool(_FORMAT.search(said))
        self.about_limit_name = bad_request and "max_completion_tokens" in said


@dataclass
class _Attempt:
    """``sent``: whether any of the request has left, so that the server may have worked."""

    sent: bool = False

    async def trace(self, event: str, info: Any) -> None:
        """Called by the client at every step of a request."""
        if event.endswith("send_request_headers.started") and info["request"].method == b"POST":
            self.sent = True  # of a tunnel's CONNECT the server sees nothing


_attempt: ContextVar[_Attempt] = ContextVar("_attempt")


class Wire:
    """A connection to the server of ``settings``; thread-safe."""

    def __init__(self, settings: ChatSettings):
        self._settings = settings
        self._key = settings.key()
        self._attempts = Attempts()
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

    def close(self) -> None:
        """End what is under way."""
        self._attempts.run(self._client.close(), self._settings.timeout_s)
        self._attempts.close()

    def send(self, parameters: dict[str, Any]) -> Reply:
        """One attempt.

        Raises:
            Failed, Refused: see there; no key stands in their texts.
        """
        attempt = _Attempt()
        limit = f"within {self._settings.timeout_s:g} s"
        try:
            body = self._attempts.run(self._body(parameters, attempt), self._settings.timeout_s)
        except TooLate:
            missing = "whole answer" if attempt.sent else f"connection to {self._settings.base_url}"
            raise Failed(f"no {missing} {limit}", billed=attempt.sent) from None
        except openai.APIConnectionError as error:
            where = "the connection broke off" if attempt.sent else f"no connection to {self._settings.base_url}"
            raise Failed(self._plain(f"{where}: {error.__cause__ or error}"), billed=attempt.sent) from None
        except Exception as error:
            if type(error).__module__.partition(".")[0] not in ("httpx", "httpx2", "httpcore", "httpcore2"):
                raise
            raise Failed(self._plain(f"the answer broke off: {error}"), billed=True) from None
        return Reply(text="", finish_reason="length", model="") if body is None else self._reply(body)

    async def _body(self, parameters: dict[str, Any], attempt: _Attempt) -> bytes | None:
        """Of the answer; None where it is longer than any answer is."""
        _attempt.set(attempt)
        most = 2**20 + BYTES_PER_TOKEN * self._settings.max_tokens
        body = bytearray()
        async with self._client.chat.completions.with_streaming_response.create(**parameters) as response:
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
            raise Refused(
                status,
                self._plain(f"it redirects to {where}")
                + ", and nothing is sent elsewhere than --base-url says; give another --base-url if that is right",
            )
        body = bytearray()
        async for piece in response.aiter_bytes():
            body += piece
            if len(body) > ERROR_BYTES:
                break
        said = body[:ERROR_BYTES].decode("utf-8", "replace")
        try:
            error = json.loads(said)
            error = error.get("error", error)
            message, code = error.get("message"), error.get("code")
        except (ValueError, RecursionError, AttributeError):
            message = code = None
        said = self._plain(str(message or said or response.reason_phrase))
        if (status in (408, 409, 425, 429) or status >= 500) and code != "insufficient_quota":
            # behind a gateway's time-out a model may have been at work; the other errors came in its place
            billed = status == 408 or (status > 501 and status not in (503, 529))
            raise Failed(f"HTTP {status}: {said}", billed, retry_after(response.headers.get("retry-after")))
        raise Refused(status, said)

    def _reply(self, body: bytes) -> Reply:
        try:
            content = json.loads(body)
            choice = content["choices"][0]
            message = choice["message"]
            text, reason = message.get("content"), choice.get("finish_reason")
            refusal = message.get("refusal")
            usage, model = content.get("usage"), content.get("model")
        except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
            said = self._plain(body[:200].decode("utf-8", "replace"))
            raise Failed(f"the answer is not one of the chat API: {said!r}", billed=True) from None
        text = self._sound(text)
        if isinstance(refusal, str) and refusal and not text:
            reason = "refusal"
        if not isinstance(usage, dict):
            usage = {}
        counts = [_count(usage.get(name)) for name in ("prompt_tokens", "completion_tokens")]
        return Reply(
            text=text,
            finish_reason=self._sound(reason)[:40],
            model=self._sound(model)[:100],
            prompt_tokens=counts[0],
            completion_tokens=counts[1],
        )

    def _sound(self, text: Any) -> str:
        """A string that can be written down, without the key."""
        if not isinstance(text, str):
            return ""
        return self._hide(text.encode("utf-8", "replace").decode())

    def _plain(self, text: str) -> str:
        """For an error message: one short line, without the key."""
        text = self._hide("".join(c if c.isprintable() else " " for c in text))
        return " ".join(text.split())[:300]

    def _hide(self, text: str) -> str:
        return text if self._key == NO_KEY else text.replace(self._key, "[key]")


async def _watch(request: Any) -> None:
    """For every request: lets its attempt know how far it is."""
    request.extensions["trace"] = _attempt.get().trace


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**12 else None


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
