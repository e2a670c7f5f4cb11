"""What one seed of a study gave: the head, and its score in every run."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from curator.analysis.effects import mean_over
from curator.evaluate.table import values_in
from curator.scan.formation import crossing


@dataclass(frozen=True)
class Result:
    """The content of a seed's ``result.json``."""

    content: dict[str, Any]

    @property
    def seed(self) -> int:
        return int(self.content["identity"]["seed"])

    @property
    def has_formed(self) -> bool:
        """Whether a head formed, so that there is a ranking, and arms."""
        return self.content["attribution_step"] is not None

    @property
    def runs(self) -> list[str]:
        return list(self.content["curves"])

    def head(self, run: str) -> tuple[np.ndarray, np.ndarray]:
        """(steps, induction score of the ranked head) of one run."""
        curve = self.content["curves"][run]
        scores = np.array(curve["scores"])
        return np.array(curve["steps"]), scores[:, self.content["layer"], self.content["head"]]

    def curve(self, run: str, quantity: str, unit: str = "") -> tuple[np.ndarray, np.ndarray]:
        """(steps, values) of any quantity of one run; empty where it was not measured."""
        curve = self.content["curves"][run]
        values = values_in(curve, quantity, unit)
        return np.array([] if values is None else curve["steps"], np.int64), np.array(values or [])

    def mean(self, run: str, quantity: str, unit: str = "") -> float | None:
        """The mean of a curve over the window, the area under it per step; None where it was not measured."""
        steps, values = self.curve(run, quantity, unit)
        return mean_over(steps, values, *self.content["window"]) if len(steps) else None

    def with_curve(self, run: str, curve: dict[str, Any]) -> "Result":
        """And another run."""
        return Result({**self.content, "curves": {**self.content["curves"], run: curve}})

    def crossing(self, run: str, threshold: float) -> float | None:
        """The step at which the head's score durably crosses ``threshold``, from the window's start on."""
        steps, values = self.head(run)
        inside = steps >= self.content["window"][0]
        return crossing(steps[inside], values[inside], threshold)

    def shift(self, run: str, threshold: float) -> float | None:
        """That step minus the baseline's; negative is sooner. None where one of the two never crosses."""
        ours, base = self.crossing(run, threshold), self.crossing("baseline", threshold)
        return None if ours is None or base is None else ours - base

    def score_at_window_end(self, run: str) -> float:
        """The head's score at the step at which the ranked window ends."""
        steps, values = self.head(run)
        return float(values[np.searchsorted(steps, self.content["window"][1])])

    @property
    def last_step(self) -> int:
        """At which arms end, extra steps not counted."""
        return int(self.content["last_step"])

    def mean_score(self, run: str) -> float:
        """The head's mean score from the window's start to its end: the area under its curve, per step."""
        return mean_over(*self.head(run), *self.content["window"])

    def area(self, run: str) -> float:
        """That less the baseline's: above 0, the head forms sooner or stronger."""
        return self.mean_score(run) - self.mean_score("baseline")

    def copying_at(self, run: str, step: int) -> float | None:
        """Copy log-probability (nats per token) at ``step``; None where it was not measured there."""
        curve = self.content["curves"][run]
        return curve["copy_log_probability"][curve["steps"].index(step)] if step in curve["steps"] else None
