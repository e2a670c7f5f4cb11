"""A study as one YAML file: what is trained, where its head forms, which arms go on from there, what is measured.

Every seed builds a corpus, trains the baseline, ranks the window in which its best induction head forms, and trains all
arms from the window's start. Studies of this repository are found by their name, here or where it is installed.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field
from typing_extensions import Self

from curator.artifacts.conditions import Only
from curator.artifacts.fields import PAPER, Count, Fraction, Index, Percent, Positive, Probe, ProbeName, Share
from curator.artifacts.schema import Many, Settings, load_strict, suggest
from curator.corpus import Corpus, EmbeddedSettings
from curator.evaluate.settings import Measures
from curator.neox.recipe import NeoxTrainer
from curator.plan.plan import Plan
from curator.ranking.settings import RankSettings
from curator.statistics.settings import Name as StatisticName
from curator.study.arm import Arm
from curator.training import TrainingConfig

S = TypeVar("S", bound="Study")
FILES = Path(__file__).parent / "files"
OWN = {
    "train": {"seed", "decay_steps"},
    "rank": {"model", "corpus", "units", "out", "samples", "window", "probe"},
}
"""Fields of sections that the study decides."""
WORDS: Any = {
    "title": True,
    "notes": True,
    "thresholds": True,
    "quick": True,
    "validation": True,
    "neox": {"at_once"},
    "arms": {"__all__": {"says", "against", "plot"}},
}
"""What decides no number."""


class Formation(Settings):
    """The window in which the head forms, in which samples are ranked, and from whose start every arm is trained."""

    start: Index | None = None
    """Its first step; else it begins ``before`` steps before the attribution."""
    before: Count | None = None
    attribution: Positive = 0.2
    """Influence is computed at the first checkpoint whose score has reached this."""
    end: Positive = 0.6
    """The window ends just past the step at which the score durably crosses this."""
    after: Count | None = None
    """Or so many steps after the attribution; arms end there too, and the baseline, which is as long as it must be."""

    def check(self) -> None:
        """One way to say where it begins."""
        if (self.start is None) == (self.before is None):
            raise ValueError("a window has one of 'start' and 'before'")


class Around(Settings):
    """The part of the window whose halves `curator validate` trains on; without it, all of it."""

    before: Count
    """It begins so many steps before the attribution, whole checkpoints."""
    after: Count
    """And ends so many steps after it."""


class Quick(Settings):
    """What makes the study small, for a look at it."""

    steps: Count | None = None
    start: Index | None = None
    drill_fraction: Share | None = None
    arms: Many[str] = ()
    """Only these arms."""


class Study(Measures):
    """The whole file."""

    title: str
    """Of the picture."""
    notes: str = ""
    """What to keep in mind with the numbers; printed below them."""
    train: TrainingConfig
    """The baseline and the recipe of all arms; its seed is the replicate's."""
    trainer: Literal["embedded", "neox"] = "embedded"
    """What trains: the embedded trainer, or GPT-NeoX through the patches (docs/neox.md)."""
    neox: Annotated[NeoxTrainer, Only("trainer", "neox")] = Field(default_factory=NeoxTrainer)
    """Which checkout, and how."""
    drill_fraction: Share = 0.5
    """Share of drill rows in the embedded corpus, which has as many rows as are trained on."""
    copyable_fraction: Fraction = 1.0
    """Share of the library's windows that are its natural rows: those that repeat most; 1 is all."""
    checkpoint_every: Count
    """Steps between two checkpoints of the baseline."""
    stop_step: Count | None = None
    """Arms stop here; else they are as long as the baseline. Extra steps make them longer."""
    window: Formation
    probe: Probe = Field(default_factory=Probe)
    probes: Many[ProbeName] = ()
    """The ranked unit is asked by each of these, in one pass; arms name them. None: by the one of ``probe``, which is
    gain where nothing is said."""
    statistics: Many[StatisticName] = ()
    """What samples are ranked by beside it, for arms to name."""
    rank: RankSettings = Field(default_factory=RankSettings)
    percent: Percent = 10.0
    """Of the window's samples that an arm masks or repeats."""
    measure_every: Count = 10
    """Steps between two points of the curves."""
    thresholds: Many[Positive]
    """Scores whose crossing steps are told, rising; effects are told at the last."""
    arms: Many[Arm]
    validation: Around | None = None
    quick: Quick = Field(default_factory=Quick)

    def check(self) -> None:
        """Names that fit together, and nothing that the study decides itself."""
        super().check()
        names = [arm.name for arm in self.arms]
        runs = [run for run, _ in self.runs]
        if len(set(runs)) < len(runs):
            raise ValueError("arms need names of their own, also with the numbers of their draws")
        if not self.arms or not self.thresholds or list(self.thresholds) != sorted(self.thresholds):
            raise ValueError("a study needs 'arms' and rising 'thresholds'")
        start, before = self.window.start or 0, self.window.before or 0
        if (
            start % self.checkpoint_every
            or before % self.checkpoint_every
            or self.last_step > self.train.steps
        ):
            every = "a checkpoint's step, 'window.before' whole checkpoints"
            raise ValueError(f"'window.start' is {every}, and 'stop_step' is within 'train.steps'")
        if self.trainer == "neox":
            self._check_for_neox()
        if self.validation is not None:
            within = self.validation.before <= (self.window.before or 0) and self.window.after is not None
            if (
                not within
                or self.validation.before % self.checkpoint_every
                or self.validation.after > (self.window.after or 0)
            ):
                raise ValueError(
                    "'validation' begins at a checkpoint and lies within a 'window' of 'before' and 'after'"
                )
        for arm in self.arms:
            if arm.by is not None and arm.by not in self.orders:
                known = suggest(arm.by, self.orders) if self.orders else "it ranks by 'probe' alone"
                raise ValueError(f"{arm.name}.by: unknown ranking '{arm.by}'; {known}")
        named = {f"{arm.name}.against": arm.against for arm in self.arms} | {"quick.arms": self.quick.arms}
        for place, name in [(place, one) for place, ones in named.items() for one in ones]:
            if name not in names:
                raise ValueError(f"{place}: unknown arm '{name}'; {suggest(name, names)}")
        for section, decided in OWN.items():
            for name in decided & set(getattr(self, section).given()):
                raise ValueError(f"'{section}.{name}' is for the study to say; leave it out")
        for arm in self.arms:
            if arm.insert and (arm.count or 0) % self.train.batch_size:
                whole = f"no whole batches of {self.train.batch_size}"
                raise ValueError(f"{arm.name}: {arm.count} rows are {whole}")

    def _check_for_neox(self) -> None:
        """What GPT-NeoX cannot do, of any generation."""
        if self.measure_every % self.checkpoint_every:
            raise ValueError(
                f"'measure_every' is {self.measure_every}, 'checkpoint_every' {self.checkpoint_every}: GPT-NeoX is "
                "measured at its checkpoints, so that the first is a multiple of the second"
            )
        if self.train.rotary_base % 1:
            raise ValueError(
                f"'train.rotary_base' is {self.train.rotary_base}: GPT-NeoX takes a whole number"
            )

    @property
    def runs(self) -> list[tuple[str, Arm]]:
        """The runs of a seed beside its baseline, in order."""
        return [(run, arm) for arm in self.arms for run in arm.runs]

    @property
    def orders(self) -> list[str]:
        """What arms may be ranked by: probes, then statistics."""
        return [*self.probes, *self.statistics]

    @property
    def effect_at(self) -> float:
        """The threshold at which effects are told."""
        return self.thresholds[-1]

    @property
    def last_step(self) -> int:
        """Where arms stop, extra steps not counted."""
        return self.stop_step or self.train.steps

    def corpus(self, seed: int) -> EmbeddedSettings:
        """As many rows as the baseline trains on."""
        return EmbeddedSettings(
            n_samples=self.train.steps * self.train.batch_size,
            seq_length=self.train.seq_length,
            vocab_size=self.train.vocab_size,
            drill_fraction=self.drill_fraction,
            copyable_fraction=self.copyable_fraction,
            seed=seed,
        )

    def unedited(self, corpus: Corpus) -> Plan:
        """The baseline's plan, which all others edit."""
        steps, batch_size = self.train.steps, self.train.batch_size
        return Plan.identity(steps * batch_size, batch_size, corpus.fingerprint())

    def quickened(self) -> Self:
        """The study as ``quick`` changes it."""
        quick = self.quick
        kept = [arm for arm in self.arms if not quick.arms or arm.name in quick.arms]
        names = {arm.name for arm in kept}
        arms = [arm.changed(against=[one for one in arm.against if one in names]) for arm in kept]
        changes: dict[str, Any] = {"arms": arms}
        if quick.steps is not None:
            changes["train"] = self.train.changed(steps=quick.steps)
        if quick.start is not None:
            changes["window"] = self.window.changed(start=quick.start)
        if quick.drill_fraction is not None:
            changes["drill_fraction"] = quick.drill_fraction
        return self.changed(**changes)

    def decided_before_arms(self) -> dict[str, Any]:
        """What of that decides what comes before the arms; of these, each has a plan that tells it from another."""
        decided = self.decided()
        arms = decided.pop("arms")
        return {
            **decided,
            "elsewhere": [
                [arm["when"], arm["steps"]] for arm in arms if arm["when"] != "window" or arm["steps"]
            ],
        }

    def decided(self) -> dict[str, Any]:
        """What decides the numbers of a seed, as JSON: all but words and pictures, and what says nothing.

        What is measured only where it is more than the metric, `tokens` where an arm has them, the trainer where it is
        another: as before these were. The probe of a study without `probes` by its name, and as in names of units not
        if it is the paper's.
        """
        from curator.units.induction import InductionHead

        said = self.model_dump(mode="json", by_alias=True, exclude=WORDS)
        if self.trainer == "embedded":
            del said["trainer"], said["neox"]
        if self.measure == Measures().measure:
            said = {name: value for name, value in said.items() if name not in Measures.model_fields}
        if not self.probes:
            asks = self.probe.asks or InductionHead.DEFAULT
            said["probe"]["name"] = None if asks == PAPER else asks
        for arm in said["arms"]:
            if arm["tokens"] is None:
                del arm["tokens"]
        return said


def load_study(name: str | Path, kind: type[S]) -> S:
    """Read a study file, or the one of this repository that is called ``name``.

    Raises:
        UsageError: names the file, the line, the field, what was given and what is allowed.
    """
    ours = FILES / f"{name}.yml"
    return load_strict(ours.resolve() if ours.is_file() else Path(name), kind)
