"""How samples are ranked: the section ``rank`` of an experiment, the flags of `curator rank`, and what manifests say.

Every score depends on these fields and on the content of the files they name, and on nothing else (DESIGN law 8).
"""

import shlex
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from curator.artifacts.conditions import Not, Only
from curator.artifacts.fields import (
    BatchSize,
    Corpus,
    Count,
    DampingMode,
    Epochs,
    Model,
    NotNegative,
    Out,
    Positive,
    Precision,
    PreconditionerName,
    Probe,
    Seed,
    Shared,
    Span,
    Tokenizer,
    UnitModules,
    Units,
    Where,
    Window,
)
from curator.artifacts.flags import Flag, flag_words
from curator.artifacts.schema import GivenPath, Many, Settings

FITTED = ("ekfac", "kfac")
"""Preconditioners that are fitted on samples, and damped."""
FIT = ("fisher", "factor_samples", "factor_seed", "damping", "alpha", "floor")
"""Fields that say how; nothing of the others depends on them."""
DECIDED_BY_QUERIES = ("window", "probe", "tokenizer", "preconditioner", *FIT, "dtype", "emitted")
"""Fields that say nothing beside ``queries_of``: given queries were made with settings of their own."""
OfFit = Only("preconditioner", *FITTED)


def recorded_now(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a manifest as today's version writes them.

    Before there were preconditioners all was EK-FAC, or by a damping called ``identity`` no curvature at all (although
    it was fitted); and no score was normalised.
    """
    there = {"normalise": False, **settings}
    damping = there.get("damping")
    if "preconditioner" in there or not isinstance(damping, Mapping):
        return there
    if damping.get("mode") != "identity":
        return {"preconditioner": "ekfac", **there}
    kept = {name: value for name, value in there.items() if name not in FIT}
    return {"preconditioner": "identity", **kept}


class RankSettings(Settings):
    """How every sample of the window is scored."""

    model: Model = None
    corpus: Corpus = None
    units: Annotated[Units, Shared()] = ()
    out: Out = None
    samples: Annotated[Span | None, Not("window"), Flag(default="the window, or all")] = None
    """Score samples FIRST:LAST (LAST not included)."""
    window: Window = None
    """Score the samples of steps FIRST:LAST; needs --batch-size."""
    batch_size: BatchSize = None
    epochs: Annotated[Epochs, Only("window")] = 1
    preconditioner: PreconditionerName = "ekfac"
    """What stands for the inverse curvature: ekfac (two sweeps over the factor samples), kfac (one sweep: coarser),
    adam (the second moments of the checkpoint's own optimizer; nothing is fitted), identity (none: plain products of
    gradients). --fisher to --floor are of ekfac and kfac alone."""
    normalise: bool = False
    """Divide each score by the norm of the sample's gradient in the unit's blocks: what a sample teaches per size of
    its step, so that a few odd rows with huge gradients do not outweigh all others."""
    fisher: Annotated[Literal["sampled", "empirical"], OfFit] = "sampled"
    """Labels of the curvature: sampled (from the model) or empirical (the data's)."""
    factor_samples: Annotated[Count, OfFit] = 100_000
    """Fit the curvature on at most so many samples."""
    factor_seed: Annotated[Seed, OfFit] = 0
    """Of their draw and of sampled labels."""
    damping: Annotated[DampingMode, OfFit] = "mean"
    """mean: λ + α·mean λ; max: λ + α·max λ; absolute: λ + α."""
    alpha: Annotated[NotNegative, OfFit] = 0.1
    """Damping strength α."""
    floor: Annotated[Positive, OfFit] = 1e-5
    """Smallest damped eigenvalue."""
    probe: Annotated[Probe, Shared()] = Field(default_factory=Probe)
    tokenizer: Tokenizer = None
    dtype: Precision = "float32"
    micro_batch: Annotated[Count | None, Flag(default="what fits")] = None
    """Samples per pass through the model."""
    shard_size: Annotated[Count | None, Flag(default="about 512")] = None
    """Samples per resumable shard."""
    emitted: Annotated[
        GivenPath | None,
        Not(
            *("factor_samples", "factor_seed", "micro_batch", "shard_size"),
            says="all that was emitted is used, and there is no pass over the corpus",
        ),
    ] = None
    """Score per-sample gradients that a patched GPT-NeoX trainer emitted; no pass over the corpus."""
    queries_of: Annotated[
        GivenPath | None,
        Not(
            *DECIDED_BY_QUERIES,
            says="the queries were made with their ranking's own settings, and 'samples' says what to score",
        ),
    ] = None
    """Ranking whose queries score this corpus, under its model, units and settings; nothing is fitted."""
    unit_modules: UnitModules = ()
    device: Where = "cpu"

    @staticmethod
    def of_recorded(settings: Mapping[str, Any]) -> dict[str, Any]:
        """The fields that `recorded` wrote into the settings of a manifest, or an earlier version did."""
        there = recorded_now(settings)
        damping = there.get("damping", {})
        fields = {name: there[name] for name in ("preconditioner", *FIT[:3], "dtype") if name in there}
        named = {"damping": damping.get("mode"), "alpha": damping.get("alpha"), "floor": damping.get("floor")}
        return {**fields, **{name: value for name, value in named.items() if value is not None}}

    def recorded(self) -> dict[str, Any]:
        """What the queries were made with, as JSON; a fingerprint stands for what a path names."""
        fit = {
            "fisher": self.fisher,
            "factor_samples": self.factor_samples,
            "factor_seed": self.factor_seed,
            "damping": {"mode": self.damping, "alpha": self.alpha, "floor": self.floor},
        }
        fitted = self.preconditioner in FITTED
        return {"preconditioner": self.preconditioner, **(fit if fitted else {}), "dtype": self.dtype}

    def command(self) -> str:
        """The `curator rank` command that asks for the same again (all but ``--out``)."""
        left_out = {"out", "window", "batch_size", "epochs", "device", "emitted"}
        if self.queries_of is not None:
            left_out |= set(DECIDED_BY_QUERIES)
        if self.preconditioner not in FITTED:
            left_out |= set(FIT)
        if self.probe.tokens is not None:  # nothing is drawn
            left_out |= {f"probe.{name}" for name in ("sequences", "min_length", "seed", "ids")}
        return shlex.join(["curator", "rank", *flag_words(self, left_out)])


class CombineSettings(Settings):
    """Which rankings become one, and how."""

    ranking: Many[GivenPath] = ()
    """Ranking at one checkpoint, or with one seed; repeatable, at least two."""
    how: Literal["mean", "before"] = "mean"
    """mean: of the scores as they are, with a standard error; before: each sample's score at the last checkpoint at or
    before the step that trains on it; needs --batch-size, unless a ranking knows it."""
    batch_size: BatchSize = None
    out: Out = None

    def command(self) -> str:
        """The command that asks for the same again (all but ``--out``)."""
        return shlex.join(["curator", "combine", *flag_words(self, {"out"})])


class CollectSettings(Settings):
    """Which emitted scores become a ranking."""

    emission: Annotated[GivenPath, Flag(argument=True)]
    """Folder that a patched GPT-NeoX trainer emitted to."""
    out: GivenPath
    """Folder for the ranking."""
    samples: Annotated[Span | None, Flag(default="all emitted")] = None
    """Only samples FIRST:LAST (LAST not included)."""
