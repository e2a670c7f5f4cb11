"""What is measured at which checkpoints: the section ``scan``, the flags of `curator scan`."""

from typing import Annotated

from pydantic import AfterValidator, Field, ValidationInfo

from curator.artifacts.fields import (
    BatchSize,
    Checkpoints,
    Corpus,
    Count,
    IdsFrom,
    Out,
    Positive,
    Probe,
    Seed,
    Shared,
    Span,
    Tokenizer,
    UnitModules,
    Where,
)
from curator.artifacts.flags import Flag
from curator.artifacts.schema import Many, Settings, source_of


def _place(value: str | None, info: ValidationInfo) -> str | None:
    """A folder relative to the file as a whole path; revisions of a hub model as they are."""
    source = source_of(info)
    if value is None or source.file is None:
        return value
    from curator.models.hub import names_revisions

    if names_revisions(value) and not source.path(value).is_dir():
        return value
    return str(source.path(value))


Points = Annotated[
    Checkpoints | None,
    AfterValidator(_place),
    Field(
        description="Folder of step{N}, checkpoint-{N} or global_step{N}; or a hub model's revisions, such as "
        "EleutherAI/pythia-14m@step1000..step2000 (both included; ..step2000:100 for every hundredth)."
    ),
    Shared(),
]


class ScanSettings(Settings):
    """Which units are measured at which checkpoints."""

    checkpoints: Points = None
    out: Out = None
    kinds: Annotated[Many[str] | None, Flag(name="kind", default="all")] = None
    """Kind of unit to measure; repeatable."""
    unit_modules: UnitModules = ()
    steps: Span | None = None
    """Only checkpoints of steps FIRST:LAST."""
    sequences: Annotated[Count | None, Flag(default="100")] = None
    """Sequences per metric."""
    seed: Annotated[Seed | None, Flag(default="0")] = None
    """Of the drawn sequences."""
    probe_ids: Annotated[IdsFrom | None, Flag(default="auto")] = None
    """Ids that sequences are drawn from: tokenizer (its entries), corpus (ids that occur there), all (each row of the
    embedding, padding too), auto (the first that is known)."""
    tokenizer: Tokenizer = None
    corpus: Annotated[
        Corpus,
        Field(
            description="The training tokens: where no tokenizer is found, sequences are drawn from the ids that occur "
            "there."
        ),
    ] = None
    noise_floor: Annotated[Positive | None, Flag(default="0.1 or more")] = None
    """The window begins where the metric leaves it."""
    attribution: Annotated[Positive | None, Flag(default="0.2 or more")] = None
    """Attribute at the first checkpoint past it."""
    sufficiency: Annotated[Positive | None, Flag(default="0.4 or more")] = None
    """The window ends where the metric reaches it."""
    device: Where = "cpu"
    probe: Annotated[Probe, Flag(hidden=True), Shared()] = Field(default_factory=Probe)
    """How sequences are drawn, where this section says nothing."""
    batch_size: Annotated[BatchSize, Flag(hidden=True)] = None

    @property
    def drawn(self) -> Probe:
        """The probe, under what this section says of it."""
        ours = {"sequences": self.sequences, "seed": self.seed, "ids": self.probe_ids}
        return self.probe.changed(**{name: value for name, value in ours.items() if value is not None})
