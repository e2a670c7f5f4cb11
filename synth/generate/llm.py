"""Generators from a language model: one function per pattern, which goes back with the checks' words until it passes.

The code is text here; it runs nowhere but in the sandbox, behind ``check``. See `synth.generate.run.Writer`.
"""

import json
from pathlib import Path
from typing import Any

from synth.distill.llm import send_back
from synth.generate.codegen import write_source
from synth.generate.run import Check, Written
from synth.generate.settings import GenerateSettings
from synth.llm.answers import InvalidAnswer, fenced, json_object, without_thoughts
from synth.llm.cache import Answer
from synth.llm.chat import Chat
from synth.llm.prompts import Prompt, load_prompt
from synth.patterns.pattern import CLASSES, Pattern
from synth.sandbox.modules import ALLOWED

PROMPT = "generate-v2"
CODE_SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["code"],
    "properties": {"code": {"type": "string"}},
}
MOST_SAID = 3000
"""Characters of complaints that are sent back."""


def read_code(text: str) -> str:
    """The source in an answer: ``{"code": …}``, or the one fenced block of Python; see `synth.llm.answers`.

    Raises:
        InvalidAnswer: it is neither.
    """
    block = fenced(without_thoughts(text))
    if block is not None and block[0] in ("python", "py", "python3"):
        return _ended(block[1])
    code = json_object(text).get("code")
    if not isinstance(code, str):
        raise InvalidAnswer('expected {"code": "..."} with the source as one string')
    block = fenced(code)
    return _ended(block[1] if block is not None else code)


def read_source(answer: Answer) -> str:
    """The source in an answer. One that was cut off may be whole all the same: some models end with blanks.

    Raises:
        InvalidAnswer: there is none; says what the server did where that is why.
    """
    if answer.problem and not answer.cut_off:
        raise InvalidAnswer(answer.problem)
    try:
        return read_code(answer.text)
    except InvalidAnswer as error:
        raise InvalidAnswer(answer.problem or str(error)) from None


def _ended(code: str) -> str:
    return code.strip("\n") + "\n"


class LlmWriter:
    """Writes generators with a language model; thread-safe.

    Args:
        cache: folder of the answers.
    """

    def __init__(self, settings: GenerateSettings, cache: Path):
        self.chat = Chat(settings.chat, cache)
        self.tries = settings.tries
        self.prompt: Prompt = load_prompt(
            settings.prompt or PROMPT, ["pattern", "function"], ["characters_per_token", "modules", "classes"]
        )

    def describe(self) -> dict[str, Any]:
        """All settings that decide the code."""
        return {
            "name": "llm",
            **self.chat.settings.identity(),
            "tries": self.tries,
            "prompt": self.prompt.describe(),
        }

    def messages(self, pattern: Pattern, characters_per_token: float = 4.0) -> list[dict[str, str]]:
        """The first request for a pattern."""
        return self.prompt.messages(
            pattern=json.dumps(pattern.brief(), indent=2, ensure_ascii=False),
            function=pattern.function,
            characters_per_token=f"{characters_per_token:.1f}",
            modules=", ".join(ALLOWED),
            classes="; ".join(f"{name} = {characters!r}" for name, characters in CLASSES.items()),
        )

    def __call__(self, pattern: Pattern, check: Check) -> Written:
        """Ask, check, and send back until the checks pass or the tries are used up; the last source is kept.

        Raises:
            BudgetReached, ChatFailed: see `Chat.ask`.
        """
        # the builtin draft is free, and says how long a token is in such text; guessing it wrong costs a correction
        first = messages = self.messages(pattern, check(write_source(pattern)).characters_per_token or 4.0)
        source, checked, requests = "", None, []
        for attempt in range(self.tries + 1):
            answer = self.chat.ask(messages, CODE_SCHEMA, "code", longer=attempt > 0)
            requests.append(answer.request)
            try:
                source = read_source(answer)
            except InvalidAnswer as error:
                reasons = [str(error)]
            else:
                checked = check(source)
                reasons = list(checked.complaints)
            if not reasons or answer.final or attempt == self.tries:
                break
            messages = send_back(first, answer, "\n".join(reasons)[:MOST_SAID], attempt + 1, self.tries)
        if checked is not None and reasons and reasons != list(checked.complaints):
            reasons += ["of the source before that:", *checked.complaints]
        provenance = {
            "engine": "llm",
            **answer.origin,
            "prompt": self.prompt.describe(),
            "requests": requests,
        }
        return Written(source=source, checked=checked, provenance=provenance, reason="\n".join(reasons))
