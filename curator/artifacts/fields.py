"""Fields that the settings of several stages share: each is declared once, with its rule.

The classes of the stages stand in their rooms (``ranking/settings.py`` …); ``curator/settings.py`` puts them together.
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Strict, Tag, ValidationInfo
from pydantic.fields import FieldInfo

from curator.artifacts.flags import Flag, flag_name
from curator.artifacts.schema import GivenPath, Many, Rule, Settings, source_of
from curator.errors import UsageError

Count = Annotated[int, Field(ge=1)]
Index = Annotated[int, Field(ge=0)]
Seed = Annotated[int, Field(ge=0), Rule("a whole number of at least 0", lambda v: v < 2**63)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Fraction = Annotated[float, Field(gt=0, le=1)]
Percent = Annotated[float, Field(gt=0, le=100)]
Span = Annotated[
    tuple[int, int],
    Strict(False),
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
IdsFrom = Literal["auto", "tokenizer", "corpus", "all"]
"""Where the ids of probe sequences come from: the tokenizer's entries, the corpus, or all rows of the embedding.
``auto`` is the tokenizer where one is known, else the corpus, else all (`curator.units.probe_ids`)."""
ProbeName = Literal["paper", "frequency", "gain", "natural", "attention"]
"""The probes that kinds of unit may have; which one has which is said by its class (`curator.units`)."""
PAPER: ProbeName = "paper"
"""The probe that the name of a ranked unit need not say."""
Dtype = Literal["float32", "bfloat16", "float64"]
PreconditionerName = Literal["ekfac", "kfac", "adam", "identity"]
"""What stands for H⁻¹; `curator.influence.preconditioners` has a class for each."""


def _no_identity(value: Any) -> Any:
    if value == "identity":
        raise ValueError(
            "'identity' is no damping: write preconditioner: identity (--preconditioner identity), which fits nothing"
        )
    return value


DampingMode = Annotated[Literal["mean", "absolute", "max"], BeforeValidator(_no_identity)]
"""What is added to eigenvalues. Until there were preconditioners, ``identity`` among these stood for no curvature."""


class StepRange(Settings):
    """``{from: 100, to: 200, every: 10}``: steps 100, 110 … 200, both ends included."""

    from_: Index = 0
    to: Count
    every: Count

    def check(self) -> None:
        """The end is not before the beginning."""
        if self.to < self.from_:
            raise ValueError(f"'to' ({self.to}) lies before 'from' ({self.from_})")


def _kind_of_step(value: Any) -> str:
    return "<range>" if isinstance(value, dict | StepRange) else "<step>"


Step = Annotated[
    Annotated[int, Tag("<step>")] | Annotated[StepRange, Tag("<range>")], Discriminator(_kind_of_step)
]
"""A step, or a range of them."""


def written_out(steps: tuple[int | StepRange, ...]) -> list[int]:
    """The steps that numbers and ranges name, rising, each once."""
    every: set[int] = set()
    for entry in steps:
        every |= {entry} if isinstance(entry, int) else set(range(entry.from_, entry.to + 1, entry.every))
    return sorted(every)


class Probe(Settings):
    """What a unit's probe asks of the model, and the sequences on which probe and metric are taken."""

    name: Annotated[ProbeName | None, Flag(name=".", default="the kind's own")] = None
    """What is asked of units whose name does not say it (induction:1.2:gain): paper (tokens drawn alike), frequency
    (tokens as frequent as in the corpus), gain (what a copy adds over another one), natural (rows of the corpus),
    attention (the pattern alone). Induction heads are asked by gain, whose rankings foretold training best
    (docs/results.md), other kinds by paper, and so is all that is asked on given tokens."""
    tokens: GivenPath | None = None
    """[n, length] .npy of token ids for the probe, instead of drawn ones."""
    sequences: Count = 100
    """How many probe sequences to draw."""
    min_length: Annotated[Count, Flag(name="lengths", pair="max_length")] = 8
    """Their length L, MIN:MAX; repeated sequences have 2 L."""
    max_length: Count = 20
    """Longest length L."""
    seed: Seed = 0
    """Of that draw. Other seeds give other rankings: report the variation."""
    ids: IdsFrom = "auto"
    """Ids that sequences are drawn from: tokenizer (its entries), corpus (ids that occur there), all (each row of the
    embedding, padding too), auto (the first that is known)."""

    def check(self) -> None:
        """Lengths that a sequence can have."""
        if not 2 <= self.min_length <= self.max_length:
            given = f"{self.min_length}, {self.max_length}"
            raise ValueError(f"lengths must satisfy 2 <= min_length <= max_length, not {given}")

    @property
    def asks(self) -> ProbeName | None:
        """What units are asked by that do not say it; None is their kind's `DEFAULT`.

        Given tokens are asked the paper's question: nothing is drawn, and nothing is there to compare with.
        """
        return self.name or (PAPER if self.tokens is not None else None)


