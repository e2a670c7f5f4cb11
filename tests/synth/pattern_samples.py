"""Patterns and samples that several tests of synth share."""

import random
from typing import Any

import numpy as np
from hypothesis import strategies as st
from tokenizers import Tokenizer

from synth.generate.codegen import write_source
from synth.patterns.pattern import Field, Pattern
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


def run_trusted(pattern: Pattern, seed: int, tokens: int) -> str:
    """A builtin generator run right here: its code is ours. (Generated code runs in the sandbox alone.)"""
    scope: dict[str, object] = {}
    exec(write_source(pattern, 4.0), scope)
    return scope[pattern.function](random.Random(seed), tokens)  # type: ignore[operator]


@st.composite
def patterns(draw: st.DrawFn) -> Pattern:
    kinds = {
        "fixed_list": st.lists(st.text("abc{}\n\\.*", min_size=1, max_size=3), min_size=1, max_size=5).map(
            tuple
        ),
        "characters": st.sampled_from(["lowercase", "digits", "base64", "printable"]),
        "number": st.sampled_from(["0-9", "007-120", "5-5", "10-99999", ("1-9", "10-19", "500-999")]),
        "random_text": st.just("some words"),
    }
    fields, template = [], "<<"
    for number in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from(sorted(kinds)))
        least = draw(st.integers(1, 3))
        name = f"f{number}"
        count = draw(st.none() | st.just((least, least + draw(st.integers(0, 2)))))
        fields.append(
            Field(
                name=name,
                type=kind,
                values_or_rules=draw(kinds[kind]),
                scope=draw(st.sampled_from(["text", "repetition"])),
                count=count,
                counts=None if count else draw(st.none() | st.sampled_from([(0, 1), (2, 2, 5), (1,)])),
                separator=draw(st.sampled_from(["", ", "])) if kind != "characters" else "",
            )
        )
        template += "{" + name + "}" + draw(st.sampled_from(["; ", "{{", "\n", "="]))
        if draw(st.booleans()):
            template += "{" + name + "}/"
        if draw(st.booleans()):
            case = draw(st.sampled_from([None, "lower", "upper", "title"]))
            fields.append(Field(name=f"c{number}", type="copy", values_or_rules=name, case=case))
            template += f"{{c{number}}}|"
    return Pattern(
        pattern_id="p001", pattern_name="x", anchor_tokens=("<<",), fields=tuple(fields), template=template
    )


def samples(n: int = 10, text: str = "INFO worker-{}: alpha beta\n") -> list[SampleText]:
    return [SampleText(100 + i, 10.0 - i, text.format(i) * 3, np.arange(4)) for i in range(n)]
