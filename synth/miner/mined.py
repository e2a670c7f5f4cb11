"""A sample as the miner sees it: the text of every token, and what repeats."""

from collections.abc import Sequence
from dataclasses import dataclass

from tokenizers import Tokenizer

from synth.miner.repeats import Repeat, repeats
from synth.samples import SampleText


@dataclass(frozen=True, eq=False)
class Mined:
    """One sample; ``pieces`` [n] are the texts of its tokens, ``repeats`` the most repeated first."""

    sample: SampleText
    pieces: list[str]
    repeats: list[Repeat]

    def text(self, start: int, stop: int) -> str:
        return "".join(self.pieces[start:stop])


def prepare(sample: SampleText, tokenizer: Tokenizer) -> Mined:
    """Look for repeats; a token that is part of a character has U+FFFD for a text."""
    pieces = tokenizer.decode_batch([[token] for token in sample.tokens.tolist()], skip_special_tokens=False)
    return Mined(sample, pieces, repeats(sample.tokens))


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
