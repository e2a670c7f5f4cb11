"""What is asked, where, at what price and with which key. The defaults are DeepSeek's.

Facts about DeepSeek (api-docs.deepseek.com, as of 2026-11-15): the paper's ``deepseek-chat`` (V3) was switched off in
July 2026 and ``deepseek-flash`` is its successor; response_format knows ``json_object`` but no ``json_schema``; models
think by default, which is billed and counts towards max_tokens, so it is turned off here unless asked for.
"""

import math
import os
import re
from dataclasses import dataclass
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

from curator.errors import CuratorError, UsageError
from curator.visible import visible

JsonMode = Literal["auto", "schema", "object", "text"]
DEEPSEEK_KEY = "DEEPSEEK_API_KEY"
OPENAI_KEY = "OPENAI_API_KEY"
NO_KEY = "no-key"
"""Sent to a server on this machine when no key is set."""
PRICES = {"deepseek-flash": (0.30, 1.20)}
"""USD per million tokens (prompt, answer) at DeepSeek, 2026-11-15: at peak hours and without cache hits, so that the
bill is at most what is counted; off-peak is half of it."""


@dataclass(frozen=True, kw_only=True)
class ChatSettings:
    """How to ask.

    Attributes:
        api_key_env: environment variable of the key, else OPENAI_API_KEY. Neither DeepSeek's nor OpenAI's key is sent
            to the other; a server on this machine needs none.
        temperature: of sampling; None: none is sent, as for models that take none; max_tokens: longest answer.
        timeout_s: for one whole attempt; max_retries: after 429, 5xx, timeouts and dropped connections.
        json_mode: ``schema`` (structured output), ``object`` (any JSON), ``text``, or ``auto``: the first of these that
            the server takes.
        price_in, price_out: USD per million tokens; None: known for the default model alone.
        budget: USD that all runs with the same cache may cost together; None: no limit.
        thinking: let DeepSeek's models think before they answer; means nothing elsewhere.
    """

    base_url: str = "https://api.deepseek.com"
    model: str = "deepseek-flash"
    api_key_env: str = DEEPSEEK_KEY
    temperature: float | None = 0.0
    max_tokens: int = 8192
    timeout_s: float = 300.0
    max_retries: int = 6
    concurrency: int = 8
    json_mode: JsonMode = "auto"
    price_in: float | None = None
    price_out: float | None = None
    budget: float | None = None
    thinking: bool = False

    def __post_init__(self) -> None:
        odd = re.search(r"\s", self.base_url) or not self.base_url.isprintable()
        try:
            url = urlsplit(self.base_url)
            sound = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
            if sound and self.host.isascii():
                self.host.encode("idna")  # as it is looked up
        except ValueError:  # brackets that do not close, a port that is no number, a name that no host has
            sound = False
        if odd or not sound:
            raise UsageError(
                f"--base-url {' '.join(visible(self.base_url).splitlines())}: expected a URL such as "
                "https://api.deepseek.com" + (", without blanks or unprintable characters" if odd else "")
            )
        if url.username or url.password or url.query or url.fragment:
            raise UsageError(
                "--base-url: no user, password or query belongs there; the key is read from --key-env"
            )
        if self.json_mode not in get_args(JsonMode):
            raise UsageError(f"--json-mode {self.json_mode}: expected one of {', '.join(get_args(JsonMode))}")
        if not self.model.strip():
            raise UsageError("--model: expected the model's name")
        for name, least in (("max_tokens", 1), ("max_retries", 0), ("concurrency", 1)):
            if getattr(self, name) < least:
                raise UsageError(
                    f"--{name.replace('_', '-')}: expected {least} or more, not {getattr(self, name)}"
                )
        for name in ("temperature", "price_in", "price_out", "budget"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise UsageError(f"--{name.replace('_', '-')}: expected a number from 0, not {value}")
        if not (math.isfinite(self.timeout_s) and self.timeout_s > 0):
            raise UsageError(f"--timeout: expected seconds above 0, not {self.timeout_s}")
        if self.budget is not None and self.prices is None:
            raise UsageError(
                f"--budget: the prices of {self.model} at {self.base_url} are not known; give --price-in and "
                "--price-out (USD per million tokens)"
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
