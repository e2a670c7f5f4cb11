"""An engine that asks the local server for patterns, in this process or in one that is killed."""

import itertools
import json
import sys
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from forked import PROCESSES, die
from openai_server import OpenAIServer, settings
from pattern_samples import pattern_json, samples

from synth.distill.llm import LlmEngine
from synth.distill.settings import DistillSettings


def answered(*patterns: Any) -> str:
    return json.dumps({"patterns": list(patterns)})


GOOD = answered(pattern_json())


def engine(server: OpenAIServer, cache: Path, per_request: int = 5, **changes: Any) -> LlmEngine:
    own = {key: changes.pop(key) for key in ("tries", "max_chars", "prompt") if key in changes}
    given = {
        "ranking": "ranking",
        "out": "out",
        "per_request": per_request,
        "chat": server.settings(**changes),
    }
    return LlmEngine(DistillSettings(**given, **own), cache)


def _ask(url: str, cache: Path, count: int, concurrency: int, die_at: tuple[int, str] | None) -> None:
    """Runs in another process; its exit code is the number of patterns."""
    if die_at is not None:
        new = itertools.count(1)
        die(lambda target: next(new) == die_at[0], die_at[1])
    chat = settings(url, concurrency=concurrency)
    asked = DistillSettings(ranking="ranking", out="out", chat=chat, per_request=1, tries=1)
    sys.exit(len(LlmEngine(asked, cache)(samples(count))[0]))


def start(
    url: str, cache: Path, count: int, concurrency: int, die_at: tuple[int, str] | None = None
) -> BaseProcess:
    """``die_at``: SIGKILL before or after the n-th file is moved into place."""
    process = PROCESSES.Process(target=_ask, args=(url, cache, count, concurrency, die_at))
    process.start()
    return process
