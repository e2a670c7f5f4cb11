"""The experiment file: one YAML file that says what is studied and how; flags override single fields.

Sections carry the names of the commands that read them. Every key is optional until a command needs it
(`require`). Relative paths are relative to the YAML file, not to the working directory.
"""

from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import Field

from curator.artifacts.fields import (
    BatchSize,
    Checkpoints,
    Corpus,
    Count,
    Epochs,
    Index,
    Model,
    Percent,
    Positive,
    Precision,
    Probe,
    Seed,
    Shared,
    Span,
    Step,
    Tokenizer,
    UnitModules,
    Units,
    Where,
    Window,
    require,
    written_out,
)
from curator.artifacts.flags import merge_flags
from curator.artifacts.schema import GivenPath, Many, Settings, Source, load_strict
from curator.plan.rules import samples_of_steps
from curator.ranking.settings import RankSettings
from curator.training.config import TrainingConfig

T = TypeVar("T", bound=Settings)


class Mask(Settings):
    """Which samples a plan takes out of training."""

    out: GivenPath | None = None
    """Folder of the plan."""
    ranking: Many[GivenPath] = ()
    """Rankings to choose from."""
    units: Many[str] = ()
    """Units of the rankings whose scores count; empty means all of them."""
    select: Literal["top", "bottom", "random", "loss-matched", "random-in-category"] = "top"
    """Highest scores, lowest scores, or a control: uniform, or with the losses of the top samples."""
    count: Count | None = None
    """How many samples (or give ``percent``)."""
    percent: Percent | None = None
    """What share of the ranked samples."""
    steps: Span | None = None
    """Mask only in steps [first, last)."""
    loss_bins: Count = 100
    """Loss quantile bins within which ``loss-matched`` samples are drawn; fewer match less closely."""
    seed: Seed = 0
    """Of the random choices."""
    divisor: Literal["kept", "renormalised"] = "kept"
    """A batch's loss is divided by all its samples, or by those not masked."""

    def check(self) -> None:
        """What excludes each other."""
        if self.count is not None and self.percent is not None:
            raise ValueError("'count' and 'percent' exclude each other; give one")


class Inject(Settings):
    """Which samples a plan adds to training, and where it puts them."""

    out: GivenPath | None = None
    """Folder of the plan."""
    plan: GivenPath | None = None
    """Plan to edit; null begins with the corpus as it is."""
    ranking: Many[GivenPath] = ()
    """Rankings to choose samples of the corpus from (or give ``rows``)."""
    units: Many[str] = ()
    """Units of the rankings whose scores count; empty means all of them."""
    select: Literal["top", "bottom", "random", "loss-matched", "random-in-category"] = "top"
    """Highest scores, lowest scores, or a control: uniform, or with the losses of the top samples."""
    count: Count | None = None
    """How many samples of the rankings (or give ``percent``), or the first so many ``rows``; null takes all rows."""
    percent: Percent | None = None
    """What share of the ranked samples."""
    from_steps: Span | None = None
    """Choose only among samples of training steps [first, last)."""
    loss_bins: Count = 100
    """Loss quantile bins within which ``loss-matched`` samples are drawn; fewer match less closely."""
    seed: Seed = 0
    """Of the random choices."""
    rows: GivenPath | None = None
    """Corpus of rows to inject, as wide as the corpus's own, in any known format."""
    shuffle_seed: Seed | None = None
    """Of the order in which the samples are put in; null keeps it (a ranking's by sample index)."""
    repeat: Count = 1
    """The samples are put in so many times, in the same order."""
    after: Index | None = None
    """Burst: extra steps right after so many steps of the plan."""
    spread: Span | None = None
    """Extra steps, spread evenly over steps [first, last)."""
    replace: Span | None = None
    """No extra steps: slots of steps [first, last), evenly spread, hold the injected samples instead."""
    divisor: Literal["kept", "renormalised"] | None = None
    """As for masks; null keeps that of ``plan``, or ``kept``."""

    def check(self) -> None:
        """What excludes each other."""
        if self.count is not None and self.percent is not None:
            raise ValueError("'count' and 'percent' exclude each other; give one")
        if self.ranking and self.rows is not None:
            raise ValueError("'ranking' and 'rows' exclude each other; inject one, then edit that 'plan'")
        if self.rows is not None and self.percent is not None:
            raise ValueError("'percent' is of ranked samples; give 'count' to take the first of 'rows'")
        places = [name for name in ("after", "spread", "replace") if getattr(self, name) is not None]
        if len(places) > 1:
            raise ValueError(f"{' and '.join(map(repr, places))} exclude each other; give one")


