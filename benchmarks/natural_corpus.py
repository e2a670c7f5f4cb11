"""Rows of the kinds of text that a pre-training corpus holds, made of what a machine has; nothing of it is kept here.

Eight kinds in equal shares (``natural_texts.py``), cut into rows by a byte-level BPE that is trained on them or by a
given tokenizer, at most `MOST_OF_A_FILE` rows of one file. Scores are the share of tokens that could be copied, so that
repetitive rows are on top: a ranking that needs no model.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from natural_texts import KINDS, texts_of
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from curator.artifacts.files import save_array, save_json
from curator.corpus import open_corpus
from curator.ranking.ranking import FORMAT, SIGN, Ranking
from synth.audit.token_statistics import copyable_share

MOST_OF_A_FILE = 8
"""Rows that one file gives."""
ROWS = 5528
WIDTH = 257
VOCABULARY = 8192
CHARACTERS = 4.5
"""Of a text per token wanted: kinds with long tokens need so many."""
UNIT = "induction:0.0"


@dataclass(frozen=True, eq=False)
class Natural:
    """``rows`` [n, width] in seeded order, the kind of each, and the tokenizer."""

    rows: np.ndarray
    kinds: list[str]
    tokenizer: Tokenizer

    def ranking(self, folder: Path) -> Ranking:
        """``folder/rows.npy``, ``folder/tokenizer.json`` and ``folder/ranking``: half of the rows score above 0."""
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / "rows.npy", self.rows)
        self.tokenizer.save(str(folder / "tokenizer.json"))
        copied = copyable_share(self.rows)
        scores = (copied - np.median(copied)).astype(np.float32)
        out = folder / "ranking"
        save_array(out / "scores.npy", scores[None])
        save_array(out / "blocks.npy", scores[None])
        noise = np.random.default_rng(0).lognormal(
            0, 0.5, len(copied)
        )  # so that others have the losses of the top
        losses = (1.2 - copied) * self.rows.shape[1] * noise
        save_array(out / "losses.npy", losses.astype(np.float32))
        save_json(
            out / "manifest.json",
            {
                "format": FORMAT,
                "status": "complete",
                "sign_convention": SIGN,
                "samples": [0, len(self.rows)],
                "units": [UNIT],
                "blocks": [f"{UNIT}/qk"],
                "settings": {},
                "fingerprints": {"corpus": open_corpus(folder / "rows.npy").fingerprint()},
                "layout": {},
                "request": {"corpus": str(folder / "rows.npy"), "model": str(folder)},
            },
        )
        return Ranking.open(out)


def natural(rows: int = ROWS, width: int = WIDTH, tokenizer: Path | None = None, seed: int = 0) -> Natural:
    """The corpus; ``tokenizer``: a tokenizer.json, else one of `VOCABULARY` entries is trained."""
    each = -(-rows // len(KINDS))
    texts = {kind: list(_enough(kind, each, width, seed)) for kind in KINDS}
    known = Tokenizer.from_file(str(tokenizer)) if tokenizer else _train([t for k in KINDS for t in texts[k]])
    made: list[np.ndarray] = []
    kinds: list[str] = []
    for number, kind in enumerate(KINDS):
        rng = np.random.default_rng([seed, number])
        own: list[np.ndarray] = []
        for encoding in known.encode_batch(texts[kind], add_special_tokens=False):
            ids = np.array(encoding.ids)
            whole = len(ids) // width
            if whole:
                start = int(rng.integers(0, len(ids) - whole * width + 1))
                cut = ids[start : start + whole * width].reshape(whole, width)
                own += list(cut[np.sort(rng.permutation(whole)[:MOST_OF_A_FILE])])
        made += own[:each]
        kinds += [kind] * len(own[:each])
    order = np.random.default_rng(seed).permutation(len(made))[:rows]
    array = np.stack([made[k] for k in order])
    array = array.astype(np.uint16 if array.max() < 1 << 16 else np.uint32)
    return Natural(array, [kinds[k] for k in order], known)


def _enough(kind: str, rows: int, width: int, seed: int) -> Iterator[str]:
    """Texts that should give ``rows`` rows."""
    wanted, longest = rows * width * CHARACTERS, round(MOST_OF_A_FILE * width * CHARACTERS)
    rng = np.random.default_rng([seed, KINDS.index(kind), 1])
    for text in texts_of(kind, seed):
        start = int(rng.integers(max(1, len(text) - longest)))
        cut = text[start : start + longest]
        if len(cut) < 2 * width:
            continue
        yield cut
        wanted -= len(cut)
        if wanted <= 0:
            return


def _train(texts: list[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        initial_alphabet=alphabet,
        special_tokens=["<|endoftext|>"],
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer
