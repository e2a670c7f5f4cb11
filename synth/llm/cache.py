"""Answers on disk, one JSON file each, named by the hash of what was asked.

The request's way of wanting JSON is no part of its name: a repeat needs no probing of the server. A damaged file is a
miss and is written anew.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from curator.errors import CuratorError
from curator.storage import load_json, save_json

FORMAT = "synth-answer-1"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a server answered.

    Attributes:
        text: of the message, empty where there was none; whatever else the answer held (tool calls, thoughts) is gone.
        finish_reason: as the server says; ``stop`` is the good one.
        model: as the server names it.
        prompt_tokens, completion_tokens: as the server counts them; None where it does not say.
        request: hash of what was asked.
        cost: USD as counted against the budget; None where prices are unknown.
        cached: it lay on disk and cost nothing now.
    """

    text: str
    finish_reason: str
    model: str
    prompt_tokens: int | None
    completion_tokens: int | None
    request: str
    cost: float | None = None
    cached: bool = False

    @property
    def problem(self) -> str:
        """Why the text cannot be used, in words for the model; empty where it can."""
        if self.finish_reason == "length":
            return "the answer was cut off, because it was too long; answer with less"
        if self.finish_reason in FILTERED:
            return f"the server would not answer ({self.finish_reason})"
        if not self.text.strip():
            return "the answer holds no text"
        return ""

    @property
    def final(self) -> bool:
        """Whether asking again is of no use."""
        return self.finish_reason in FILTERED


FILTERED = ("content_filter", "refusal")


def name_of(request: dict[str, Any]) -> str:
    """sha256 of the request's canonical JSON."""
    return hashlib.sha256(json.dumps(request, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


class Cache:
    """A folder of answers."""

    def __init__(self, folder: Path):
        self.folder = folder

    def get(self, name: str) -> Answer | None:
        """The answer to the request of this name, or None."""
        try:
            content = load_json(self.folder / f"{name}.json")
            if content["format"] != FORMAT or name_of(content["request"]) != name:
                return None
            answer = Answer(**{**content["answer"], "request": name, "cached": True})
        except (CuratorError, RecursionError, TypeError, KeyError, OSError):
            return None
        texts = (answer.text, answer.finish_reason, answer.model)
        counts = (answer.prompt_tokens, answer.completion_tokens)
        sound = all(isinstance(t, str) for t in texts) and all(
            n is None or isinstance(n, int) for n in counts
        )
        return answer if sound and (answer.cost is None or isinstance(answer.cost, int | float)) else None

    def put(self, request: dict[str, Any], answer: Answer) -> None:
        """Store atomically."""
        kept = {key: value for key, value in asdict(answer).items() if key not in ("request", "cached")}
        time = datetime.now(timezone.utc).isoformat(timespec="seconds")
        content = {"format": FORMAT, "time": time, "request": request, "answer": kept}
        save_json(self.folder / f"{answer.request}.json", content)
