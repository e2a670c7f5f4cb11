"""A ranking whose top samples hold log lines, and what its commands are told."""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
from openai_server import Reply, Request
from pattern_samples import WORDS, pattern_json
from rankings import rows_of, write_ranking

from synth.generate.codegen import write_source
from synth.patterns.pattern import Pattern

LOG = pattern_json()
STARS = pattern_json(
    pattern_name="Stars", anchor_tokens=["*** "], template="*** {number} ***\n", fields=[LOG["fields"][0]]
)
RIGHT = 1.5
"""Characters per token of such text with the golden tokenizer."""


def write_study(folder: Path, samples: int = 240) -> Path:
    """``folder/ranking``; the third of highest score holds log lines in nine of ten samples, the rest words."""
    rng = random.Random(0)
    texts = []
    for number in range(samples):
        logs = number >= 2 * samples // 3 and rng.random() < 0.9
        texts.append("".join(map(log_line, [rng] * 6)) if logs else " ".join(rng.choices(WORDS, k=60)))
    losses = np.array([100 + number % 7 for number in range(samples)], float)
    write_ranking(folder, rows_of(texts, 64), np.linspace(-2, 1, samples), losses)
    return folder / "ranking"


def log_line(rng: random.Random) -> str:
    return f"INFO worker-{rng.randint(0, 99):02d}: {' '.join(rng.choices(WORDS, k=3))}\n"


def answer(request: Request) -> Reply:
    """What a good model answers: two patterns for samples, and code for a pattern."""
    if request.body["response_format"]["json_schema"]["name"] == "patterns":
        return Reply(content=json.dumps({"patterns": [LOG, STARS]}))
    return Reply(content=json.dumps({"code": write_source(asked_for(request), RIGHT)}))


def asked_for(request: Request) -> Pattern:
    """The pattern that code is wanted for."""
    shown = request.texts[1].partition("The pattern:\n\n")[2].rpartition("\n\nAnswer with")[0]
    return Pattern.from_json(json.loads(shown))


def server_words(url: str) -> list[Any]:
    return ["--base-url", url, "--model", "test-model"]


PRICES = ["--price-in", 1, "--price-out", 2]
