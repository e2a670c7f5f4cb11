"""Which samples to take from one or several rankings: the top, the bottom, or a control to compare with.

Candidates (``candidates.py``) are the samples that every ranking holds, within the asked steps. Ties go to
the smaller sample index; every draw is seeded and depends on the candidates alone, not on the order they are
stored in. Controls leave the top samples out, so that what a control removes is never what the treatment
removes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace as changed
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from curator.artifacts.files import save_array, save_json
from curator.artifacts.fingerprints import fingerprint, load_checked
from curator.artifacts.manifests import load_manifest
from curator.errors import CuratorError, UsageError
from curator.ranking.candidates import Candidates, Source, gather_candidates, losses_of, sources_of
from curator.ranking.ranking import Ranking, highest_first

FORMAT = "curator-selection-1"
MEND = "choose the samples again"
LOSS_BINS = 100
Select = Literal["top", "bottom", "random", "loss-matched", "random-in-category"]


@dataclass(frozen=True, eq=False)
class Selection:
    """The chosen samples (int64, rising) and, in ``description``, how they were chosen."""

    samples: np.ndarray
    description: dict[str, Any]

    def __len__(self) -> int:
        return len(self.samples)

    def save(self, folder: Path) -> None:
        """``samples.npy`` and ``selection.json``: what a mask removes can always be listed."""
        save_array(folder / "samples.npy", self.samples)
        content = {"n_samples": len(self), "samples_fingerprint": fingerprint(self.samples)}
        save_json(folder / "selection.json", {"format": FORMAT, **content, **self.description})

    @staticmethod
    def open(folder: Path) -> "Selection":
        """Raises CuratorError when ``folder`` holds no selection, or a list that was changed since."""
        needed = ("n_samples", "samples_fingerprint")
        there = load_manifest(folder / "selection.json", FORMAT, MEND, needed)
        samples = load_checked(folder / "samples.npy", there["samples_fingerprint"], MEND)
        return Selection(samples, {k: v for k, v in there.items() if k not in ("format", *needed)})


def select(
    sources: Ranking | Sequence[Source],
    how: Select = "top",
    *,
    count: int | None = None,
    percent: float | None = None,
    steps: tuple[int, int] | None = None,
    batch_size: int | None = None,
    categories: np.ndarray | None = None,
    exclude_top: bool = True,
    bins: int = LOSS_BINS,
    seed: int = 0,
    epoch_samples: int | None = None,
    significant: float | None = None,
) -> Selection:
    """Choose ``count`` samples, or ``percent`` of the candidates.

    Args:
        sources: rankings of one corpus and their units, as from `candidates.sources_of`; of a
            ranking that stands alone all units count.
        steps: only samples of training steps [first, last), with ``batch_size`` samples each.
        categories: [samples of the corpus], as from `Corpus.categories`; for ``random-in-category``.
        exclude_top: whether ``random`` leaves the top samples out; the other controls always do.
        bins: loss quantile bins within which ``loss-matched`` samples are drawn.
        epoch_samples: length of the corpus where the run passes over it more than once (for ``steps``).
        significant: of the top, only samples whose score lies so many of its standard errors above 0 (of the bottom,
            below); controls are as many.

    Raises:
        UsageError: a size, step range or choice that makes no sense.
        CuratorError: rankings of different corpora, a score that is not a number, or too few candidates.
    """
    if isinstance(sources, Ranking):
        sources = sources_of([sources])
    candidates = gather_candidates(sources, steps, batch_size, categories, epoch_samples)
    n = _size(count, percent, len(candidates))
    if significant is not None:
        candidates, clear = _significant(candidates, how, significant)
        n = min(n, clear)
    samples = choose(candidates, how, n, seed=seed, exclude_top=exclude_top, bins=bins)
    description: dict[str, Any] = {
        "select": how,
        "asked": {"count": count, "percent": percent},
        "seed": seed,
        "candidates": {
            "samples": len(candidates),
            "first": int(candidates.samples[0]),
            "last": int(candidates.samples[-1]),
        },
        "steps": None if steps is None else list(steps),
        "batch_size": batch_size,
        "excludes_top": how not in ("top", "bottom") and (exclude_top or how != "random"),
        "score": "the unit's score" if len(sources) == 1 else "mean fractional rank over the candidates",
        "ties": "to the smaller sample index",
        "corpus_fingerprint": sources[0][0].corpus_fingerprint,
        "rankings": [
            {
                "path": str(ranking.path),
                "unit": unit,
                "samples": [ranking.first_sample, ranking.end],
                "fingerprint": fingerprint(ranking.manifest),
            }
            for ranking, unit in sources
        ],
    }
    if significant is not None:
        description["significant"] = significant
    if epoch_samples is not None:
        description["epoch_samples"] = epoch_samples
    if how == "loss-matched":
        known = losses_of([ranking for ranking, _ in sources])
        description |= {"loss_bins": bins, "losses": None if known is None else str(known.path)}
    return Selection(samples, description)


def _size(count: int | None, percent: float | None, candidates: int) -> int:
    if (count is None) == (percent is None):
        raise UsageError("say how many samples: either a count or a percent of the candidates")
    if percent is not None and not 0 < percent <= 100:
        raise UsageError(f"percent must be above 0 and at most 100, not {percent:g}")
    n = count if count is not None else round(candidates * (percent or 0) / 100)
    if not 1 <= n <= candidates:
        asked = f"{n} samples" if count is not None else f"{percent:g} % ({n} samples)"
        raise UsageError(f"{asked} asked for, but there are {candidates} candidates to choose from")
    return n


def _significant(candidates: Candidates, how: Select, least: float) -> tuple[Candidates, int]:
    """The candidates, those whose scores are not clear behind all others; and how many are clear."""
    if candidates.errors is None:
        raise UsageError(
            "'significant' needs standard errors, which one ranking that is a mean of several has (curator combine)"
        )
    sign = -1 if how == "bottom" else 1
    clear = sign * candidates.scores > least * candidates.errors
    if not clear.any():
        raise UsageError(
            f"no score lies {least:g} standard errors {'below' if sign < 0 else 'above'} 0; combine more seeds, or ask "
            "for less"
        )
    return changed(candidates, scores=np.where(clear, candidates.scores, -sign * np.inf)), int(clear.sum())


def choose(
    candidates: Candidates,
    how: Select,
    n: int,
    *,
    seed: int = 0,
    exclude_top: bool = True,
    bins: int = LOSS_BINS,
) -> np.ndarray:
    """[n] sample indices, rising; see `select`."""
    order = highest_first(candidates.scores)
    top, rest = np.sort(order[:n]), np.sort(order[n:])
    random = np.random.default_rng(seed)
    if how == "top":
        chosen = top
    elif how == "bottom":
        chosen = highest_first(-candidates.scores)[:n]
    elif how == "random":
        pool = rest if exclude_top else np.arange(len(candidates))
        if n > len(pool):
            raise CuratorError(
                f"cannot draw {n} random samples outside the top {n}: of {len(candidates)} candidates only "
                f"{len(pool)} are left; choose fewer"
            )
        chosen = random.choice(pool, n, replace=False)
    elif how == "loss-matched":
        chosen = _loss_matched(candidates.losses, top, rest, bins, random)
    elif how == "random-in-category":
        chosen = _in_category(candidates.categories, top, rest, random)
    else:
        raise UsageError(f"'{how}' is not one of: {', '.join(get_args(Select))}")
    return candidates.samples[np.sort(chosen)]


def loss_bins(losses: np.ndarray, bins: int) -> np.ndarray:
    """[n] the loss quantile bin, 0 … bins - 1, of each loss; equal losses share a bin."""
    edges = np.quantile(losses, np.arange(1, bins) / bins)
    return np.searchsorted(edges, losses, side="right")


def _loss_matched(
    losses: np.ndarray | None, top: np.ndarray, rest: np.ndarray, bins: int, random: np.random.Generator
) -> np.ndarray:
    if losses is None:
        raise UsageError(
            "loss-matched needs losses, and statistics that asked no model have none: make them again with --model, "
            "or choose another control"
        )
    if bins < 1:
        raise UsageError(f"loss bins must be at least 1, not {bins}")
    chosen, short = _draw_alike(loss_bins(losses, bins), top, rest, random)
    if short:
        narrower = [fewer for fewer in (50, 20, 10, 5, 2) if fewer < bins]
        possible = [b for b in narrower if not _draw_alike(loss_bins(losses, b), top, rest, random)[1]]
        mend = f"; {possible[0]} bins would do" if possible else "; choose fewer samples, or another control"
        bin_, (wanted, there) = next(iter(short.items()))
        raise CuratorError(
            f"no loss-matched control: in {len(short)} of {bins} loss bins too few samples are left beside "
            f"the top ones (bin {bin_}: {wanted} wanted, {there} left){mend}"
        )
    return chosen


def _in_category(
    categories: np.ndarray | None, top: np.ndarray, rest: np.ndarray, random: np.random.Generator
) -> np.ndarray:
    if categories is None:
        raise UsageError("random-in-category needs a corpus that knows its samples' categories")
    chosen, short = _draw_alike(categories, top, rest, random)
    if short:
        lines = ", ".join(f"{name}: {wanted} wanted, {there} left" for name, (wanted, there) in short.items())
        raise CuratorError(
            f"no random-in-category control: too few samples are left beside the top ones ({lines}); "
            "choose fewer samples"
        )
    return chosen


def _draw_alike(
    groups: np.ndarray, top: np.ndarray, rest: np.ndarray, random: np.random.Generator
) -> tuple[np.ndarray, dict[Any, tuple[int, int]]]:
    """From ``rest``, as many positions of every group as ``top`` has; and the groups with too few left."""
    chosen, short = [], {}
    by_group = rest[np.argsort(groups[rest], kind="stable")]
    names, wanted = np.unique(groups[top], return_counts=True)
    starts = np.searchsorted(groups[by_group], names, side="left")
    stops = np.searchsorted(groups[by_group], names, side="right")
    for name, count, start, stop in zip(names.tolist(), wanted.tolist(), starts, stops):
        if count > stop - start:
            short[name] = (count, int(stop - start))
        else:
            chosen.append(random.choice(by_group[start:stop], count, replace=False))
    return (np.concatenate(chosen) if chosen else np.zeros(0, np.int64)), short
