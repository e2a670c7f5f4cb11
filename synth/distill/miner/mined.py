"""A sample as the miner sees it: the text of every token, and what repeats."""

from collections.abc import Sequence
from dataclasses import dataclass

from tokenizers import Tokenizer

from synth.distill.miner.repeats import Repeat, repeats
from synth.patterns.samples import SampleText

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
"""What a tokenizer decodes a part of a character to."""
MOST_PARTS = 8
"""Tokens that make characters together, which each of them cuts."""


@dataclass(frozen=True, eq=False)
class Mined:
    """One sample; ``pieces`` [n] are the texts of its tokens (`token_texts`), ``repeats`` the most repeated first."""

    sample: SampleText
    pieces: list[str]
    repeats: list[Repeat]

    def text(self, start: int, stop: int) -> str:
        return "".join(self.pieces[start:stop])

    def items(self, start: int, stop: int) -> list[str]:
        """The texts of these tokens that have any."""
        return [piece for piece in self.pieces[start:stop] if piece]


def prepare(sample: SampleText, tokenizer: Tokenizer) -> Mined:
    """Look for repeats."""
    return Mined(sample, token_texts(sample.tokens.tolist(), tokenizer), repeats(sample.tokens))


def token_texts(tokens: Sequence[int], tokenizer: Tokenizer) -> list[str]:
    """[n] text of every token; the first of those that make a character together has it, the others have none.

    U+FFFD stands where the whole character is not there.
    """
    texts: list[str] = tokenizer.decode_batch([[token] for token in tokens], skip_special_tokens=False)
    start = 0
    while start < len(texts):
        stop = start + 1
        if REPLACEMENT in texts[start]:
            for stop in range(start + 2, min(start + MOST_PARTS, len(texts)) + 1):
                whole = tokenizer.decode(tokens[start:stop], skip_special_tokens=False)
                if REPLACEMENT not in whole:
                    texts[start:stop] = [whole] + [""] * (stop - start - 1)
                    break
            else:
                stop = start + 1
        start = stop
    return texts


def in_proportion(items: Sequence[str], most: int) -> tuple[str, ...]:
    """The different items, each listed as often as it was seen, so that a plain draw follows their frequencies.

    The most frequent come first, ties by text. More than ``most`` entries are scaled down to about ``most`` in all,
    at least one each; the rarest are left out when there are more different items than that.
    """
    counts: dict[str, int] = {}
    for item in items:
        counts[item] = counts.get(item, 0) + 1
    order = sorted(counts, key=lambda item: (-counts[item], item))[:most]
    scale = min(1.0, (most - len(order)) / max(1, sum(counts[item] for item in order)))
    return tuple(
        item for item in order for _ in range(counts[item] if scale == 1 else 1 + int(scale * counts[item]))
    )
