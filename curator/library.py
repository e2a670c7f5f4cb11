"""The stages as a notebook calls them: from settings to results, silent, with progress as an argument.

    ranking = curator.rank(curator.RankSettings(model=..., corpus=..., units=["induction:1.2"], out="ranking"))

`import curator` gives every name of this module at its first use, so that it stays light.
"""

from pathlib import Path

from curator.artifacts.fields import Probe
from curator.artifacts.flags import as_library
from curator.evaluate import stage as _curves
from curator.evaluate.settings import CurvesSettings
from curator.plan.plan import Plan
from curator.planning import inject as _inject
from curator.planning import mask as _mask
from curator.planning.settings import InjectSettings, MaskSettings
from curator.progress import Progress
from curator.ranking import combine as _combine
from curator.ranking import stage as _rank
from curator.ranking.ranking import Ranking
from curator.ranking.settings import CombineSettings, RankSettings
from curator.report.sample_view import SampleView
from curator.report.settings import ShowSettings
from curator.report.show import Order, view_samples
from curator.scan import stage as _scan
from curator.scan.scan import Scan
from curator.scan.settings import ScanSettings
from curator.settings import Experiment, load_experiment
from curator.statistics import stage as _statistics
from curator.statistics.settings import StatisticsSettings
from curator.training import stage as _train
from curator.training.settings import TrainSettings

__all__ = [
    "CombineSettings",
    "CurvesSettings",
    "Experiment",
    "InjectSettings",
    "MaskSettings",
    "Plan",
    "Probe",
    "Progress",
    "RankSettings",
    "Ranking",
    "Scan",
    "ScanSettings",
    "StatisticsSettings",
    "TrainSettings",
    "combine",
    "curves",
    "inject",
    "load_experiment",
    "mask",
    "rank",
    "scan",
    "show",
    "statistics",
    "train",
]
ALL = (RankSettings, ScanSettings, MaskSettings, InjectSettings, TrainSettings, StatisticsSettings)
"""Whose flags messages may name beside those of the stage that was called."""


def combine(settings: CombineSettings, progress: Progress | None = None) -> Ranking:
    """See `curator.ranking.combine.combine`."""
    with as_library(progress, CombineSettings, *ALL):
        return _combine.combine(settings)


def rank(
    settings: RankSettings, progress: Progress | None = None, worker: tuple[int, int] = (0, 1)
) -> Ranking:
    """See `curator.ranking.stage.rank`; ``progress`` is told where the work is."""
    with as_library(progress, RankSettings, *ALL, arguments=["worker"]):
        return _rank.rank(settings, worker)


def statistics(settings: StatisticsSettings, progress: Progress | None = None) -> Ranking:
    """See `curator.statistics.stage.statistics`."""
    with as_library(progress, StatisticsSettings, *ALL):
        return _statistics.statistics(settings)


def scan(settings: ScanSettings, progress: Progress | None = None) -> Scan:
    """See `curator.scan.stage.scan`."""
    with as_library(progress, ScanSettings, *ALL):
        return _scan.scan(settings)


def curves(settings: CurvesSettings, progress: Progress | None = None) -> Path:
    """See `curator.evaluate.stage.curves`; the file of the table."""
    with as_library(progress, CurvesSettings, *ALL):
        return _curves.curves(settings)


def mask(settings: MaskSettings, progress: Progress | None = None) -> Plan:
    """See `curator.planning.mask.mask`."""
    with as_library(progress, MaskSettings, *ALL):
        return _mask.mask(settings)


def inject(settings: InjectSettings, progress: Progress | None = None) -> Plan:
    """See `curator.planning.inject.inject`."""
    with as_library(progress, InjectSettings, *ALL):
        return _inject.inject(settings)


def train(settings: TrainSettings, progress: Progress | None = None) -> Path:
    """See `curator.training.stage.train`; the folder of the checkpoints."""
    with as_library(progress, TrainSettings, *ALL):
        return _train.train(settings)


def show(
    ranking: Ranking | Path | str,
    unit: str | None = None,
    select: Order = "top",
    count: int = 5,
    corpus: Path | None = None,
    tokenizer: Path | None = None,
) -> list[SampleView]:
    """Samples of a ranking as text, with score, loss and provenance; see `curator.report.show.view_samples`.

    Args:
        corpus: where the ranked corpus has moved to; tokenizer: ``tokenizer.json``, by default the one beside it.
    """
    with as_library(None, ShowSettings, *ALL):
        opened = ranking if isinstance(ranking, Ranking) else Ranking.open(Path(ranking))
        rows = opened.open_corpus(corpus)
        file = tokenizer or rows.tokenizer_file
        return view_samples(opened, rows, unit, select=select, count=count, tokenizer=file)
