"""Patterns and samples that several tests of synth share."""

import random
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from synth.patterns.pattern import Pattern
from synth.patterns.samples import SampleText

WORDS = [
    "alpha",
    "beta",
    "gamma",
    "delta",
    "river",
    "stone",
    "light",
    "cloud",
    "winter",
    "summer",
    "engine",
    "valley",
]


def pattern_json(**changes: Any) -> dict[str, Any]:
    """A valid log-line pattern, with ``changes``."""
    value: dict[str, Any] = {
        "pattern_id": "p001",
        "pattern_name": "Log lines",
        "anchor_tokens": ["INFO worker-"],
        "fields": [
            {"name": "number", "type": "number", "values_or_rules": "00-99"},
            {
                "name": "words",
                "type": "fixed_list",
                "values_or_rules": WORDS,
                "count": [2, 4],
                "separator": " ",
            },
        ],
        "template": "INFO worker-{number}: {words}\n",
        "length_control": "repeat the line until target_tokens",
    }
    return {**value, **changes}


def log_pattern(**changes: Any) -> Pattern:
    return Pattern.from_json(pattern_json(**changes))


def span_pattern() -> Pattern:
    """Three to six pieces, drawn once and repeated."""
    pieces = ["ab", "c", "de ", " f", "gh", "i"]
    field = {
        "name": "span",
        "type": "fixed_list",
        "values_or_rules": pieces,
        "count": [3, 6],
        "scope": "text",
    }
    return Pattern.from_json(
        pattern_json(pattern_name="Span", anchor_tokens=[], fields=[field], template="{span}")
    )


def xml_text(rng: random.Random, lines: int = 30) -> str:
    """The paper's Table 6 in small: keys with a colour, and data that look like base64."""
    letters = "ABCDEFGHabcdefgh0123456789+/"
    return "".join(
        f"<key>ANSI{rng.choice(WORDS).title()}Color</key>\n<data>\n"
        f"{''.join(rng.choices(letters, k=rng.randint(30, 60)))}\n</data>\n"
        for _ in range(lines)
    )


def log_text(rng: random.Random, lines: int = 40) -> str:
    return "".join(
        f"[2024-01-05 {rng.randint(0, 59):02d}] INFO worker-{rng.randint(1, 99)}: "
        f"{' '.join(rng.choices(WORDS, k=rng.randint(2, 5)))} done\n"
        for _ in range(lines)
    )


def prose_text(rng: random.Random, words: int = 300) -> str:
    return " ".join(rng.choice(WORDS) + rng.choice("aeiou") + rng.choice("nsrt") for _ in range(words))


def samples_of(texts: list[str], tokenizer: Tokenizer, width: int = 400) -> list[SampleText]:
    """The texts as samples of at most ``width`` tokens, scores falling."""
    samples = []
    for number, text in enumerate(texts):
        ids = tokenizer.encode(text, add_special_tokens=False).ids[:width]
        samples.append(
            SampleText(number, float(len(texts) - number), tokenizer.decode(ids), np.array(ids, np.int64))
        )
    return samples
