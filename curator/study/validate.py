"""Does an order of the window's samples foretell what training does? Random halves of the window, one training each.

Every subset keeps a random half of the window's samples (as many of each category, where asked), is trained from the
window's start, and measured by the head's mean score over the window. An order of samples is scored by how well the
sums of its scores over the kept samples rank these measurements (`curator.analysis.lds`). Subsets are independent
files, so that a killed validation goes on with what is missing, on as many processes as there are cores.
"""

import multiprocessing
import shutil
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from curator.analysis.lds import Scored, datamodeling_scores
from curator.artifacts.files import load_json, save_json
from curator.corpus import open_corpus
from curator.errors import CuratorError
from curator.progress import progress
from curator.study.replicate import Prepared, Replicate
from curator.study.result import Result
from curator.study.run import one_thread
from curator.study.study import Study
from curator.study.trainers import side_by_side


@dataclass(frozen=True)
class Validation:
    """What was found for one seed.

    Attributes:
        scored: every order over all subsets; probes and statistics: the names of each.
    """

    seed: int
    scored: Scored
    probes: list[str]
    statistics: list[str]

    @property
    def best_probe(self) -> str:
        """Of the orders by influence."""
        return max(self.probes, key=lambda name: self.scored.correlations[name].value)

    @property
    def best_statistic(self) -> str | None:
        """Of the statistics; None where there is none."""
        return max(self.statistics, key=lambda name: self.scored.correlations[name].value, default=None)

    def sentence(self) -> str:
        """Whether the best order by influence is better than the best statistic, and what would have been seen."""
        ours, theirs = self.best_probe, self.best_statistic
        n = self.scored.subsets
        if theirs is None:
            return f"seed {self.seed}: no statistic to compare {ours} with ({n} subsets)"
        lead, seen = self.scored.lead(ours, theirs), self.scored.visible(ours, theirs)
        verdict = "foretells training better than" if lead.low > 0 else "shows no lead over"
        verdict = "foretells training worse than" if lead.high < 0 else verdict
        return (
            f"seed {self.seed}: influence by {ours} {verdict} the best statistic, {theirs}: lead {lead.text()} over "
            f"{n} subsets; a lead of {seen:.2f} would be seen four times in five"
        )

    def to_json(self) -> dict[str, Any]:
        """As JSON."""

        return {
            "seed": self.seed,
            "subsets": self.scored.subsets,
            "correlations": {name: asdict(one) for name, one in self.scored.correlations.items()},
            "leads": {
                probe: {name: asdict(self.scored.lead(probe, name)) for name in self.statistics}
                for probe in self.probes
            },
            "sentence": self.sentence(),
        }


def validate(study: Study, out: Path, seed: int, subsets: int, within_categories: bool = False) -> Validation:
    """Train ``subsets`` halves of the window of ``out/seedN``, which is prepared as by the study, and score the orders.

    Args:
        within_categories: keep half of every category, so that no order gains by telling categories apart.

    Raises:
        CuratorError: no head forms in this seed.
    """
    folder = out / f"seed{seed}"
    prepared = Replicate(study, seed, folder).prepare()
    if prepared.plans is None:
        raise CuratorError(
            f"seed {seed}: no head forms, so there is no window to validate in; take another seed"
        )
    prepared = _within(prepared, study)
    assert prepared.plans is not None
    place = folder / ("validation-within" if within_categories else "validation")
    identity, asked = {"window": prepared.result.content["window"]}, place / "asked.json"
    if not asked.is_file() or load_json(asked) != identity:
        for made in (place, folder / "curves" / place.name):  # of another part of the window
            shutil.rmtree(made, ignore_errors=True)
        save_json(asked, identity)
    missing = [number for number in range(subsets) if not (place / f"{number:04}.json").is_file()]
    workers = min(max(len(missing), 1), side_by_side(study))
    context = multiprocessing.get_context("spawn")
    samples = prepared.plans.samples
    kept = [keeps(prepared, number, within_categories) for number in range(subsets)]
    with (
        ProcessPoolExecutor(workers, context, initializer=one_thread) as pool,
        progress(f"subsets of seed {seed}", subsets, unit="subsets", done=subsets - len(missing)) as advance,
    ):
        waiting = [
            pool.submit(_subset, study, seed, place, number, samples[~kept[number]], prepared.result)
            for number in missing
        ]
        for future in as_completed(waiting):
            future.result()
            advance(1)
    measured = np.array([load_json(place / f"{number:04}.json")["mean_score"] for number in range(subsets)])
    orders = prepared.plans.orders
    predicted = {
        name: sums(ranking.scores_of(samples, unit), kept) for name, (ranking, unit) in orders.items()
    }
    known = {name: values for name, values in predicted.items() if np.isfinite(values).all()}
    statistics: list[str] = [name for name in study.statistics if name in known]
    found = Validation(
        seed,
        datamodeling_scores(known, measured),
        [name for name in known if name not in statistics],
        statistics,
    )
    save_json(place / "validation.json", found.to_json())
    return found


def _within(prepared: Prepared, study: Study) -> Prepared:
    """With the part of the window that is validated in as the window."""
    around, found = study.validation, prepared.result.content
    if around is None or prepared.plans is None:
        return prepared
    window = (
        found["attribution_step"] - around.before,
        min(found["attribution_step"] + around.after, found["last_step"]),
    )
    result = Result({**found, "window": list(window), "last_step": window[1]})
    return replace(prepared, result=result, plans=replace(prepared.plans, window=window))


def keeps(prepared: Prepared, number: int, within_categories: bool) -> np.ndarray:
    """[samples of the window] bool: the half that subset ``number`` keeps; of each category, where asked."""
    assert prepared.plans is not None
    samples = prepared.plans.samples
    random = np.random.default_rng([prepared.seed, number, int(within_categories)])
    categories = prepared.plans.categories
    groups = [np.arange(len(samples))]
    if within_categories and categories is not None:
        names = categories[samples]
        groups = [np.flatnonzero(names == name) for name in np.unique(names)]
    kept = np.zeros(len(samples), bool)
    for group in groups:
        kept[random.choice(group, len(group) // 2, replace=False)] = True
    return kept


def sums(scores: np.ndarray, kept: Sequence[np.ndarray]) -> np.ndarray:
    """[subsets] the summed scores of the kept samples."""
    return np.array([np.asarray(scores, np.float64)[one].sum() for one in kept])


def _subset(study: Study, seed: int, place: Path, number: int, left_out: np.ndarray, found: Result) -> None:
    """Train and measure one subset; its file is its marker."""
    replicate = Replicate(study.changed(measure=("metric",)), seed, place.parent)
    corpus = open_corpus(place.parent / "corpus")
    first, last = found.content["window"]
    run = f"{place.name}/{number:04}"
    curve = replicate.train(corpus, run, study.unedited(corpus).mask(left_out), first, last)
    score = found.with_curve("subset", curve).mean_score("subset")
    save_json(place / f"{number:04}.json", {"mean_score": score})
    shutil.rmtree(place / f"{number:04}", ignore_errors=True)
