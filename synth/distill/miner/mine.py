"""The miner from samples to patterns: deterministic, the same samples give the same patterns."""

from collections.abc import Sequence
from typing import Any

from tokenizers import Tokenizer

from curator.progress import progress
from synth.distill.miner.literal import CANDIDATES, literal_patterns
from synth.distill.miner.mined import prepare, token_texts
from synth.distill.miner.structural import structural_patterns
from synth.patterns.occurrence import Found
from synth.patterns.pattern import Pattern
from synth.patterns.samples import SampleText


def mine(
    samples: Sequence[SampleText], tokenizer: Tokenizer, *, least: int = 3, most: int = 200
) -> tuple[list[Found], list[dict[str, Any]]]:
    """Patterns of ``samples``: shapes of repetition first, then at most ``most`` repeated strings.

    Args:
        least: samples that must show a pattern.

    Returns:
        The patterns, and those that were set aside, with the reason.
    """

    def pieces(text: str) -> list[str]:
        return [
            piece
            for piece in token_texts(tokenizer.encode(text, add_special_tokens=False).ids, tokenizer)
            if piece
        ]

    mined = []
    with progress("repeats of the samples", len(samples)) as advance:
        for sample in samples:
            mined.append(prepare(sample, tokenizer))
            advance()
    found, set_aside = structural_patterns(mined, least)
    with progress("strings that samples repeat", CANDIDATES, unit="strings") as advance:
        more, others = literal_patterns(mined, least, most, pieces, advance)
    set_aside += others
    kept = []
    for one in found + more:
        reason = next(one.pattern.too_long(), None)
        if reason is None:
            Pattern.from_json(
                one.pattern.to_json()
            )  # what the miner writes is checked as what a model writes
            kept.append(one)
        else:
            set_aside.append({"samples": list(one.samples), "reason": reason, "answer": one.pattern.template})
    return kept, set_aside
