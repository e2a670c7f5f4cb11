"""The experiment file: one YAML file that says what is studied and how; flags override single fields.

Sections carry the names of the commands that read them. Every key is optional until a command needs it
(`require`). Relative paths are relative to the YAML file, not to the working directory.
"""

from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from curator.artifacts.schema import Rule, Source, load_strict, merge_flags
from curator.errors import UsageError
from curator.plan.rules import samples_of_steps
from curator.training.config import TrainingConfig

if TYPE_CHECKING:
    from curator.units import ProbeSettings

T = TypeVar("T")

Count = Annotated[int, Rule("a whole number of at least 1", lambda v: v >= 1)]
Seed = Annotated[int, Rule("a whole number of at least 0", lambda v: 0 <= v < 2**63)]
Positive = Annotated[float, Rule("a number above 0", lambda v: 0 < v < float("inf"))]
NotNegative = Annotated[float, Rule("a number of at least 0", lambda v: 0 <= v < float("inf"))]
Percent = Annotated[float, Rule("a number above 0 and at most 100", lambda v: 0 < v <= 100)]
Span = Annotated[
    tuple[int, int],
    Rule("two whole numbers [first, last) with 0 <= first < last", lambda v: 0 <= v[0] < v[1]),
]
Device = Annotated[
    str,
    Rule(
        "cpu, cuda or cuda:N",
        lambda v: v in ("cpu", "cuda") or (v.startswith("cuda:") and v[5:].isdigit()),
    ),
]
Checkpoints = Annotated[str, Rule("a folder, or revisions of a hub model", bool)]


@dataclass(frozen=True, kw_only=True)
class Probe:
    """The sequences on which a unit's probe and metric are taken."""

    sequences: Count = 100
    """How many are drawn."""
    min_length: Count = 8
    """Shortest length L in tokens; a repeated sequence has 2 L."""
    max_length: Count = 20
    """Longest length L."""
    seed: Seed = 0
    """Of the draw; other seeds give other rankings, so report the variation."""
    tokens: Path | None = None
    """A [sequences, length] integer ``.npy`` to use instead of drawing."""
    ids: Literal["auto", "tokenizer", "corpus", "all"] = "auto"
    """Drawn are the entries of the tokenizer, the ids that occur in the corpus, or all rows of the embedding; ``auto``
    takes the first that is known. A padded vocabulary has rows that no entry stands behind."""

    def __post_init__(self) -> None:
        if not 2 <= self.min_length <= self.max_length:
            given = f"{self.min_length}, {self.max_length}"
            raise ValueError(f"lengths must satisfy 2 <= min_length <= max_length, not {given}")

    def settings(self) -> "ProbeSettings":
        """What the units draw from (imports torch, hence not at the top)."""
        from curator.units import ProbeSettings

        return ProbeSettings(
            sequences=self.sequences, min_length=self.min_length, max_length=self.max_length, seed=self.seed
        )


@dataclass(frozen=True, kw_only=True)
class Rank:
    """How every sample of the window is scored."""

    out: Path | None = None
    """Folder of the ranking."""
    fisher: Literal["sampled", "empirical"] = "sampled"
    """Labels of the curvature: drawn from the model's predictions, or the data's own."""
    factor_samples: Count = 100_000
    """At most so many of the samples, spread evenly, fit the factors."""
    factor_seed: Seed = 0
    """Of the drawn labels."""
    damping: Literal["mean", "absolute", "max", "identity"] = "mean"
    """What ``alpha`` multiplies: the eigenvalues' mean, nothing (1), or their maximum; ``identity``: no curvature."""
    alpha: NotNegative = 0.1
    """Damping strength."""
    floor: NotNegative = 1e-5
    """Smallest damping, absolute."""
    micro_batch: Count | None = None
    """Samples per pass through the model; null finds what fits."""
    shard_size: Count | None = None
    """Samples per resumable shard; null chooses."""
    samples: Span | None = None
    """Score samples [first, last) instead of the window's."""
    emitted: Path | None = None
    """Score the per-sample gradients that a patched GPT-NeoX trainer emitted, instead of passing over the corpus."""
    queries_of: Path | None = None
    """Score with the queries of this ranking, and with its settings; those of this file are then not used."""


