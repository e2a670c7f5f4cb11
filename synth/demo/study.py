"""The study file of `synth demo`: arms insert random, top or rendered rows, in several quantities and schedules."""

from typing import Annotated, Any

from pydantic import Field

from curator.artifacts.fields import Count
from curator.artifacts.schema import Settings
from curator.study.study import Study

KINDS = {"random": "random", "top": "top", "rendered": "synthetic"}
"""What arms insert -> what results call it: rows of the window, its rows of highest influence, rendered rows."""


class Distill(Settings):
    """What patterns are distilled from."""

    top: Count = 1000
    """Samples of highest influence."""
    holdout: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """The share of them that is kept for the audit."""


class InsertStudy(Study):
    """A study whose arms all insert rows."""

    distill: Distill = Field(default_factory=Distill)

    def check(self) -> None:
        """Each quantity and schedule has rows of all three kinds, which are compared."""
        super().check()
        for (schedule, count), arms in self.factorial.items():
            if set(arms) != set(KINDS.values()):
                raise ValueError(
                    f"arms: {count} rows, {schedule}: has {', '.join(arms)}; needs one arm each of "
                    f"'insert: {', '.join(KINDS)}'"
                )

    def decided_before_arms(self) -> dict[str, Any]:
        """Rows are rendered for the largest arm."""
        return {**super().decided_before_arms(), "rows": max(arm.count or 0 for arm in self.arms)}

    @property
    def factorial(self) -> dict[tuple[str, int], dict[str, str]]:
        """Schedule and number of rows -> kind -> the arm's name, in the file's order."""
        found: dict[tuple[str, int], dict[str, str]] = {}
        for arm in self.arms:
            place = ("spread" if arm.spread else "burst", arm.count or 0)
            found.setdefault(place, {})[KINDS.get(arm.insert or "", arm.name)] = arm.name
        return found
