"""What rendered rows keep of the samples that their pattern was distilled from, and how much of it is a copy of them.

Per pattern, of its rows, of its own natural samples and of random ones: the share of tokens in repeated 4-grams, the
share that could be copied, and the compression ratio of as many rows (``token_statistics.py``, ``diversity.py``). What
a sample repeats is what made it influential, so these should be kept. *Found* is the share of the rows' 13-grams that
stand in the pattern's samples, beside that of each of these samples in the others: rows should not be copies.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from curator.artifacts.files import load_json
from curator.corpus import Corpus
from curator.errors import CuratorError
from curator.ranking.ranking import Ranking
from synth.audit.diversity import compression
from synth.audit.token_statistics import copyable_share, found_share, repeated_share
from synth.render.folder import Rows

MOST = 200
"""Rows and samples that are looked at, per pattern and of the random ones."""
MOST_LEFT_OUT = 20
"""Samples of a pattern that are looked for in the others."""


def fidelity(rows: np.ndarray, own: np.ndarray) -> dict[str, Any]:
    """``rows`` and their pattern's ``own`` samples, [n, width] each, side by side."""
    n = min(len(rows), len(own))
    others = [np.delete(own, k, 0) for k in range(min(len(own), MOST_LEFT_OUT))]
    left_out = [float(found_share(own[k : k + 1], rest)[0]) for k, rest in enumerate(others) if len(rest)]
    return {
        "samples": len(own),
        "rows": len(rows),
        "rendered": {**statistics(rows, n), "found": float(found_share(rows, own).mean())},
        "natural": {**statistics(own, n), "found": float(np.mean(left_out)) if left_out else None},
    }


def statistics(rows: np.ndarray, n: int) -> dict[str, Any]:
    """Of ``rows`` [rows, width]; the compression ratio is of ``n`` of them, evenly from first to last."""
    some = rows[np.linspace(0, len(rows) - 1, n).astype(np.int64)]
    wide = some.astype("<u2" if rows.max() < 1 << 16 else "<u4")
    return {
        "repeated": float(repeated_share(rows).mean()),
        "copyable": float(copyable_share(rows).mean()),
        "compression": compression(wide.tobytes()),
    }


def audit_fidelity(rows: Rows, ranking: Ranking, corpus: Corpus, drawn: np.ndarray) -> dict[str, Any]:
    """``patterns``: `fidelity` by id, where samples are known; ``random``: `statistics`; ``note``: why there is none.

    Args:
        drawn: natural samples in random order, 0 being the ranking's first.
    """
    samples, note = origins(rows.path, ranking)
    found = {}
    for number, name in enumerate(rows.patterns):
        own, made = samples.get(name, ()), np.flatnonzero(rows.row_patterns == number)[:MOST]
        if len(own) and len(made):
            found[name] = fidelity(rows.corpus.rows(made), corpus.rows(_some(own)))
    random = corpus.rows(np.sort(ranking.samples_at(drawn[:MOST])))
    return {"patterns": found, "random": statistics(random, len(random)), "note": note}


def origins(path: Path, ranking: Ranking) -> tuple[dict[str, Sequence[int]], str]:
    """(the samples that each pattern of a folder of rows was distilled from, why there are none)."""
    try:
        manifest = load_json(path / "generators" / "manifest.json")
        there = {one["pattern"]["pattern_id"]: one["distilled_from"] for one in manifest["generators"]}
    except (CuratorError, KeyError, TypeError):
        return (
            {},
            "the rows do not say which samples their patterns were distilled from; generate and render again",
        )
    if manifest.get("corpus_fingerprint") != ranking.corpus_fingerprint:
        return (
            {},
            "the patterns were distilled from another corpus, so that their samples are not compared with the rows",
        )
    return there, ""


def _some(samples: Sequence[int]) -> np.ndarray:
    """At most `MOST` of them, from the first, which scores highest, to the last."""
    places = np.linspace(0, len(samples) - 1, min(MOST, len(samples))).astype(np.int64)
    return np.array(samples, np.int64)[places]
