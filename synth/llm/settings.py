"""What is asked, where, at what price and with which key. The defaults are DeepSeek's.

Facts about DeepSeek (api-docs.deepseek.com, as of 2026-11-15): the paper's ``deepseek-chat`` (V3) was switched off in
July 2026 and ``deepseek-flash`` is its successor; response_format knows ``json_object`` but no ``json_schema``; models
think by default, which is billed and counts towards max_tokens, so it is turned off here unless asked for.
"""

import os
import re
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from curator.artifacts.conditions import Only
from curator.artifacts.fields import Count, Index, NotNegative
from curator.artifacts.flags import Flag
from curator.artifacts.schema import GivenPath, Rule, Settings
from curator.errors import CuratorError

JsonMode = Literal["auto", "schema", "object", "text"]
DEEPSEEK_KEY = "DEEPSEEK_API_KEY"
OPENAI_KEY = "OPENAI_API_KEY"
NO_KEY = "no-key"
"""Sent to a server on this machine when no key is set."""
PRICES = {"deepseek-flash": (0.30, 1.20)}
"""USD per million tokens (prompt, answer) at DeepSeek, 2026-11-15: at peak hours and without cache hits, so that the
bill is at most what is counted; off-peak is half of it."""


LLM = "Engine llm (any server that speaks the OpenAI chat API)"
"""Heading of the flags that only this engine heeds."""


def _is_address(value: str) -> bool:
    """Whether a request could be sent there."""
    try:
        url = urlsplit(value)
        if url.scheme not in ("http", "https") or not url.hostname or url.port == 0:
            return False
        if url.hostname.isascii():
            url.hostname.encode("idna")  # as it is looked up
    except ValueError:  # brackets that do not close, a port that is no number, a name that no host has
        return False
    return not re.search(r"\s", value) and value.isprintable()


def _without_secrets(value: str) -> str:
    url = urlsplit(value)
    if url.username or url.password or url.query or url.fragment:
        raise ValueError("no user, password or query belongs there; the key is read from --key-env")
    return value


NOT_NEGATIVE = "a number of at least 0, or none"


def _number_or_none(value: Any) -> Any:
    """What a flag says as text."""
    if not isinstance(value, str):
        return value
    try:
        return None if value.lower() == "none" else float(value)
    except ValueError as error:
        raise PydanticCustomError("rule", "{given}", {"given": repr(value), "says": NOT_NEGATIVE}) from error


Temperature = Annotated[
    float | None,
    Rule(NOT_NEGATIVE, lambda v: v is None or v >= 0),
    BeforeValidator(_number_or_none),
    Flag(text="NUMBER|none"),
]