@dataclass(frozen=True, kw_only=True)
class Mask:
    """Which samples a plan takes out of training."""

    out: Path | None = None
    """Folder of the plan."""
    ranking: tuple[Path, ...] = ()
    """Rankings to choose from."""
    units: tuple[str, ...] = ()
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

    def __post_init__(self) -> None:
        if self.count is not None and self.percent is not None:
            raise ValueError("'count' and 'percent' exclude each other; give one")


@dataclass(frozen=True, kw_only=True)
class Inject:
    """Which samples a plan adds to training, and where it puts them."""

    out: Path | None = None
    """Folder of the plan."""
    plan: Path | None = None
    """Plan to edit; null begins with the corpus as it is."""
    ranking: tuple[Path, ...] = ()
    """Rankings to choose samples of the corpus from (or give ``rows``)."""
    units: tuple[str, ...] = ()
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
    rows: Path | None = None
    """Corpus of rows to inject, as wide as the corpus's own, in any known format."""
    shuffle_seed: Seed | None = None
    """Of the order in which the samples are put in; null keeps it (a ranking's by sample index)."""
    repeat: Count = 1
    """The samples are put in so many times, in the same order."""
    after: Annotated[int, Rule("a whole number of at least 0", lambda v: v >= 0)] | None = None
    """Burst: extra steps right after so many steps of the plan."""
    spread: Span | None = None
    """Extra steps, spread evenly over steps [first, last)."""
    replace: Span | None = None
    """No extra steps: slots of steps [first, last), evenly spread, hold the injected samples instead."""
    divisor: Literal["kept", "renormalised"] | None = None
    """As for masks; null keeps that of ``plan``, or ``kept``."""

    def __post_init__(self) -> None:
        if self.count is not None and self.percent is not None:
            raise ValueError("'count' and 'percent' exclude each other; give one")
        if self.ranking and self.rows is not None:
            raise ValueError("'ranking' and 'rows' exclude each other; inject one, then edit that 'plan'")
        if self.rows is not None and self.percent is not None:
            raise ValueError("'percent' is of ranked samples; give 'count' to take the first of 'rows'")
        places = [name for name in ("after", "spread", "replace") if getattr(self, name) is not None]
        if len(places) > 1:
            raise ValueError(f"{' and '.join(map(repr, places))} exclude each other; give one")


@dataclass(frozen=True, kw_only=True)
class StepRange:
    """``{from: 100, to: 200, every: 10}``: steps 100, 110 … 200, both ends included."""

    from_: Annotated[int, Rule("a whole number of at least 0", lambda v: v >= 0)] = 0
    to: Count
    every: Count

    def __post_init__(self) -> None:
        if self.to < self.from_:
            raise ValueError(f"'to' ({self.to}) lies before 'from' ({self.from_})")


@dataclass(frozen=True, kw_only=True)
class Train(TrainingConfig):
    """One run of the embedded trainer: the recipe's fields (`TrainingConfig`) and what is done with it."""

    out: Path | None = None
    """Folder of the checkpoints."""
    plan: Path | None = None
    """Folder of the plan to follow; null trains on the corpus as it is."""
    start_from: Path | None = None
    """Checkpoint folder to continue from."""
    checkpoint_steps: tuple[int | StepRange, ...] = ()
    """Steps to save: numbers and ranges."""
    stop_step: Count | None = None
    """Stop after this step; the schedule still spans all ``steps``."""

    @property
    def recipe(self) -> TrainingConfig:
        return TrainingConfig(**{f.name: getattr(self, f.name) for f in fields(TrainingConfig)})

    @property
    def saved_steps(self) -> list[int]:
        """``checkpoint_steps`` written out, sorted, each once."""
        steps: set[int] = set()
        for entry in self.checkpoint_steps:
            steps |= {entry} if isinstance(entry, int) else set(range(entry.from_, entry.to + 1, entry.every))
        return sorted(steps)


