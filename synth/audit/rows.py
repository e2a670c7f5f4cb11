"""Do rendered rows carry the influence their patterns were distilled for? Scored again as the natural samples were.

A sample of every pattern's rows goes through `curator rank --queries-of`: same checkpoint, same queries. What counts
is where a row's score lies among the natural samples' (percentile: percent with a lower score). Two controls: random
natural samples, whose percentiles are uniform, and *shuffled rows*: the same rows with their tokens in random order,
which keeps every token and its number and loses the order. Where the model is poor at both, high loss alone gives
high scores; a pattern whose rows do no better than that does not carry through what it repeats.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from curator.artifacts.claim import claim_folder, lock_folder
from curator.artifacts.files import save_array, save_json
from curator.artifacts.fingerprints import fingerprint
from curator.artifacts.manifests import load_manifest
from curator.corpus import Corpus
from curator.corpus.npy import origins_file, save_origins
from curator.corpus.rendered import LEAST
from curator.errors import CuratorError
from curator.ranking.given_queries import GivenQueries
from curator.ranking.ranking import Ranking, highest_first
from curator.ranking.run import rank
from synth.audit.diversity import diversity, doublings
from synth.audit.fidelity import audit_fidelity
from synth.audit.plot import plot_audit
from synth.audit.settings import AuditDataSettings
from synth.render.folder import Rows

FORMAT = "synth-audit-data-1"
RESAMPLES = 2000
"""Of the bootstrap."""
LARGEST = 5
"""Patterns whose own diversity is shown."""
RULE = (
    "at least {least} rows scored; the 95 % bootstrap interval of their median percentile lies above {threshold:g}; "
    "and the median of (score - score of the same row shuffled) is above 0"
)


@dataclass(frozen=True)
class RowsAudit:
    """The folder of an audit of rows; ``result`` is what its ``audit.json`` holds."""

    path: Path
    result: dict[str, Any]

    @staticmethod
    def open(path: Path) -> "RowsAudit":
        """Raises CuratorError: it holds no audit, or one that was edited."""
        path = Path(path)
        mend = f"remove {path} and audit again"
        return RowsAudit(path, load_manifest(path / "audit.json", FORMAT, mend, ("patterns[]", "kept[]")))

    @property
    def kept(self) -> list[str]:
        """Ids of the patterns whose rows carry influence."""
        return list(self.result["kept"])


def audit_data(rows: Rows, ranking: Ranking, corpus: Corpus, settings: AuditDataSettings) -> dict[str, Any]:
    """Audit ``rows`` against ``ranking`` of ``corpus``; writes audit.json, kept.json and audit.png.

    Returns:
        What audit.json holds.

    Raises:
        CuratorError: rows of another width, a ranking without queries, or the folder holds another audit.
    """
    out = settings.out
    unit = ranking.units[ranking.unit_index(settings.unit)]
    if rows.corpus.row_width != corpus.row_width:
        raise CuratorError(
            f"{rows.path}: rows have {rows.corpus.row_width} tokens, the samples of {ranking.path} "
            f"{corpus.row_width}; scores are sums over tokens, so render with --seq-length {corpus.row_width - 1}"
        )
    queries = GivenQueries.open(ranking.path)
    natural = np.asarray(ranking.unit_scores(unit), np.float64)
    identity = {
        "rows": rows.manifest["fingerprint"],
        "ranking": fingerprint([ranking.manifest["fingerprints"], ranking.manifest["settings"], natural]),
        "unit": unit,
        "sample": settings.sample,
        "random": settings.random,
        "threshold": settings.threshold,
        "seed": settings.seed,
    }
    with lock_folder(out):
        if claim_folder(out, identity, what="audit results", result="audit.json", claim="identity.json"):
            return RowsAudit.open(out).result
        chosen = draw(rows, settings.sample, settings.seed)
        file = out / "scored.npy"
        if not file.is_file():
            save_array(file, _with_shuffled(rows.corpus, chosen, settings.seed))
        if not origins_file(file).is_file():  # so that `curator show` tells what was scored, as text
            shutil.copyfile(rows.path / "tokenizer.json", out / "tokenizer.json")
            save_origins(file, _origins(rows, chosen))
        scored = rank(
            queries.request(file, model=settings.model, units=(unit,)), out / "ranking", settings.device
        )
        result = _result(rows, ranking, corpus, scored, chosen, natural, identity, settings)
        plot_audit(result, out / "audit.png")
        save_json(out / "kept.json", result["kept"])
        save_json(out / "audit.json", result)
        return result


def draw(rows: Rows, sample: int, seed: int) -> list[np.ndarray]:
    """Per pattern the rows to score, rising: ``sample`` drawn without repetition, or all."""
    chosen = []
    for number in range(len(rows.patterns)):
        own = np.flatnonzero(rows.row_patterns == number)
        if 0 < sample < len(own):
            own = np.sort(np.random.default_rng([seed, number, 1]).choice(own, sample, replace=False))
        chosen.append(own)
    return chosen


def _with_shuffled(corpus: Corpus, chosen: list[np.ndarray], seed: int) -> np.ndarray:
    """[2 n, width]: the rows of all patterns, then each with its tokens in random order."""
    tokens = corpus.rows(np.concatenate(chosen))
    shuffled = np.random.default_rng([seed, 2]).permuted(tokens, axis=1)
    return np.concatenate([tokens, shuffled])


def _origins(rows: Rows, chosen: list[np.ndarray]) -> dict[str, list[Any]]:
    """What each row of `_with_shuffled` is."""
    which = np.concatenate(chosen)
    once = {
        "pattern": [rows.patterns[number] for number in rows.row_patterns[which]],
        "row": which.tolist(),
        "candidate": rows.row_candidates[which].tolist(),
        "tokens": ["as rendered"] * len(which),
    }
    return {name: [*values, *values] for name, values in once.items()} | {
        "tokens": [*once["tokens"], *["shuffled"] * len(which)]
    }


def _result(
    rows: Rows,
    ranking: Ranking,
    corpus: Corpus,
    scored: Ranking,
    chosen: list[np.ndarray],
    natural: np.ndarray,
    identity: dict[str, Any],
    settings: AuditDataSettings,
) -> dict[str, Any]:
    scores, shuffled = np.split(np.asarray(scored.scores[0], np.float64), 2)
    losses = np.split(np.asarray(scored.losses, np.float64), 2)[0] / (corpus.row_width - 1)
    ordered = np.sort(natural)
    drawn = np.random.default_rng([settings.seed, 3]).permutation(len(natural))
    some = drawn[: settings.random]
    ends = np.cumsum([len(own) for own in chosen])
    patterns: list[dict[str, Any]] = []
    for number, (name, end) in enumerate(zip(rows.patterns, ends)):
        own = slice(end - len(chosen[number]), end)
        rng = np.random.default_rng([settings.seed, number, 4])
        one: dict[str, Any] = {"pattern_id": name, "rows": int((rows.row_patterns == number).sum())}
        one |= describe(scores[own], shuffled[own], losses[own], ordered, rng)
        one["kept"] = is_kept(one, settings.threshold)
        patterns.append(one)
    patterns.sort(key=lambda one: -(one["percentile"]["median"] if one["scored"] else -1.0))
    random = percentiles(ordered, natural[some])
    return {
        "format": FORMAT,
        "identity": identity,
        "rows": str(rows.path.absolute()),
        "ranking": str(ranking.path.absolute()),
        "rule": RULE.format(least=LEAST, threshold=settings.threshold),
        "kept": [
            name for name in rows.patterns if any(p["kept"] and p["pattern_id"] == name for p in patterns)
        ],
        "patterns": patterns,
        "natural": {
            "samples": len(natural),
            "drawn": len(some),
            "percentile": {
                "median": float(np.median(random)),
                **median_interval(random, np.random.default_rng([settings.seed, 5])),
            },
            "above_90": float(np.mean(random >= 90)),
            "mean_score": float(natural[some].mean()),
            "loss": float(np.asarray(ranking.losses, np.float64)[some].mean() / (corpus.row_width - 1)),
        },
        "diversity": _diversity(rows, ranking, corpus, natural, drawn),
        "fidelity": audit_fidelity(rows, ranking, corpus, drawn),
    }


def percentiles(ordered: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Percent of the natural scores ``ordered`` (rising) that lie below each score."""
    return 100.0 * np.searchsorted(ordered, scores, side="left") / len(ordered)


