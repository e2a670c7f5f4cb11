"""What an attempt that brought no answer means: another one may help, or none will.

A server says it by its status, or, as routers do, by an error with a code within an answer of status 200; both are
judged by one rule. What a refusal complains of is read from its words, since no two servers use the same codes.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_CHECK_URL = "check --base-url (that of many servers ends in /v1)"
_HINTS = {
    400: "check --model, --temperature, --max-tokens and --json-mode; of a prompt that is too long send less "
    "(--per-request, --max-chars)",
    401: "check the key",
    402: "the account has no balance left",
    403: "the key may not use this model, or not from here",
    404: f"{_CHECK_URL} and --model",
    405: _CHECK_URL,
    413: "the prompt is too long; send less (--per-request, --max-chars)",
    422: "check --model, --temperature and --max-tokens",
}
_CODES = {
    "insufficient_quota": 402,
    "invalid_api_key": 401,
    "authentication_error": 401,
    "permission_error": 403,
    "model_not_found": 404,
    "not_found_error": 404,
    "invalid_request_error": 400,
    "context_length_exceeded": 400,
    "content_filter": 400,
    "rate_limit_exceeded": 429,
    "rate_limit_error": 429,
    "overloaded_error": 529,
}
"""Codes in words, as servers write them where others write an HTTP status."""
OWN_FAULT = (500, 501)
"""What servers that know no structured output say of it, besides 400 and 422."""
_FILTER = re.compile(
    r"content.?(filter|policy|exists.risk|management)|data_inspection|moderation", re.IGNORECASE
)
_FORMAT = re.compile(
    r"response.?format|json.?schema|json_object|json.?mode|structured.?output|guided|grammar|\bschema\b",
    re.IGNORECASE,
)
_TEMPERATURE = re.compile(r"\btemperature\b", re.IGNORECASE)
_LIMIT = re.compile(r"max_?tokens", re.IGNORECASE)
_OTHER_LIMIT = re.compile(r"max_?completion_?tokens", re.IGNORECASE)
_NO_SUCH = re.compile(
    r"unsupported|not supported|unrecogni[sz]ed|unknown|not permitted|forbidden|extra|deprecated",
    re.IGNORECASE,
)
_TOO_LONG = re.compile(
    r"context.?(length|window|size)|too (long|large|many tokens)|reduce the length"
    r"|(maximum|exceed)\D{0,40}(tokens|length|context)",
    re.IGNORECASE,
)


Plain = Callable[[str], str]


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
    """The server will not do this, however often it is asked, and bills nothing.

    Attributes:
        about_format: it complains of the wanted form of the answer.
        about_temperature: of a temperature.
        about_limit: of the name of the limit (``max_tokens`` or ``max_completion_tokens``).
        filtered: of the text it was sent; too_long: of how much that is.
    """

    def __init__(self, shown: str, status: int, said: "Said", formatted: bool = False):
        super().__init__(shown + (f" ({_HINTS[status]})" if status in _HINTS else ""))
        words = f"{said.text} {said.param} {said.code}"
        bad = status in (400, 422)
        self.about_format = (bad or (formatted and status in OWN_FAULT)) and bool(_FORMAT.search(words))
        self.about_temperature = bad and bool(_TEMPERATURE.search(words))
        self.about_limit = bad and (
            bool(_OTHER_LIMIT.search(words)) or bool(_LIMIT.search(words) and _NO_SUCH.search(words))
        )
        self.filtered = (bad or status == 403) and bool(_FILTER.search(words))
        self.too_long = status == 413 or (bad and bool(_TOO_LONG.search(words)))


class WrongPlace(Refused):
    """What answers there is no chat API."""

    def __init__(self, shown: str):
        super().__init__(f"{shown}: that is no chat API", 405, Said(""))


@dataclass(frozen=True)
class Said:
    """An error in a server's words.

    Attributes:
        code: in digits or words; param: which parameter it is about. Empty where it does not say.
    """

    text: str
    code: str = ""
    param: str = ""

    @staticmethod
    def of(content: Any) -> "Said | None":
        """The error that a parsed body tells, if it tells one."""
        error = content.get("error") if isinstance(content, dict) else None
        if not error and isinstance(content, dict) and content.get("object") == "error":
            error = content
        if isinstance(error, str):
            return Said(error)
        if not isinstance(error, dict) or not error:
            return None
        text = str(error.get("message") or error)
        metadata = error.get("metadata")
        raw = metadata.get("raw") if isinstance(metadata, dict) else None
        if isinstance(raw, str) and raw:  # of the server behind a router, which says what is wrong
            text += f": {raw}"
        code = error.get("code") if error.get("code") not in (None, "") else error.get("type")
        return Said(text, str(code or "")[:100], str(error.get("param") or "")[:100])

    @property
    def status(self) -> int | None:
        """The HTTP status that the code is or stands for; None where it is neither."""
        if re.fullmatch(r"[45]\d\d", self.code):
            return int(self.code)
        return _CODES.get(self.code.lower())


def judge(
    status: int,
    said: Said,
    plain: Plain,
    *,
    formatted: bool,
    wait_s: float | None = None,
    answered: bool = False,
) -> Failed | Refused:
    """What an error means.

    Args:
        plain: makes a server's words fit for a message.
        formatted: structured output or JSON was asked for: servers that know neither may call that their own error.
        answered: it came within an answer of status 200, so that the model may have been at work.
    """
    shown = f"error {status} within an answer" if answered else f"HTTP {status}"
    shown += f": {plain(said.text)}"
    passing = status in (408, 409, 425, 429) or status >= 500
    form_unknown = formatted and status in OWN_FAULT and _FORMAT.search(said.text)
    if passing and not form_unknown and said.code.lower() != "insufficient_quota":
        # behind a gateway's time-out a model may have been at work; the other errors came in its place
        billed = status == 408 or (status >= 500 and status not in (503, 529) and (answered or status > 501))
        return Failed(shown, billed, wait_s)
    return Refused(shown, status, said, formatted)


def page(text: str) -> str | None:
    """What to call ``text`` where it is a web page; None where it is none."""
    if not text.lstrip("\ufeff \t\r\n").startswith("<"):
        return None
    title = re.search(r"<title[^>]*>([^<]{1,200})", text, re.IGNORECASE)
    return "a web page" + (f" ({' '.join(title[1].split())})" if title and title[1].strip() else "")
