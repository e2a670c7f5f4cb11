"""Patterns from a language model: samples go out in batches, and what comes back is believed in its schema alone.

An answer that breaks the schema goes back with the validator's words, at most ``tries`` times. Every valid pattern of
any of these answers is kept, also those that stand whole before an answer breaks off; the rest is set aside with the
reason. Everything asked lies in the cache, so a run that was killed asks only for what is missing.
"""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from curator.progress import progress, remark
from synth.distill.reading import MOST, read_answer
from synth.distill.settings import DistillSettings
from synth.llm.answers import without_thoughts
from synth.llm.cache import Answer
from synth.llm.chat import Chat, Message
from synth.llm.prompts import Prompt, delimited, load_prompt
from synth.patterns.occurrence import Found
from synth.patterns.pattern import CLASSES, PATTERN_SCHEMA, Pattern
from synth.patterns.samples import SampleText

EXCERPT = 4000
"""Characters of an answer that are sent back or kept with a refusal."""
LINES = 20
"""Complaints that are sent back at once."""
PROMPT = "distill-v2"
ANSWER_SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["patterns"],
    "properties": {"patterns": {"type": "array", "maxItems": MOST, "items": PATTERN_SCHEMA}},
}
"""What is asked for; an answer needs no more than ``patterns``, which are looked at one by one."""


class LlmEngine:
    """Distills with a language model; see `synth.distill.run.Engine`.

    Args:
        cache: folder of the answers.
    """

    def __init__(self, settings: DistillSettings, cache: Path):
        self.chat = Chat(settings.chat, cache)
        self.per_request = settings.per_request
        self.max_chars = settings.max_chars
        self.tries = settings.tries
        self.prompt: Prompt = load_prompt(
            settings.prompt or PROMPT, ["samples"], ["boundary", "count", "most", "max_chars", "classes"]
        )

    def describe(self) -> dict[str, Any]:
        """All settings that decide the patterns."""
        return {
            "name": "llm",
            **self.chat.settings.identity(),
            "per_request": self.per_request,
            "max_chars": self.max_chars,
            "tries": self.tries,
            "prompt": self.prompt.describe(),
        }

    def __call__(self, samples: Sequence[SampleText]) -> tuple[list[Found], list[dict[str, Any]]]:
        """(patterns, what was set aside), in the order of the samples; ``concurrency`` batches are asked at once.

        Raises:
            BudgetReached, ChatFailed: it cannot finish; what was answered is kept, and the same command goes on.
        """
        batches = self.batches(samples)
        with (
            self.chat,
            progress("distilling", len(batches), unit="requests") as advance,
            ThreadPoolExecutor(self.chat.settings.concurrency) as pool,
        ):
            futures = [pool.submit(self._ask, batch) for batch in batches]
            try:
                for future in as_completed(futures):
                    if future.exception() is None:
                        advance(1, self.chat.totals.note())
                    else:
                        self.chat.stop()
            except BaseException:  # above all Ctrl-C
                self.chat.stop()
                remark("waiting for the answers under way, which are paid for and kept")
                raise
        results = [future.result() for future in futures]
        return [one for found, _ in results for one in found], [one for _, aside in results for one in aside]

    def batches(self, samples: Sequence[SampleText]) -> list[Sequence[SampleText]]:
        return [samples[i : i + self.per_request] for i in range(0, len(samples), self.per_request)]

    def messages(self, batch: Sequence[SampleText]) -> list[Message]:
        """The first request for a batch."""
        texts, boundary = delimited([sample.text[: self.max_chars] for sample in batch])
        return self.prompt.messages(
            samples=texts,
            boundary=boundary,
            count=str(len(batch)),
            most=str(MOST),
            max_chars=str(self.max_chars),
            classes=", ".join(CLASSES),
        )

    def _ask(self, batch: Sequence[SampleText]) -> tuple[list[Found], list[dict[str, Any]]]:
        first = messages = self.messages(batch)
        kept: dict[Pattern, Found] = {}
        refused: list[tuple[str, Any]] = []
        for attempt in range(self.tries + 1):
            answer = self.chat.ask(messages, ANSWER_SCHEMA, "patterns", longer=attempt > 0)
            read = read_answer(answer)
            provenance: dict[str, Any] = {
                "model": answer.model,
                "prompt": self.prompt.describe(),
                "request": answer.request,
            }
            if read.ignored:
                provenance["ignored_keys"] = read.ignored
            for pattern in read.patterns:
                key = pattern.with_id("same")
                if key not in kept:
                    kept[key] = Found.where(pattern, batch, **provenance)
            if read.refused or not read.problem:
                refused = read.refused
            if not read.complaints or answer.final or attempt == self.tries:
                break
            said = "\n".join("\n".join(read.complaints).splitlines()[:LINES])
            messages = send_back(first, answer, said, attempt + 1, self.tries)
        if read.problem:
            refused = [(read.problem, answer.text), *refused]
        numbers = [sample.sample for sample in batch]
        return list(kept.values()), [
            {"samples": numbers, "reason": reason, "answer": excerpt(about), "request": answer.request}
            for reason, about in refused
        ]

    def dry_run(self, samples: Sequence[SampleText]) -> str:
        """The first prompt in full, and what all of them would take, without asking or needing a key."""
        batches = [self.messages(batch) for batch in self.batches(samples)]
        settings = self.chat.settings
        missing = [messages for messages in batches if self.chat.cached(messages, ANSWER_SCHEMA) is None]
        sizes = [sum(len(message["content"].encode()) for message in messages) for messages in missing]
        most = [self.chat.most_tokens(messages, ANSWER_SCHEMA) for messages in missing]
        lines = [
            f"--- {message['role']} ---\n{message['content']}" for message in (batches[0] if batches else [])
        ]
        lines.append(
            f"--- estimate ---\n{len(samples)} samples in {len(batches)} requests to {settings.model} at "
            f"{settings.base_url}; the first is shown above. {len(batches) - len(missing)} are answered already and "
            f"cost nothing.\nThe other {len(missing)} send about {sum(sizes) // 4:,} tokens (4 bytes each), at most "
            f"{sum(most):,}, and get at most {len(missing) * settings.max_tokens:,} back."
        )
        low = settings.cost(sum(sizes) // 4, len(missing) * min(500, settings.max_tokens))
        high = settings.cost(sum(most), len(missing) * settings.max_tokens)
        if low is None or high is None:
            lines.append("The cost is not known: give --price-in and --price-out.")
        else:
            lines.append(
                f"Cost: about ${low:.4f} with answers of 500 tokens, at most ${high:.4f} if every answer is of full "
                f"length; each correction of an invalid one (up to {self.tries}) costs a little more than it again."
            )
        if settings.budget is not None:
            lines.append(
                f"All runs with this cache cost ${self.chat.spent():.4f} so far; none passes ${settings.budget:g}."
            )
        return "\n".join(lines)


def send_back(first: Sequence[Message], answer: Answer, said: str, attempt: int, tries: int) -> list[Message]:
    """The conversation that returns ``answer`` to its author with what is wrong with it."""
    wish = f"That answer was refused (correction {attempt} of at most {tries}):\n{said}\n\n"
    wish += "Answer again, in full and in the form that was asked for, with this mended."
    return [
        *first,
        {"role": "assistant", "content": excerpt(without_thoughts(answer.text)) or "(no text)"},
        {"role": "user", "content": wish},
    ]


def excerpt(value: Any) -> str:
    """The beginning of an answer or of a part of it, as it can be written down."""
    try:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=repr)
    except RecursionError:
        text = "(nested too deeply to be shown)"
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= EXCERPT else text[:EXCERPT] + " … (cut)"
