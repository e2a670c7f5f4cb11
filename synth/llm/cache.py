"""Answers on disk, one JSON file each, named by the hash of what was asked.

The request's way of wanting JSON is no part of its name: a repeat needs no probing of the server. A damaged file is a
miss and is written anew.
"""

import hashlib
import json
import shutil
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from curator.artifacts.files import save_json
from curator.artifacts.manifests import load_manifest
from curator.errors import CuratorError

FORMAT = "synth-answer-1"
BYTES_PER_TOKEN = 64
"""Of an answer on disk, with what was asked; beyond the first MiB."""


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
        without_temperature: the model took none, so none was sent although one was asked for.
        cached: it lay on disk and cost nothing now.
    """

    text: str
    finish_reason: str
    model: str
    prompt_tokens: int | None
    completion_tokens: int | None
    request: str
    cost: float | None = None
    without_temperature: bool = False
    cached: bool = False

    @property
    def problem(self) -> str:
        """Why the text cannot be used, in words for the model; empty where it can."""
        if self.cut_off:
            return "the answer was cut off, because it was too long; answer with less"
        if self.finish_reason == TOO_LONG:
            return "the conversation is too long for the model"
        if self.finish_reason in FILTERED:
            return f"the server would not answer ({self.finish_reason})"
        if not self.text.strip():
            return "the answer holds no text"
        return ""

    @property
    def origin(self) -> dict[str, Any]:
        """For provenance, besides the prompt."""
        return {"model": self.model, **({"temperature": None} if self.without_temperature else {})}

    @property
    def cut_off(self) -> bool:
        """Whether it ended at ``max_tokens``: what is complete in it is good all the same."""
        return self.finish_reason == "length"

    @property
    def final(self) -> bool:
        """Whether asking again is of no use."""
        return self.finish_reason in (*FILTERED, TOO_LONG)


FILTERED = ("content_filter", "refusal")
TOO_LONG = "prompt_too_long"


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
            content = load_manifest(self.folder / f"{name}.json", FORMAT, "", ("request", "answer"))
            if name_of(content["request"]) != name:
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

    def require_room(self, max_tokens: int, at_once: int) -> None:
        """Refuse to ask what the disk could not keep: the answer would be paid for and lost.

        Args:
            max_tokens: of an answer; at_once: answers that may come together.

        Raises:
            CuratorError: it has less room than these may take.
        """
        there = next(
            place for place in (self.folder.absolute(), *self.folder.absolute().parents) if place.exists()
        )
        free, needed = shutil.disk_usage(there).free, at_once * (2**20 + BYTES_PER_TOKEN * max_tokens)
        if free < needed:
            raise CuratorError(
                f"{self.folder}: the disk has {free / 1e6:,.1f} MB free, and answers under way may take "
                f"{needed / 1e6:,.1f} MB; nothing more is asked. Make room (or lower --concurrency); what was answered "
                "is kept, and the same command goes on"
            )

    def put(self, request: dict[str, Any], answer: Answer) -> None:
        """Store atomically."""
        kept = {key: value for key, value in asdict(answer).items() if key not in ("request", "cached")}
        time = datetime.now(timezone.utc).isoformat(timespec="seconds")
        content = {"format": FORMAT, "time": time, "request": request, "answer": kept}
        save_json(self.folder / f"{answer.request}.json", content)