# -- what an experiment says for several stages -------------------------------------------------------------


class Shared:
    """Marks a field of a stage that, where its section says nothing, is the experiment's own."""


def is_shared(info: FieldInfo) -> bool:
    """Whether a field is marked so."""
    return any(isinstance(one, Shared) for one in info.metadata)


def _model_place(value: str | None, info: ValidationInfo) -> str | None:
    source = source_of(info)
    if value is not None and source.file and (value[:1] in (".", "/", "~") or source.path(value).is_dir()):
        return str(source.path(value))
    return value


Model = Annotated[
    str | None,
    AfterValidator(_model_place),
    Field(description="Checkpoint folder, or Hugging Face id such as EleutherAI/pythia-14m@step1000."),
    Shared(),
]
"""In a file, what starts with ``.``, ``/`` or ``~``, or names a folder beside the file, is a folder; else an id."""
Corpus = Annotated[
    GivenPath | None,
    Field(
        description="Training tokens in training order: Megatron .bin/.idx (also its released shards), GPT-NeoX's "
        "index maps (..._shuffle_idx.npy) or a blend of them, [N, T] .npy, an mmap-ninja folder, or an embedded corpus."
    ),
    Shared(),
]
Units = Annotated[
    Many[str],
    Field(
        description="kind:layer.head, 0-based: induction:1.2, previous-token:0.0, 'induction:*' for every head; "
        "induction:1.2:paper says what it is asked by (--probe). Repeatable."
    ),
    Flag(name="unit"),
]
OneUnit = Annotated[str | None, Field(description="Unit of the ranking."), Flag(default="its only one")]
UnitModules = Annotated[
    Many[GivenPath],
    Field(description="Python file that registers your own kinds of unit. Repeatable."),
    Flag(name="unit-module"),
    Shared(),
]
Out = Annotated[GivenPath | None, Field(description="Folder for the result.")]
Where = Annotated[Device, Field(description="cpu, cuda or cuda:N."), Shared()]
Tokenizer = Annotated[
    GivenPath | None,
    Field(description="tokenizer.json; found beside the corpus or the model by default."),
    Shared(),
]
BatchSize = Annotated[
    Count | None,
    Field(description="Samples per training step (global batch): step s holds samples s*B to s*B + B - 1."),
    Shared(),
]
Epochs = Annotated[
    Count,
    Field(
        description="Passes of the run over the corpus, the last perhaps not whole: slot s holds sample s modulo its "
        "length."
    ),
    Shared(),
]
Window = Annotated[Span | None, Shared()]
Precision = Annotated[Dtype, Field(description="float32, bfloat16 or float64 (reference mode)."), Shared()]


def require(section: Settings, name: str) -> Any:
    """The field ``name``, or a `UsageError` that says how to give it."""
    value = getattr(section, name)
    if value is None or value == ():
        kind = type(section)
        shared = is_shared(kind.model_fields[name])
        stage = kind.__name__.removesuffix("Settings").lower()
        key = name if shared or stage == "experiment" else f"{stage}.{name}"
        raise UsageError(
            f"'{name}' is missing: give --{flag_name(kind, name)} or '{key}' in the experiment file"
        )
    return value
