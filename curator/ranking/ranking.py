"""A ranking on disk: every sample's score for every unit, with what is needed to compute it again.

    manifest.json   what was asked, fingerprints, versions, seeds, sign convention; of the arrays below, when complete
    scores.npy      [units, samples]   sum over the unit's blocks; positive = training on it raises the probe
    blocks.npy      [blocks, samples]  the same per block
    losses.npy      [samples]          loss summed over the sample's tokens, in nats
    norms.npy       [blocks, samples]  norms of the samples' gradients, where scores are divided by them
    errors.npy      [units, samples]   standard errors of the scores, where they are means
    queries/        P per block, and factors/ the curvature they were made with, if any

Of normalised scores, ``scores`` and ``blocks`` are both divided by the norm in all blocks of the unit, so that the
blocks still sum to the unit's score; times `Ranking.unit_norms` they are the raw ones.

Column c is sample index ``first_sample + c``. All samples are kept, never only the top. A ranking by statistics
(``curator/statistics``) is the same folder, of units ``statistic:NAME``, without blocks and queries; its losses are NaN
where no model was asked. One that several were combined into (``combine.py``) has no queries.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from curator.artifacts.block_key import BlockKey
from curator.artifacts.files import load_array
from curator.artifacts.fingerprints import check_content, fingerprint
from curator.artifacts.frames import frame
from curator.artifacts.manifests import load_manifest
from curator.artifacts.unit_names import units_called
from curator.corpus import Corpus, open_corpus
from curator.errors import CuratorError, UsageError

FORMAT = "curator-ranking-1"
IDENTITY = ("samples", "units", "blocks", "settings", "fingerprints", "layout")
"""What of a manifest the scores depend on; fingerprints of queries and factors are of these."""
ARRAYS = ("scores", "blocks", "losses")
OPTIONAL = {"norms": "normalise", "errors": "errors"}
"""More arrays, and the setting of the manifest that says whether they are there."""
MAKERS = {"statistics": "statistics", "combined": "combine"}
"""Keys of manifests that another command than `rank` writes."""
_KEYS = ("status", "samples", "units", "blocks", "settings", "fingerprints", "layout", "request")
SIGN = (
    "positive = training on the sample raises the probe: -<gradient of its summed loss, H^-1 probe gradient>"
)


def sign_of(normalised: bool) -> str:
    """What scores mean, for the manifest."""
    return SIGN + (
        ", divided by the norm of the sample's gradient in the unit's blocks" if normalised else ""
    )


def unit_norms(norms: np.ndarray, owners: Sequence[int]) -> np.ndarray:
    """[units, n] norm of the gradient in all blocks of a unit, from those of its blocks.

    Args:
        norms: [blocks, n]; owners: number of the unit that each block is of.
    """
    squares = np.zeros((max(owners) + 1, norms.shape[1]))
    for row, owner in enumerate(owners):
        squares[owner] += np.asarray(norms[row], np.float64) ** 2
    return np.sqrt(squares)


def normalised(blocks: np.ndarray, norms: np.ndarray, owners: Sequence[int]) -> np.ndarray:
    """Block scores [blocks, n] divided by the norm in all blocks of their unit; 0 where the gradient is zero."""
    own = unit_norms(norms, owners)[list(owners)]
    return np.divide(blocks, own, out=np.zeros_like(blocks), where=own > 0, casting="same_kind")


def identity_of(manifest: Mapping[str, Any]) -> str:
    """Fingerprint of everything that the scores of a manifest depend on."""
    return fingerprint({key: manifest.get(key) for key in IDENTITY})


def maker_of(manifest: Mapping[str, Any]) -> str:
    """The command that makes a ranking of this manifest: ``rank``, ``statistics`` or ``combine``."""
    return next((maker for key, maker in MAKERS.items() if manifest.get(key)), "rank")


def sealed(manifest: Mapping[str, Any], **arrays: np.ndarray) -> dict[str, Any]:
    """The manifest of a complete ranking with these arrays (`ARRAYS`, perhaps `OPTIONAL`), and fingerprints of them."""
    content = {name: fingerprint(array) for name, array in arrays.items()}
    whole = fingerprint([identity_of(manifest), content])
    return {**manifest, "status": "complete", "content": content, "fingerprint": whole}


def open_manifest(path: Path) -> dict[str, Any]:
    """The manifest of the ranking folder ``path``, complete or not.

    Raises:
        CuratorError: no ranking, of another version, or its manifest was edited.
    """
    file = path / "manifest.json"
    if not file.is_file():
        raise CuratorError(
            f"{path}: not a ranking (no manifest.json); make one with `curator rank --out {path}`"
        )
    manifest = load_manifest(file, FORMAT, "put it back, or rank again", _KEYS)
    if "fingerprint" in manifest:
        found = fingerprint([identity_of(manifest), manifest.get("content")])
        if found != manifest["fingerprint"]:
            raise CuratorError(
                f"{file}: what it says has fingerprint {found}, but {manifest['fingerprint']} was written: it was "
                "edited, or is of another ranking; put it back, or rank again"
            )
    return manifest


@dataclass(frozen=True)
class Ranking:
    """An opened, complete ranking; arrays are memory-mapped.

    Attributes:
        scores: [units, samples]; blocks: [blocks, samples]; losses: [samples] in nats.
        units: the units' names; block_keys: which block each row of ``blocks`` is of.
        first_sample: sample index of column 0.
        norms: [blocks, samples] of the samples' gradients, by which scores were divided; None of raw scores.
        errors: [units, samples] standard errors of scores that are means; None of others.
    """

    path: Path
    manifest: dict[str, Any]
    scores: np.ndarray
    blocks: np.ndarray
    losses: np.ndarray
    units: list[str]
    block_keys: list[BlockKey]
    first_sample: int
    norms: np.ndarray | None = None
    errors: np.ndarray | None = None

    @staticmethod
    def open(path: Path) -> "Ranking":
        """Open a ranking folder.

        Raises:
            CuratorError: not a ranking, unfinished, or its arrays are not those its manifest was written for.
        """
        path = Path(path)
        manifest = open_manifest(path)
        if manifest["status"] != "complete":
            raise CuratorError(
                f"{path}: the ranking is unfinished; run the same `curator {maker_of(manifest)}` command again to "
                "resume it"
            )
        first, last = manifest["samples"]
        mend = f"the ranking is damaged: remove {path} and rank again"
        try:
            more = [name for name, setting in OPTIONAL.items() if manifest["settings"].get(setting)]
            names = (*ARRAYS, *more)
            arrays = {name: load_array(path / f"{name}.npy") for name in names}
        except CuratorError as error:
            raise CuratorError(f"{error}; {mend}") from error
        expected = {
            "scores": (len(manifest["units"]), last - first),
            "blocks": (len(manifest["blocks"]), last - first),
            "losses": (last - first,),
            "norms": (len(manifest["blocks"]), last - first),
            "errors": (len(manifest["units"]), last - first),
        }
        for name in names:
            shape = expected[name]
            if arrays[name].shape != shape:
                raise CuratorError(
                    f"{path}/{name}.npy: shape {arrays[name].shape}, the manifest says {shape}"
                )
            written = manifest.get("content", {}).get(name)  # versions before it wrote none
            check_content(path / f"{name}.npy", arrays[name], written, mend)
        return Ranking(
            path=path,
            manifest=manifest,
            scores=arrays["scores"],
            blocks=arrays["blocks"],
            losses=arrays["losses"],
            units=list(manifest["units"]),
            block_keys=[BlockKey.parse(name) for name in manifest["blocks"]],
            first_sample=first,
            **{name: arrays.get(name) for name in OPTIONAL},
        )

    def __len__(self) -> int:
        return len(self.losses)

    @property
    def samples(self) -> np.ndarray:
        """Sample index of every column."""
        return np.arange(self.first_sample, self.end)

    @property
    def end(self) -> int:
        """One past the last sample."""
        return self.first_sample + len(self)

    def samples_at(self, columns: npt.ArrayLike) -> np.ndarray:
        """The sample indices of these columns of the arrays."""
        return self.first_sample + np.asarray(columns)

    def columns_of(self, samples: npt.ArrayLike) -> np.ndarray:
        """Where these samples stand in the arrays.

        Raises:
            UsageError: a sample that was not ranked.
        """
        columns = np.asarray(samples) - self.first_sample
        outside = np.asarray(samples)[(columns < 0) | (columns >= len(self))]
        if outside.size:
            raise UsageError(
                f"{self.path}: sample {outside.flat[0]} was not ranked; it holds samples {self.first_sample} to "
                f"{self.end - 1}"
            )
        return columns

    def scores_of(self, samples: npt.ArrayLike, unit: str | None = None) -> np.ndarray:
        """The scores of these samples, in the order given, for one unit (the only one when None)."""
        return self.unit_scores(unit)[self.columns_of(samples)]

    def top(self, n: int | None = None, unit: str | None = None) -> np.ndarray:
        """The ``n`` samples of highest score for one unit, the highest first; all of them when None.

        Raises:
            UsageError: ``n`` is negative, or the unit is not in this ranking.
        """
        return self.samples_at(highest_first(self.unit_scores(unit))[: _count(n)])

    def bottom(self, n: int | None = None, unit: str | None = None) -> np.ndarray:
        """The ``n`` samples of lowest score, the lowest first; as `top`."""
        return self.samples_at(highest_first(-np.asarray(self.unit_scores(unit), np.float64))[: _count(n)])

    def to_frame(self) -> Any:
        """One row per sample, indexed by sample index: its loss in nats (NaN where no model was asked), and its
        score for every unit, with ``UNIT error`` beside it where it has one (pandas).

        Raises:
            CuratorError: pandas is not installed.
        """
        columns = {"loss": np.asarray(self.losses), **dict(zip(self.units, np.asarray(self.scores)))}
        if self.errors is not None:
            columns |= dict(zip([f"{unit} error" for unit in self.units], np.asarray(self.errors)))
        return frame(columns, self.samples, "sample")

    def open_corpus(self, path: Path | None = None) -> Corpus:
        """The corpus that was ranked: the one it was made with, or where that has moved, ``path``.

        Raises:
            CuratorError: it is not there, or is another corpus.
        """
        there = Path(self.manifest["request"]["corpus"])
        if path is None and not there.exists() and not there.with_suffix(".bin").exists():
            raise CuratorError(f"{self.path}: its corpus {there} is no longer there; give --corpus")
        corpus = open_corpus(path or there)
        self.check_corpus(corpus.fingerprint(), corpus.path)
        return corpus

    @property
    def statistics(self) -> dict[str, dict[str, str]]:
        """Of a ranking by statistics, unit -> what it ``says`` and what ``higher`` means; else empty."""
        return dict(self.manifest.get("statistics") or {})

    @property
    def model(self) -> str | None:
        """The checkpoint that the scores or losses are of; None of statistics that asked none."""
        return self.manifest["request"].get("model")

    @property
    def has_losses(self) -> bool:
        """Whether the losses are known: statistics that asked no model have none."""
        return not bool(np.isnan(self.losses).all())

    @property
    def corpus_fingerprint(self) -> str:
        return str(self.manifest["fingerprints"]["corpus"])

    @property
    def batch_size(self) -> int | None:
        """Samples per training step, where it was given; rankings of older versions do not say."""
        found = self.manifest["request"].get("batch_size")
        return found if isinstance(found, int) and found > 0 else None

    @property
    def steps(self) -> tuple[int, int] | None:
        """Training steps [first, last) that are ranked whole; None where that is unknown, or none is."""
        if self.batch_size is None:
            return None
        first, last = (
            -(-self.first_sample // self.batch_size),
            self.end // self.batch_size,
        )
        return (first, last) if first < last else None

    def unit_index(self, unit: str | None) -> int:
        """Row of ``unit``; the only one when None.

        Raises:
            UsageError: not in this ranking, or ambiguous; lists its units.
        """
        if unit is None and len(self.units) == 1:
            return 0
        named = self.units_called(unit) if unit else []
        if len(named) != 1:
            asked = f"no unit '{unit}'" if unit else "say which unit"
            raise UsageError(f"{self.path}: {asked}; this ranking has: {', '.join(self.units)}")
        return self.units.index(named[0])

    def units_called(self, name: str) -> list[str]:
        """The units of this name; one whose probe is not said is any of its probes'."""
        return units_called(name, self.units)

    def unit_scores(self, unit: str | None = None) -> np.ndarray:
        """[samples] scores of one unit."""
        return self.scores[self.unit_index(unit)]

    def unit_errors(self, unit: str | None = None) -> np.ndarray:
        """[samples] standard error of each score of one unit.

        Raises:
            UsageError: no such unit, or a ranking whose scores are of one draw.
        """
        row = self.unit_index(unit)
        if self.errors is None:
            raise UsageError(
                f"{self.path}: its scores are of one draw, so that nothing tells their errors; combine rankings with "
                "other seeds (curator combine)"
            )
        return self.errors[row]

    def unit_norms(self, unit: str | None = None) -> np.ndarray:
        """[samples] norm of each sample's gradient in the blocks of one unit; scores times it are the raw ones.

        Raises:
            UsageError: no such unit, or a ranking whose scores were not normalised.
        """
        row = self.unit_index(unit)
        if self.norms is None:
            raise UsageError(
                f"{self.path}: its scores are not divided by norms, so that it has none; rank with --normalise"
            )
        return unit_norms(self.norms, [self.units.index(key.unit) for key in self.block_keys])[row]

    def check_corpus(self, fingerprint: str, path: Path) -> None:
        """Refuse another corpus than the one that was ranked."""
        if fingerprint != self.corpus_fingerprint:
            raise CuratorError(
                f"{self.path} ranks the corpus with fingerprint {self.corpus_fingerprint} "
                f"({self.manifest['request']['corpus']}), but {path} has {fingerprint}: give the same corpus"
            )


def highest_first(scores: np.ndarray) -> np.ndarray:
    """Positions by falling score; equal scores in their order of storage."""
    return np.argsort(-np.asarray(scores, np.float64), kind="stable")


def _count(n: int | None) -> int | None:
    if n is not None and n < 0:
        raise UsageError(f"{n} samples asked for; expected 0 or more, or None for all")
    return n
