"""An engine that asks the local server for patterns."""

import json
from pathlib import Path
from typing import Any

from openai_server import OpenAIServer
from pattern_samples import pattern_json

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
