"""The experiment file: one YAML file that says what is studied and how; flags override single fields.

Sections carry the names of the commands that read them. Every key is optional until a command needs it
(`require`). Relative paths are relative to the YAML file, not to the working directory.
"""

from pathlib import Path
from typing import Any

from pydantic import Field

from curator.artifacts.conditions import laid_over
from curator.artifacts.fields import (
    BatchSize,
    Corpus,
    Epochs,
    Model,
    Precision,
    Probe,
    Tokenizer,
    UnitModules,
    Units,
    Where,
    Window,
    is_shared,
    require,
)
from curator.artifacts.schema import Settings, load_strict
from curator.errors import UsageError
from curator.plan.rules import samples_of_steps
from curator.planning.settings import InjectSettings, MaskSettings
from curator.ranking.settings import RankSettings
from curator.scan.settings import Points, ScanSettings
from curator.statistics.settings import StatisticsSettings
from curator.training.settings import TrainSettings


class Experiment(Settings):
    """The whole file."""

    model: Model = None
    tokenizer: Tokenizer = None
    corpus: Corpus = None
    checkpoints: Points = None
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
    statistics: StatisticsSettings = Field(default_factory=StatisticsSettings)
    mask: MaskSettings = Field(default_factory=MaskSettings)
    inject: InjectSettings = Field(default_factory=InjectSettings)
    train: TrainSettings | None = None
    scan: ScanSettings = Field(default_factory=ScanSettings)

    def check(self) -> None:
        """All stages speak of the same steps."""
        sections = {name: getattr(self, name) for name in type(self).model_fields}
        for field in ("batch_size", "epochs"):
            said = {field: self.given().get(field)}
            for name, section in sections.items():
                if isinstance(section, Settings):
                    said[f"{name}.{field}"] = section.given().get(field)
            (first, value), *others = [one for one in said.items() if one[1] is not None] or [(field, None)]
            for other, theirs in others:
                if theirs != value:
                    raise ValueError(
                        f"{first} is {value} but {other} is {theirs}; steps would not name the same samples: make them "
                        "equal"
                    )

    def stage(self, name: str) -> Any:
        """The section ``name``, with what the experiment says for all stages where the section says nothing."""
        said, kind = self.said_for(name), type(getattr(self, name))
        return kind(**laid_over(kind, said, {}))

    def said_for(self, name: str) -> dict[str, Any]:
        """What the file gives to the stage ``name``: its section, and the experiment where that says nothing."""
        section = getattr(self, name)
        if section is None:
            raise UsageError(
                f"what to {name} is missing: give an experiment file (--experiment) with a '{name}' section "
                "(configs/tiny.yml has one to copy)"
            )
        return {**self.shared(type(section)), **section.given()}

    def shared(self, kind: type[Settings]) -> dict[str, Any]:
        """What the experiment says for all stages, of the fields of ``kind``."""
        return {
            field: getattr(self, field)
            for field, info in kind.model_fields.items()
            if field in self.model_fields_set and is_shared(info)
        }

    def window_samples(self, epoch_samples: int | None = None) -> tuple[int, int]:
        """[first, last) sample index of the window's steps; see `samples_of_steps`."""
        return samples_of_steps(require(self, "window"), require(self, "batch_size"), epoch_samples)


def load_experiment(path: str | Path) -> Experiment:
    """Read and check an experiment file.

    Raises:
        UsageError: names the file, the line, the field, what was given and what is allowed.
    """
    return load_strict(Path(path), Experiment)
