"""How much of a row is text: the tokens before the padding that closes it.

Padding is the run at a row's end of ids that pad: the one that is given (``--padding``), else those of the tokenizer:
its own setting, and its entries of the usual names, end-of-text among them, which is what rows are mostly padded with.
So an end-of-text before the padding is not counted either, in any row. Refused: any run of equal tokens at the end,
which takes the blank lines that a text is cut within for padding, and a single end for none.
"""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from curator.artifacts.manifests import load_object
from curator.models import tokenizer_file
from curator.statistics.base import Asked, Statistic

PADS = ("<|endoftext|>", "<|padding|>", "<pad>", "[PAD]", "</s>")
"""Entries of a tokenizer that rows are padded with."""


class Length(Statistic):
    """Tokens of a row before its padding."""

    name = "length"
    says = "tokens before the padding at the end"
    higher = "longer"

    def __init__(self, padding: Collection[int]):
        """``padding``: the ids that pad."""
        self.padding = sorted(padding)

    @classmethod
    def lacks(cls, asked: Asked) -> str:
        if _padding(asked):
            return ""
        return (
            "neither --padding nor a tokenizer says which id fills rows up; give --padding ID, or --tokenizer"
        )

    @classmethod
    def prepared(cls, asked: Asked) -> "Length":
        return cls(_padding(asked))

    def recorded(self) -> dict[str, Any]:
        return {"padding": self.padding}

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """[n] tokens."""
        text = ~np.isin(rows, self.padding)
        behind = np.argmax(text[:, ::-1], axis=1)
        return np.where(text.any(1), rows.shape[1] - behind, 0).astype(np.float64)


def _padding(asked: Asked) -> set[int]:
    settings = asked.settings
    if settings.padding is not None:
        return {settings.padding}
    known = settings.tokenizer or asked.corpus.tokenizer_file
    if known is None and settings.model is not None:
        known = tokenizer_file(settings.model)
    if known is None:
        return set()
    return padding_of(known / "tokenizer.json" if known.is_dir() else known)


def padding_of(tokenizer: Path) -> set[int]:
    """The ids that a ``tokenizer.json`` pads with; empty where it names none.

    Raises:
        CuratorError: it is no such file.
    """
    content = load_object(tokenizer, "give another --tokenizer, or --padding ID")
    setting = content.get("padding")
    ids = {setting.get("pad_id")} if isinstance(setting, dict) else set()
    added = content.get("added_tokens")
    for entry in added if isinstance(added, list) else []:
        if isinstance(entry, dict) and entry.get("content") in PADS:
            ids.add(entry.get("id"))
    return {number for number in ids if isinstance(number, int)}
