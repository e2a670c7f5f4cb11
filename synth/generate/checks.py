"""What a generator must do before its text may be trained on, asked of the sandbox and of nothing else.

Each complaint is written for whoever wrote the code, so that a language model can mend it. Checked: it runs; every
text follows the pattern (anchors present, fields valid; ``matcher.py``); the same seed gives the same text in every
process, whatever may differ between hosts (``sandbox/hosts.py``), and in every order of calls; texts of different seeds
differ (share of distinct texts, and the mean Jaccard similarity of the 5-character substrings of two texts); and the
tokens written per token asked for lie within bounds.
"""

import random
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

from tokenizers import Tokenizer

from synth.patterns.matcher import Matcher
from synth.patterns.pattern import Pattern
from synth.sandbox import HOSTS, Failure, Host, Sandbox

Call = tuple[str | int, int]
"""(seed, target_tokens)."""

SEEDS = 24
"""Seeds that are tried at the full length."""
DISTINCT = 0.9
"""Least share of distinct texts."""
ALIKE = 0.9
"""Highest mean similarity of two texts."""
LONGEST_TOKEN = 100
"""Characters of a text per token asked for, above which it is refused unread."""
LENGTHS = (0.5, 2.0)
"""Least and most tokens written per token asked for, median over seeds, at the full length and at half of it."""


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What the checks found.

    Attributes:
        complaints: why the generator is refused; empty when it passed.
        length_ratio: tokens written per token asked for, median over seeds.
        length_low: the same of a short text (10 % quantile); rendering asks by it, so that most rows are one text.
        distinct: share of distinct texts; alike: mean similarity of two texts, from 0 to 1.
        characters_per_token: of its texts, for the builtin generators.
    """

    complaints: tuple[str, ...]
    length_ratio: float = 0.0
    length_low: float = 0.0
    distinct: float = 0.0
    alike: float = 0.0
    characters_per_token: float = 0.0

    @property
    def passed(self) -> bool:
        return not self.complaints

    def to_json(self) -> dict[str, Any]:
        return {key: value for key, value in asdict(self).items() if key != "complaints"}


def check_generator(
    pattern: Pattern, source: str, sandbox: Sandbox, tokenizer: Tokenizer, target_tokens: int
) -> Checked:
    """Run the generator of ``pattern`` and look at what it writes."""
    half = max(1, target_tokens // 2)
    calls: list[Call] = [(f"check/{n}", target_tokens) for n in range(SEEDS)]
    shorter: list[Call] = [(f"check/{n}", half) for n in range(SEEDS // 4)]
    try:
        with sandbox.load(source, pattern.function) as generator:
            texts = list(generator.texts(calls))
            short = list(generator.texts(shorter))
        written = dict(zip([*calls, *shorter], [*texts, *short]))
        differs = next(
            (
                said
                for n, host in enumerate(HOSTS[1:])
                if (said := _again(source, pattern, sandbox, written, n, host))
            ),
            None,
        )
    except Failure as failure:
        return Checked(complaints=(f"{failure.kind}: {failure}",))
    if not all(text.strip() for text in (*texts, *short)):
        return Checked(complaints=("some texts are empty; write text until target_tokens is reached",))
    longest, most = max(map(len, texts)), LONGEST_TOKEN * target_tokens
    if longest > most:  # before anything reads them: it would take memory and time
        said = (
            f"asked for {target_tokens} tokens it writes a text of {longest} characters; {most} are looked at"
        )
        return Checked(complaints=(said,))
    complaints = _template(pattern, texts)
    if differs is not None:
        complaints.append(
            "the same seed gave another text in another process or after other calls: draw from rng alone, "
            "keep nothing between calls, and do not depend on the order of a set, on addresses of objects (as in "
            f"<function at 0x...>), on how deep calls go or how much memory there is. {differs}"
        )
    tokens = _tokens(texts, tokenizer)
    ratios = [n / target_tokens for n in tokens]
    per_token = sum(map(len, texts)) / max(1, sum(tokens))
    ratio = statistics.median(ratios)
    shorter_ratio = statistics.median(n / half for n in _tokens(short, tokenizer))
    for asked, found in ((target_tokens, ratio), (half, shorter_ratio)):
        if not LENGTHS[0] <= found <= LENGTHS[1]:
            complaints.append(
                f"asked for {asked} tokens it writes {found * asked:.0f} (median over seeds); accepted are "
                f"{LENGTHS[0] * asked:.0f} to {LENGTHS[1] * asked:.0f}, and one token is "
                f"{per_token:.1f} characters here"
            )
            break
    distinct, alike = len(set(texts)) / len(texts), similarity(texts)
    if distinct < DISTINCT or alike > ALIKE:
        complaints.append(
            f"its texts are too much alike: {distinct:.0%} of {len(texts)} seeds give distinct texts (at least "
            f"{DISTINCT:.0%} wanted), and two share {alike:.0%} of their 5-character strings on average (at most "
            f"{ALIKE:.0%}): draw more of the text from rng"
        )
    return Checked(
        complaints=tuple(complaints),
        length_ratio=ratio,
        length_low=sorted(ratios)[len(ratios) // 10],
        distinct=distinct,
        alike=alike,
        characters_per_token=per_token,
    )


def _again(
    source: str, pattern: Pattern, sandbox: Sandbox, written: Mapping[Call, str], number: int, host: Host
) -> str | None:
    """Ask for some of the texts again, in another process, order and host; where the first one differs."""
    draw = random.Random(number)
    calls = draw.sample(list(written), SEEDS // 3 + number)
    calls += calls[:1]  # twice in one process
    with sandbox.load(source, pattern.function, host) as generator:
        for call, text in zip(calls, generator.texts(calls)):
            if text != written[call]:
                return _difference(call, written[call], text)
    return None


def _difference(call: Call, one: str, other: str) -> str:
    """Where two texts of a call part ways, in words."""
    at = next((n for n, (a, b) in enumerate(zip(one, other)) if a != b), min(len(one), len(other)))
    here, there = (repr(text[max(0, at - 10) : at + 30]) for text in (one, other))
    return f"Seed {call[0]!r} gave {here} and {there} at character {at}"


def similarity(texts: Sequence[str], most_pairs: int = 100) -> float:
    """Mean Jaccard index of the 5-character substrings of two texts; 1 for equal ones."""
    grams = [{text[i : i + 5] for i in range(max(1, len(text) - 4))} for text in texts]
    pairs = list(combinations(grams, 2))
    every = max(1, len(pairs) // most_pairs)
    return statistics.fmean(len(a & b) / len(a | b) for a, b in pairs[::every])


def _template(pattern: Pattern, texts: Sequence[str]) -> list[str]:
    matcher = Matcher(pattern)
    for number, text in enumerate(texts):
        complaint = next(matcher.complaints(text), None)
        if complaint is not None:
            return [f"seed {number}: {complaint}"]
    return []


def _tokens(texts: Sequence[str], tokenizer: Tokenizer) -> list[int]:
    """How many tokens each text has."""
    return [len(encoding.ids) for encoding in tokenizer.encode_batch(texts, add_special_tokens=False)]