class ChatSettings(Settings):
    """How to ask."""

    base_url: Annotated[
        str,
        Rule("a URL such as https://api.deepseek.com, without blanks or unprintable characters", _is_address),
        AfterValidator(_without_secrets),
    ] = "https://api.deepseek.com"
    """Of the API."""
    model: Annotated[str, Rule("the model's name", lambda v: bool(v.strip()))] = "deepseek-flash"
    """As the server calls it."""
    api_key_env: Annotated[str, Flag(name="key-env")] = DEEPSEEK_KEY
    """Environment variable that holds the key; else OPENAI_API_KEY."""
    # Neither DeepSeek's nor OpenAI's key is sent to the other; a server on this machine needs none.
    json_mode: JsonMode = "auto"
    """schema, object (JSON without schema), text, or auto: the first that the server takes."""
    temperature: Temperature = 0.0
    """Of sampling; none sends none, for models that take none."""
    max_tokens: Count = 8192
    """Longest answer."""
    timeout_s: Annotated[float, Field(ge=0.1), Flag(name="timeout")] = 300.0
    """Seconds to wait for an answer."""
    max_retries: Annotated[Index, Flag(name="retries")] = 6
    """After 429, 5xx, timeouts and dropped connections."""
    concurrency: Count = 8
    """Requests at once."""
    budget: NotNegative | None = None
    """USD; stop before it is passed."""
    # That is what all runs with the same cache may cost together.
    price_in: Annotated[NotNegative | None, Flag(default="known for the default model")] = None
    """USD per million prompt tokens."""
    price_out: NotNegative | None = None
    """USD per million tokens of answers."""
    thinking: Annotated[bool, Flag(hidden=True)] = False
    """Let DeepSeek's models think before they answer; means nothing elsewhere."""

    def check(self) -> None:
        """A budget needs prices; only DeepSeek's models are told whether to think."""
        if self.thinking and not self.at_deepseek:
            raise ValueError(f"'thinking' is DeepSeek's alone, and means nothing at {self.base_url}")
        if self.budget is not None and self.prices is None:
            raise ValueError(
                f"a 'budget' needs prices, and those of {self.model} at {self.base_url} are not known; give --price-in "
                "and --price-out (USD per million tokens)"
            )

    @property
    def host(self) -> str:
        return urlsplit(self.base_url).hostname or ""

    @property
    def at_deepseek(self) -> bool:
        return self.host == "deepseek.com" or self.host.endswith(".deepseek.com")

    @property
    def on_this_machine(self) -> bool:
        return self.host in ("localhost", "::1") or self.host.startswith("127.")

    @property
    def prices(self) -> tuple[float, float] | None:
        """USD per token of the prompt and of the answer; None where either is unknown."""
        known = PRICES.get(self.model, (None, None)) if self.at_deepseek else (None, None)
        each = [
            known[i] if given is None else given for i, given in enumerate((self.price_in, self.price_out))
        ]
        if each[0] is None or each[1] is None:
            return None
        return each[0] / 1e6, each[1] / 1e6

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float | None:
        """USD; None where prices are unknown."""
        prices = self.prices
        return None if prices is None else prompt_tokens * prices[0] + completion_tokens * prices[1]

    def key_names(self) -> tuple[str, ...]:
        """Environment variables that may hold the key, in order."""
        barred = OPENAI_KEY if self.at_deepseek else "" if self.on_this_machine else DEEPSEEK_KEY
        return tuple(name for name in dict.fromkeys((self.api_key_env, OPENAI_KEY)) if name != barred)

    def key(self) -> str:
        """The key; it is never stored or shown.

        Raises:
            CuratorError: there is none, or it cannot stand in a header.
        """
        names = self.key_names()
        for name in names:
            key = os.environ.get(name, "").strip()
            if key:
                if not (key.isascii() and key.isprintable()) or " " in key:
                    raise CuratorError(f"{name}: holds characters that no API key has; set it again")
                return key
        if self.on_this_machine:
            return NO_KEY
        raise CuratorError(
            f"no key for {self.base_url}: set the environment variable {' or '.join(names)} (or name another with "
            "--key-env); --engine builtin needs none"
        )

    def identity(self) -> dict[str, Any]:
        """What decides the answers, for manifests."""
        return {
            "base_url": self.base_url.rstrip("/"),
            "model": self.model,
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
            **self.extra_body(),
        }

    def extra_body(self) -> dict[str, Any]:
        """What is sent besides the parameters every server knows."""
        return {"thinking": {"type": "enabled" if self.thinking else "disabled"}} if self.at_deepseek else {}


# -- what the stages share that a language model does, or the builtin engine --------------------------------

ASKS_NOBODY = "asks nobody and costs nothing"
Engine = Annotated[
    Literal["llm", "builtin"], Field(description="llm, or builtin: by rule, without key and network.")
]
OfLlm = Only("engine", "llm")
PromptFile = Annotated[
    GivenPath | None,
    Field(description="Your own prompt file instead of the one of this version."),
    OfLlm,
    Flag(panel=LLM),
]
Tries = Annotated[
    Index,
    Field(description="How often an answer that fails goes back with the reason."),
    OfLlm,
    Flag(panel=LLM),
]
Asked = Annotated[ChatSettings, OfLlm, Flag(flat=True, panel=LLM)]
