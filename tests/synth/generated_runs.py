"""Four generators that a model writes, in this process or in one that is killed; importable, as a new process needs."""

import json
from pathlib import Path
from typing import Any

from forked import PROCESSES, die
from openai_server import Reply, Request, settings
from pattern_samples import log_pattern
from rankings import tokenizer

from synth.generate.codegen import write_source
from synth.generate.generators import Generators
from synth.generate.llm import LlmWriter
from synth.generate.run import generate
from synth.generate.settings import GenerateSettings
from synth.sandbox import Sandbox

FOUR = [log_pattern(pattern_id=f"p{n}", pattern_name=f"Log {n}") for n in range(4)]


def code(source: str) -> str:
    return json.dumps({"code": source})


def reply_for_four(request: Request) -> Reply:
    """p1 gets code that does not follow its template first, p2 never gets any."""
    pattern = next(p for p in FOUR if p.function in request.texts[1])
    source = write_source(pattern, 1.4)
    if pattern.pattern_id == "p2" or (pattern.pattern_id == "p1" and len(request.texts) == 2):
        source = source.replace("INFO", "WARN")
    return Reply(content=code(source))


def writer(url: str, cache: Path, tries: int = 2, **changes: Any) -> LlmWriter:
    chat = settings(url, **changes)
    return LlmWriter(GenerateSettings(patterns="patterns", out="out", chat=chat, tries=tries), cache)


def generated(url: str, out: Path) -> Generators:
    made = writer(url, out / "cache", tries=1)
    identity = {"engine": made.describe()}
    where = Sandbox(unsafe=True)
    return generate(FOUR, out, identity, made, where, tokenizer(), target_tokens=60, concurrency=2)


def _generate(url: str, out: Path, place: str, moment: str) -> None:
    """Runs in another process."""
    die(lambda target: place in str(target), moment)
    generated(url, out)


def start(url: str, out: Path, die_at: tuple[str, str]) -> Any:
    """``die_at``: SIGKILL before or after the appearance of a file with this in its path."""
    process = PROCESSES.Process(target=_generate, args=(url, out, *die_at))
    process.start()
    return process
