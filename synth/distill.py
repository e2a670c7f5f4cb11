"""From a ranking to a registry of patterns: choose samples, ask an engine, merge, write with provenance."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from curator.commands import ranked_corpus
from curator.corpus import Corpus
from curator.errors import CuratorError
from curator.ranking import Ranking
from curator.storage import differences, fingerprint, load_json, save_json
from curator.token_text import read_tokenizer
from synth.found import Found
from synth.registry import FILE, FORMAT, SIMILAR, Registry, merge
from synth.samples import SampleText, Split, find_tokenizer_file, read_samples, split_top


@dataclass(frozen=True, kw_only=True, eq=False)
class Top:
    """The ranking's top samples, opened: what every engine is given."""

    ranking: Ranking
    unit: str
    corpus: Corpus
    tokenizer_file: Path
    tokenizer: Tokenizer
    split: Split
    asked: dict[str, Any]

    @staticmethod
    def open(
        path: Path,
        *,
        unit: str | None = None,
        corpus: Path | None = None,
        tokenizer: Path | None = None,
        top: int = 2000,
        holdout: float = 0.2,
        seed: int = 0,
    ) -> "Top":
        """Raises CuratorError for a ranking, corpus or tokenizer that is not there or does not fit."""
        ranking = Ranking.open(path)
        name = ranking.units[ranking.unit_index(unit)]
        rows = ranked_corpus(ranking, corpus)
        file = find_tokenizer_file(tokenizer, rows, ranking.manifest["request"]["model"])
        return Top(
            ranking=ranking,
            unit=name,
            corpus=rows,
            tokenizer_file=file,
            tokenizer=read_tokenizer(file),
            split=split_top(ranking, name, top, holdout, seed),
            asked={"top": top, "holdout": holdout, "seed": seed},
        )

    def samples(self) -> list[SampleText]:
        """Those to be distilled, by falling score."""
        return read_samples(self.ranking, self.unit, self.corpus, self.tokenizer, self.split.distilled)

    def describe(self) -> dict[str, Any]:
        """For the registry's header: what was taken, from what, and what was held out."""
        return {
            "ranking": str(self.ranking.path.absolute()),
            "ranking_fingerprint": fingerprint(self.ranking.manifest),
            "corpus_fingerprint": self.ranking.corpus_fingerprint,
            "unit": self.unit,
            "tokenizer": str(self.tokenizer_file.absolute()),
            "tokenizer_fingerprint": fingerprint(self.tokenizer_file.read_bytes()),
            "seq_length": self.corpus.row_width - 1,
            **self.asked,
            "top": len(self.split.distilled) + len(self.split.held_out),
            "distilled": len(self.split.distilled),
            "held_out": np.sort(self.split.held_out).tolist(),
        }


Engine = Callable[[Sequence[SampleText]], tuple[list[Found], list[dict[str, Any]]]]
"""From samples to patterns, and what was set aside with its reason."""


def distill(
    top: Top, engine: Engine, described: dict[str, Any], out: Path, similar: float = SIMILAR
) -> Registry:
    """Write ``out/registry.json``; the same request again finds it there.

    Args:
        described: the engine and all its settings that decide the patterns, as JSON.

    Raises:
        CuratorError: ``out`` holds another registry, or nothing was found.
    """
    identity = {"samples": top.describe(), "engine": described, "similar": similar}
    if (out / FILE).is_file():
        there = load_json(out / FILE)
        lines = differences(identity, {key: there.get(key) for key in identity})
        if lines:
            raise CuratorError(
                f"{out}: holds a registry of something else; choose another --out, or remove it:\n  "
                + "\n  ".join(lines[:8])
            )
        return Registry.open(out)
    found, set_aside = engine(top.samples())
    if not found:
        reasons = "; ".join(str(item["reason"]) for item in set_aside[:3])
        raise CuratorError(
            f"no pattern was found in {len(top.split.distilled)} samples"
            + (f" (set aside: {reasons})" if reasons else "; try more samples (--top), or --least 2")
        )
    entries = merge(found, similar)
    save_json(
        out / FILE,
        {
            "format": FORMAT,
            **identity,
            "found": len(found),
            "patterns": [entry.to_json() for entry in entries],
            "set_aside": set_aside,
        },
    )
    return Registry.open(out)
