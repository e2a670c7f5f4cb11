"""From a ranking to a registry of patterns: choose samples, ask an engine, merge, write with provenance."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from curator.artifacts.claim import lock_folder, refuse_others
from curator.artifacts.files import is_temporary, remove_temporaries, save_json
from curator.artifacts.fingerprints import fingerprint
from curator.corpus import Corpus
from curator.corpus.token_text import read_tokenizer
from curator.errors import CuratorError
from curator.ranking.ranking import Ranking
from synth.distill.settings import DistillSettings
from synth.fields import SIMILAR
from synth.patterns.occurrence import Found
from synth.patterns.registry import FILE, FORMAT, Registry, merge
from synth.patterns.samples import SampleText, Split, find_tokenizer_file, read_samples, split_top

SET_ASIDE = "set_aside.json"
BESIDE = ("cache", "audit.json", "audit-parts", SET_ASIDE)
"""What else may lie beside the registry: answers of a language model, and the patterns' audit."""


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
    def open(settings: DistillSettings) -> "Top":
        """Raises CuratorError for a ranking, corpus or tokenizer that is not there or does not fit."""
        ranking = Ranking.open(settings.ranking)
        name = ranking.units[ranking.unit_index(settings.unit)]
        rows = ranking.open_corpus(settings.corpus)
        file = find_tokenizer_file(settings.tokenizer, rows, ranking.model)
        asked: dict[str, Any] = {"top": settings.top, "holdout": settings.holdout, "seed": settings.seed}
        return Top(
            ranking=ranking,
            unit=name,
            corpus=rows,
            tokenizer_file=file,
            tokenizer=read_tokenizer(file),
            split=split_top(ranking, name, **asked),
            asked=asked,
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
    with lock_folder(out):
        if not _finished(out, identity):
            found, set_aside = engine(top.samples())
            if not found:
                if set_aside:
                    save_json(out / SET_ASIDE, set_aside)
                raise CuratorError(_nothing_found(top, described.get("name", ""), set_aside, out))
            content = {
                **identity,
                "found": len(found),
                "patterns": [entry.to_json() for entry in merge(found, similar)],
                "set_aside": set_aside,
            }
            save_json(out / FILE, {"format": FORMAT, **content})
            (out / SET_ASIDE).unlink(missing_ok=True)  # of an earlier try, which found nothing
    return Registry.open(out)


def _finished(out: Path, identity: dict[str, Any]) -> bool:
    """Whether the registry is there; refuses that of another request, and a folder that is none of ours.

    There is no claim before the end: what is kept in between are answers, which are named by what was asked, so that
    a request that was changed goes on with those it shares.
    """
    file = out / FILE
    if not file.is_file():
        if any(path.name not in BESIDE and not is_temporary(path) for path in out.iterdir()):
            raise CuratorError(f"{out}: the folder is not empty and holds no registry; choose another --out")
        remove_temporaries(out)
        return False
    there = Registry.open(file).header
    refuse_others(out, "patterns", _deciding(identity), _deciding({key: there.get(key) for key in identity}))
    remove_temporaries(out)
    return True


def _deciding(identity: dict[str, Any]) -> dict[str, Any]:
    """``identity`` without places, for which fingerprints stand, so that a study may be moved, and what follows."""
    left_out = ("ranking", "tokenizer", "held_out", "distilled")
    samples = {key: value for key, value in identity["samples"].items() if key not in left_out}
    return {**identity, "samples": samples}


def _nothing_found(top: Top, engine: str, set_aside: list[dict[str, Any]], out: Path) -> str:
    said = f"no pattern was found in {len(top.split.distilled)} samples"
    if set_aside:
        first = str(set_aside[0]["reason"]).splitlines()[0]
        return f"{said}; {len(set_aside)} answers are set aside, with reasons, in {out / SET_ASIDE}; the first: {first}"
    return said + (
        "; try more samples (--top), or --least 2" if engine == "builtin" else "; try more samples (--top)"
    )