def describe(
    scores: np.ndarray,
    shuffled: np.ndarray,
    losses: np.ndarray,
    ordered: np.ndarray,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """One pattern's numbers; ``shuffled`` are the scores of the same rows with their tokens in random order."""
    if not len(scores):
        return {"scored": 0}
    places, others = percentiles(ordered, scores), percentiles(ordered, shuffled)
    gain = scores - shuffled
    return {
        "scored": len(scores),
        "mean_score": float(scores.mean()),
        "percentile": {"median": float(np.median(places)), **median_interval(places, rng)},
        "above_90": float(np.mean(places >= 90)),
        "loss": float(losses.mean()),
        "shuffled": {"mean_score": float(shuffled.mean()), "percentile": float(np.median(others))},
        "gain": {"median": float(np.median(gain)), **median_interval(gain, rng)},
    }


def median_interval(values: np.ndarray, rng: np.random.Generator) -> dict[str, float]:
    """95 % bootstrap interval of the median (percentile method)."""
    n = len(values)
    block = max(1, (1 << 20) // n)
    medians = [
        np.median(values[rng.integers(0, n, (min(block, RESAMPLES - start), n))], axis=1)
        for start in range(0, RESAMPLES, block)
    ]
    low, high = np.quantile(np.concatenate(medians), [0.025, 0.975])
    return {"low": float(low), "high": float(high)}


def is_kept(one: dict[str, Any], threshold: float) -> bool:
    """`RULE`."""
    return bool(one["scored"] >= LEAST and one["percentile"]["low"] > threshold and one["gain"]["median"] > 0)


def _diversity(
    rows: Rows, ranking: Ranking, corpus: Corpus, natural: np.ndarray, drawn: np.ndarray
) -> dict[str, Any]:
    """Rendered rows beside as many natural ones, of highest influence and random."""
    width = rows.corpus.row_width
    counts = doublings(len(rows.corpus), width)
    beside = doublings(min(len(rows.corpus), len(ranking)), width)
    top = ranking.samples_at(highest_first(natural))
    random = ranking.samples_at(drawn)
    sizes = np.bincount(rows.row_patterns, minlength=len(rows.patterns))
    largest = highest_first(sizes)[:LARGEST]

    def of_pattern(number: int) -> list[dict[str, Any]]:
        own = np.flatnonzero(rows.row_patterns == number)
        return diversity(lambda n: rows.corpus.rows(own[:n]), doublings(len(own), width))

    return {
        "rendered": diversity(lambda n: rows.corpus.rows(slice(0, n)), counts),
        "natural_top": diversity(lambda n: corpus.rows(top[:n]), beside),
        "natural_random": diversity(lambda n: corpus.rows(random[:n]), beside),
        "patterns": {rows.patterns[number]: of_pattern(number) for number in largest if sizes[number]},
    }
