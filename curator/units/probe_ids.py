"""The token ids that probe sequences are drawn from: those that stand for something, and that the model was trained on.

A vocabulary padded for tensor parallelism has rows of the embedding that no tokenizer entry stands behind: of Pythia's
50,304, the last 27. They were never trained, and a probe that repeats them measures noise. So ids are drawn from the
tokenizer's entries where a tokenizer is known (every entry, special ones too, since end-of-text is trained on), and
from the ids that occur in the corpus where not. A vocabulary without padding gives the sequences that it always gave.
"""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from curator.artifacts.fields import IdsFrom
from curator.artifacts.fingerprints import fingerprint
from curator.corpus import Corpus, check_tokens, open_corpus
from curator.errors import CuratorError, UsageError
from curator.models import tokenizer_file
from curator.units.sequences import ProbeSettings, Sequences
from curator.units.token_counts import token_counts

OTHERWISE = (
    "give --probe-ids corpus (ids that occur in the corpus) or --probe-ids all (every id of the vocabulary)"
)


@dataclass(frozen=True, eq=False)
class ProbeIds:
    """Ids to draw from.

    Attributes:
        ids: int64 ``[n]``, rising; None where they are all of the vocabulary.
        record: what a manifest says of them: ``source`` (``tokenizer``, ``corpus`` or ``all``), its ``file``, how much
            of a corpus was read, ``count`` of ``vocabulary``, and the ids' ``fingerprint``.
        corpus, tokenizer: what is known beside them, for probes that need more than ids.
    """

    ids: np.ndarray | None
    record: dict[str, Any]
    corpus: Corpus | Path | None = None
    tokenizer: Path | None = None

    def of(self, settings: ProbeSettings, ranked: range | None = None) -> ProbeSettings:
        """``settings`` that draw from these ids, and rows of the corpus from outside of ``ranked``."""
        known = {"ids": self.ids, "corpus": self.corpus, "tokenizer": self.tokenizer, "ranked": ranked}
        return replace(settings, **known)  # type: ignore[arg-type]

    def holds(self, sequences: Sequences) -> bool:
        """Whether all tokens of ``sequences`` are among the ids."""
        return self.ids is None or bool(
            np.isin(sequences.tokens[sequences.valid()].cpu().numpy(), self.ids).all()
        )

    @property
    def unusual(self) -> bool:
        """Whether to say what they are: some of the vocabulary, or all for want of knowing better."""
        return self.ids is not None or "note" in self.record

    def __str__(self) -> str:
        return describe(self.record)


def describe(record: dict[str, Any]) -> str:
    """A record in words."""
    count, vocabulary = record["count"], record["vocabulary"]
    if record["source"] == "tokenizer":
        return f"{count:,} of {vocabulary:,}, the entries of {record['file']}"
    if record["source"] == "corpus":
        return f"{count:,} of {vocabulary:,}, those in {record['rows_read']:,} rows of {record['file']}"
    return f"all {vocabulary:,} of the vocabulary" + (f": {record['note']}" if "note" in record else "")


def find_probe_ids(
    asked: IdsFrom,
    vocab_size: int,
    *,
    tokenizer: Path | None = None,
    model: str | Path | None = None,
    corpus: Corpus | Path | None = None,
) -> ProbeIds:
    """The ids of a model with ``vocab_size`` rows of the embedding.

    Args:
        asked: where from.
        tokenizer: the model's ``tokenizer.json`` or its folder; else the one beside ``model``, else beside the corpus.
        model: its folder or hub id.
        corpus: what the model was trained on, where it is known; opened if it is needed.

    Raises:
        UsageError: what was asked for is not known.
        CuratorError: the tokenizer cannot be read or is another model's, or no id of the corpus is of the vocabulary.
    """
    if tokenizer is None and model is not None and asked in ("auto", "tokenizer"):
        tokenizer = tokenizer_file(model, fetch=True)
    if isinstance(corpus, Path) and (asked == "corpus" or (asked != "all" and tokenizer is None)):
        corpus = open_corpus(corpus)
    if tokenizer is None and isinstance(corpus, Corpus):
        tokenizer = corpus.tokenizer_file
    if asked == "tokenizer" and tokenizer is None:
        raise UsageError("--probe-ids tokenizer: no tokenizer.json is known; give --tokenizer")
    if asked == "corpus" and corpus is None:
        raise UsageError("--probe-ids corpus: no corpus is known; give --corpus")
    if tokenizer is None and model is not None:
        tokenizer = tokenizer_file(model)
    if tokenizer is not None and tokenizer.is_dir():
        tokenizer = tokenizer / "tokenizer.json"
    ids = partial(_ids, vocab_size, corpus, tokenizer)
    if asked in ("auto", "tokenizer") and tokenizer is not None:
        return ids("tokenizer", _entries(tokenizer, vocab_size), {"file": str(tokenizer)})
    if asked in ("auto", "corpus") and isinstance(corpus, Corpus):
        found, rows = occurring_ids(corpus, vocab_size)
        if not found.size:
            check_tokens(corpus, vocab_size)  # says which id
        read = {
            "file": str(corpus.path),
            "corpus": corpus.fingerprint(),
            "rows_read": rows,
            "rows": len(corpus),
        }
        return ids("corpus", found, read)
    note = "neither a tokenizer nor a corpus is known, so ids that were never trained may be among them"
    return ids("all", np.arange(vocab_size), {"note": note} if asked == "auto" else {})


def occurring_ids(corpus: Corpus, vocab_size: int) -> tuple[np.ndarray, int]:
    """(ids of 0 to ``vocab_size - 1`` that occur in ``corpus``, int64, rising; how many rows were read)."""
    counts, rows = token_counts(corpus, vocab_size)
    return np.flatnonzero(counts), rows


def _entries(file: Path, vocab_size: int) -> np.ndarray:
    """The ids of a tokenizer's entries, added and special ones too."""
    from curator.corpus.token_text import read_tokenizer

    try:
        tokenizer = read_tokenizer(file)
    except CuratorError as error:
        raise CuratorError(f"{error}; or {OTHERWISE}") from error
    ids = np.unique(np.fromiter(tokenizer.get_vocab(with_added_tokens=True).values(), np.int64))
    if not ids.size or ids[-1] >= vocab_size:
        has = f"has token ids up to {ids[-1]}" if ids.size else "has no entries"
        raise CuratorError(
            f"{file}: {has}, but the model knows 0 to {vocab_size - 1}: it is another model's tokenizer; give this "
            f"model's with --tokenizer, or {OTHERWISE}"
        )
    return ids


def _ids(
    vocab_size: int,
    corpus: Corpus | Path | None,
    tokenizer: Path | None,
    source: str,
    ids: np.ndarray,
    details: dict[str, Any],
) -> ProbeIds:
    counted = {"count": len(ids), "vocabulary": vocab_size, "fingerprint": fingerprint(ids.astype("<i8"))}
    record = {"source": source, **details, **counted}
    return ProbeIds(None if len(ids) == vocab_size else ids, record, corpus, tokenizer)