@dataclass(frozen=True, kw_only=True)
class Scan:
    """Which units are measured at which checkpoints."""

    out: Path | None = None
    """Folder of the metrics."""
    checkpoints: Checkpoints | None = None
    """Folder of checkpoints, or revisions of a hub model; null means the experiment's."""
    kinds: tuple[str, ...] | None = None
    """Kinds of unit, every unit of each; null: all known ones."""
    steps: Span | None = None
    """Only checkpoints of steps [first, last)."""
    sequences: Count | None = None
    """Sequences per metric; null means the probe's."""
    noise_floor: Positive | None = None
    """The window begins where the metric durably leaves it; null: 0.1, or 1.5 times chance."""
    attribution: Positive | None = None
    """Attribute at the first checkpoint at or above it; null: 0.2, or 2 times chance."""
    sufficiency: Positive | None = None
    """The window ends where the metric reaches it; null: 0.4, or 2.5 times chance."""


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """The whole file."""

    model: str | None = None
    """Checkpoint folder, or Hugging Face id with an optional ``@revision``. A value that starts with ``.``,
    ``/`` or ``~``, or names a folder beside the YAML file, is a folder; anything else is an id."""
    tokenizer: Path | None = None
    """``tokenizer.json`` or its folder, for the ids of probes; null looks beside the model, then beside the corpus."""
    corpus: Path | None = None
    """The training tokens in training order."""
    checkpoints: Checkpoints | None = None
    """Folder of ``step{N}``, ``checkpoint-{N}`` or ``global_step{N}`` checkpoints, or revisions of a hub model such as
    ``EleutherAI/pythia-14m@step1000..step2000``."""
    batch_size: Count | None = None
    """Samples per training step (global batch): converts steps to samples."""
    epochs: Count = 1
    """Passes of the run over the corpus, the last perhaps not whole: slot s holds sample s modulo its length."""
    units: tuple[str, ...] = ()
    """``kind:address`` each, for example ``induction:3.3``."""
    unit_modules: tuple[Path, ...] = ()
    """Python files that register kinds of unit."""
    window: Span | None = None
    """Steps [start, end) in which the units form."""
    device: Device = "cpu"
    """Where models run."""
    dtype: Literal["float32", "bfloat16", "float64"] = "float32"
    """Of the model's weights and activations; curvature is float64 always."""
    probe: Probe = field(default_factory=Probe)
    rank: Rank = field(default_factory=Rank)
    mask: Mask = field(default_factory=Mask)
    inject: Inject = field(default_factory=Inject)
    train: Train | None = None
    scan: Scan = field(default_factory=Scan)

    def __post_init__(self) -> None:
        if self.train and self.batch_size and self.train.batch_size != self.batch_size:
            raise ValueError(
                f"batch_size is {self.batch_size} but train.batch_size is {self.train.batch_size}; "
                "steps would not name the same samples: make them equal"
            )

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
    model = experiment.model
    if model is not None and (model[:1] in (".", "/", "~") or Source(path).path(model).is_dir()):
        model = str(Source(path).path(model))
    scan = replace(experiment.scan, checkpoints=_checkpoints(experiment.scan.checkpoints, path))
    return replace(experiment, model=model, checkpoints=_checkpoints(experiment.checkpoints, path), scan=scan)


def _checkpoints(value: str | None, file: Path) -> str | None:
    """A folder relative to ``file`` as a whole path; revisions of a hub model as they are."""
    from curator.models.hub import names_revisions

    if value is None or (names_revisions(value) and not Source(file).path(value).is_dir()):
        return value
    return str(Source(file).path(value))


def merge(section: T, **flags: Any) -> T:
    """A section with every flag that is not ``None`` in place of its field, under the same checks."""
    return merge_flags(section, flags)


def require(section: Any, name: str) -> Any:
    """The field ``name``, or a `UsageError` that says how to give it."""
    value = getattr(section, name)
    if value is None or value == ():
        key = name if isinstance(section, Experiment) else f"{type(section).__name__.lower()}.{name}"
        flag = "unit" if name == "units" else name.replace("_", "-")
        raise UsageError(f"'{name}' is missing: give --{flag} or '{key}' in the experiment file")
    return value
