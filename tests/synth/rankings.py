"""A ranking that was written down rather than computed: scores, losses and text as a test wants them."""

from pathlib import Path
from typing import Any

import numpy as np
from engine_parts import GOLDEN
from tokenizers import Tokenizer

from curator.artifacts.files import save_array, save_json
from curator.corpus import open_corpus
from curator.ranking.ranking import FORMAT, SIGN, Ranking
from synth.distill.run import Top
from synth.distill.settings import DistillSettings

TOKENIZER = GOLDEN / "model" / "tokenizer.json"
UNIT = "induction:1.0"


def tokenizer() -> Tokenizer:
    return Tokenizer.from_file(str(TOKENIZER))


def rows_of(texts: list[str], width: int) -> np.ndarray:
    """[n, width] token ids: each text, again and again until the row is full."""
    rows = []
    for encoding in tokenizer().encode_batch(texts, add_special_tokens=False):
        rows.append(np.resize(np.array(encoding.ids, np.uint16), width))
    return np.stack(rows)


def write_ranking(
    folder: Path, rows: np.ndarray, scores: np.ndarray, losses: np.ndarray | None = None
) -> Ranking:
    """``folder/rows.npy``, ``folder/tokenizer.json`` beside it, and ``folder/ranking`` of all rows."""
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "rows.npy", rows)
    (folder / "tokenizer.json").write_bytes(TOKENIZER.read_bytes())
    out = folder / "ranking"
    save_array(out / "scores.npy", scores[None].astype(np.float32))
    save_array(out / "blocks.npy", scores[None].astype(np.float32))
    losses = np.linspace(50, 150, len(rows)) if losses is None else losses
    save_array(out / "losses.npy", losses.astype(np.float32))
    save_json(
        out / "manifest.json",
        {
            "format": FORMAT,
            "status": "complete",
            "sign_convention": SIGN,
            "samples": [0, len(rows)],
            "units": [UNIT],
            "blocks": [f"{UNIT}/qk"],
            "settings": {},
            "fingerprints": {"corpus": open_corpus(folder / "rows.npy").fingerprint()},
            "layout": {},
            "request": {"corpus": str(folder / "rows.npy"), "model": str(folder)},
        },
    )
    return Ranking.open(out)


def top_of(ranking: Path, **given: Any) -> Top:
    """Its top samples, as `synth distill` opens them."""
    return Top.open(DistillSettings(ranking=ranking, out="unused", **given))
