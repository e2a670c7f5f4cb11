"""The body of an answer: what is taken of it, and errors that stand in it although its status is 200.

Only the text, the reason it ended, the model's name and token counts are taken, each checked; tool calls and thoughts
are not. A text is taken as it is. A count of no tokens for something is not believed.
"""

import json
from dataclasses import dataclass
from typing import Any

from synth.llm.outcomes import Failed, Plain, Said, WrongPlace, judge, page

BROKEN_OFF = ("error", "abort", "insufficient_system_resource")
"""Reasons for which an answer ends that is none: of routers, of vLLM, of DeepSeek."""


@dataclass(frozen=True, kw_only=True)
class Reply:
    """The parts of an answer that are taken; see `synth.llm.cache.Answer`."""

    text: str
    finish_reason: str
    model: str
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


def read_reply(body: bytes, url: str, formatted: bool, plain: Plain) -> Reply:
    """The answer in a body of status 200.

    Args:
        url: that was asked; formatted: see `judge`; plain: makes a server's words fit for an error message.

    Raises:
        Failed, WrongPlace, Refused: it holds none.
    """
    beginning = body[:2000].decode("utf-8", "replace")
    if (shown := page(beginning)) is not None:
        raise WrongPlace(plain(f"{url} is {shown}"))
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        raise _no_json(beginning, url, plain) from None
    choices = content.get("choices") if isinstance(content, dict) else None
    choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
    said = Said.of(content) or Said.of(choice)
    if said is not None:
        raise _judge_within(said, formatted, plain)
    if not isinstance(content, dict) or "choices" not in content:
        raise _elsewhere(beginning, url, plain)
    message = choice.get("message")
    if not isinstance(message, dict):
        raise Failed(f"the answer is not one of the chat API: {plain(beginning[:200])!r}", billed=True)
    reason = _string(choice.get("finish_reason"))[:40]
    if reason in BROKEN_OFF:
        raise Failed(f"the server broke the answer off (finish_reason {reason})", billed=True)
    text = _text(message.get("content"))
    if not text and (message.get("refusal") or _parts(message.get("content"), "refusal")):
        reason = "refusal"
    usage = content.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    return Reply(
        text=text,
        finish_reason=reason,
        model=_string(content.get("model"))[:100],
        prompt_tokens=_count(usage.get("prompt_tokens"), least=1),
        completion_tokens=_count(usage.get("completion_tokens"), least=1 if text else 0),
    )


def _no_json(beginning: str, url: str, plain: Plain) -> Exception:
    """A chat API may break off in its JSON, send it in pieces, or keep us waiting with blank lines until it gives up;
    whoever says something else, or nothing, is none."""
    start = beginning.removeprefix("\ufeff").lstrip()
    if start.startswith(("{", "data:")) or (beginning and not start):
        return Failed(f"the answer is not one of the chat API: {plain(beginning[:200])!r}", billed=True)
    return _elsewhere(beginning, url, plain)


def _elsewhere(beginning: str, url: str, plain: Plain) -> WrongPlace:
    shown = repr(plain(beginning[:200])) if beginning else "with nothing"
    return WrongPlace(f"{plain(url)} answers {shown}")


def _judge_within(said: Said, formatted: bool, plain: Plain) -> Exception:
    if said.status is None:
        return Failed(f"an error within the answer: {plain(said.text)}", billed=True)
    return judge(said.status, said, plain, formatted=formatted, answered=True)


def _text(content: Any) -> str:
    """Of a message, whose content is a string or a list of blocks, some of which are thoughts."""
    return "".join(_parts(content, "text")) if isinstance(content, list) else _string(content)


def _parts(content: Any, kind: str) -> list[str]:
    """What the blocks of one kind hold."""
    blocks = content if isinstance(content, list) else []
    return [
        _string(block.get(kind))
        for block in blocks
        if isinstance(block, dict) and block.get("type") in (kind, f"output_{kind}")
    ]


def _string(value: Any) -> str:
    """A string that can be written down."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else ""


def _count(value: Any, least: int) -> int | None:
    """Tokens as the server counts them; None where that cannot be."""
    sound = isinstance(value, int) and not isinstance(value, bool) and least <= value < 10**12
    return value if sound else None
