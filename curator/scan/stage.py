"""The stage `scan`: from its settings to the curves of all units."""

from curator.artifacts.fields import require
from curator.models.devices import check_device
from curator.scan.formation import Thresholds
from curator.scan.scan import Scan, scan_checkpoints
from curator.scan.settings import ScanSettings
from curator.units import ProbeSettings


def scan(settings: ScanSettings) -> Scan:
    """Measure every unit at every checkpoint into the folder ``settings.out``; what was measured before is kept.

    Raises:
        UsageError: something is missing, or does not exist.
        CuratorError: as `scan_checkpoints`.
    """
    check_device(settings.device)
    return scan_checkpoints(
        require(settings, "checkpoints"),
        require(settings, "out"),
        kinds=settings.kinds,
        steps=settings.steps and (settings.steps[0], settings.steps[1] - 1),
        settings=ProbeSettings.of(settings.drawn),
        probe_ids=settings.drawn.ids,
        tokenizer=settings.tokenizer,
        corpus=settings.corpus,
        unit_modules=settings.unit_modules,
        thresholds=Thresholds(
            noise_floor=settings.noise_floor,
            attribution=settings.attribution,
            sufficiency=settings.sufficiency,
        ),
        device=settings.device,
    )