class Train(TrainingConfig):
    """One run of the embedded trainer: the recipe's fields (`TrainingConfig`) and what is done with it."""

    out: GivenPath | None = None
    """Folder of the checkpoints."""
    plan: GivenPath | None = None
    """Folder of the plan to follow; null trains on the corpus as it is."""
    start_from: GivenPath | None = None
    """Checkpoint folder to continue from."""
    checkpoint_steps: Many[Step] = ()
    """Steps to save: numbers and ranges."""
    stop_step: Count | None = None
    """Stop after this step; the schedule still spans all ``steps``."""

    @property
    def recipe(self) -> TrainingConfig:
        return TrainingConfig(**{name: getattr(self, name) for name in TrainingConfig.model_fields})

    @property
    def saved_steps(self) -> list[int]:
        """``checkpoint_steps`` written out, sorted, each once."""
        return written_out(self.checkpoint_steps)


class Scan(Settings):
    """Which units are measured at which checkpoints."""

    out: GivenPath | None = None
    """Folder of the metrics."""
    checkpoints: Checkpoints | None = None
    """Folder of checkpoints, or revisions of a hub model; null means the experiment's."""
    kinds: Many[str] = ("induction", "previous-token")
    """Kinds of unit, every unit of each."""
    steps: Span | None = None
    """Only checkpoints of steps [first, last)."""
    sequences: Count | None = None
    """Sequences per metric; null means the probe's."""
    noise_floor: Positive | None = None
    """The window begins where the metric durably leaves it; null: 0.1, or 1.5 times even attention."""
    attribution: Positive | None = None
    """Attribute at the first checkpoint at or above it; null: 0.2, or 2 times even attention."""
    sufficiency: Positive | None = None
    """The window ends where the metric reaches it; null: 0.4, or 2.5 times even attention."""


class Experiment(Settings):
    """The whole file."""

    model: Model = None
    tokenizer: Tokenizer = None
    corpus: Corpus = None
    checkpoints: Checkpoints | None = None
    """Folder of ``step{N}``, ``checkpoint-{N}`` or ``global_step{N}`` checkpoints, or revisions of a hub model such as
    ``EleutherAI/pythia-14m@step1000..step2000``."""
    batch_size: BatchSize = None
    epochs: Epochs = 1
    units: Units = ()
    unit_modules: UnitModules = ()
    window: Window = None
    """Steps [start, end) in which the units form."""
    device: Where = "cpu"
    dtype: Precision = "float32"
    probe: Probe = Field(default_factory=Probe)
    rank: RankSettings = Field(default_factory=RankSettings)
    mask: Mask = Field(default_factory=Mask)
    inject: Inject = Field(default_factory=Inject)
    train: Train | None = None
    scan: Scan = Field(default_factory=Scan)

    def check(self) -> None:
        """What excludes each other."""
        if self.train and self.batch_size and self.train.batch_size != self.batch_size:
            raise ValueError(
                f"batch_size is {self.batch_size} but train.batch_size is {self.train.batch_size}; "
                "steps would not name the same samples: make them equal"
            )

    def stage(self, name: str) -> Any:
        """The section ``name``, with what the experiment says for all stages where the section says nothing."""
        section = getattr(self, name)
        shared = {
            field: getattr(self, field)
            for field, info in type(section).model_fields.items()
            if field in self.model_fields_set and any(isinstance(one, Shared) for one in info.metadata)
        }
        return type(section)(**{**shared, **section.given()})

    def window_samples(self, epoch_samples: int | None = None) -> tuple[int, int]:
        """[first, last) sample index of the window's steps; see `samples_of_steps`."""
        return samples_of_steps(require(self, "window"), require(self, "batch_size"), epoch_samples)


def load_experiment(path: str | Path) -> Experiment:
    """Read and check an experiment file.

    Raises:
        UsageError: names the file, the line, the field, what was given and what is allowed.
    """
    path = Path(path)
    experiment = load_strict(path, Experiment)
    scan = experiment.scan.changed(checkpoints=_checkpoints(experiment.scan.checkpoints, path))
    return experiment.changed(checkpoints=_checkpoints(experiment.checkpoints, path), scan=scan)


def _checkpoints(value: str | None, file: Path) -> str | None:
    """A folder relative to ``file`` as a whole path; revisions of a hub model as they are."""
    from curator.models.hub import names_revisions

    if value is None or (names_revisions(value) and not Source(file).path(value).is_dir()):
        return value
    return str(Source(file).path(value))


def merge(section: T, **flags: Any) -> T:
    """A section with every flag that is not ``None`` in place of its field, under the same checks."""
    return merge_flags(section, flags)
