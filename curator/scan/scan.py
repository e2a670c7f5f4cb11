"""The metric of every unit at every checkpoint, and when the best ones form (paper, appendix C).

A metric is what the unit's kind says it is (`Unit.metric`). What a checkpoint gave is kept in a small file that carries
the content fingerprint of the checkpoint and of what was measured, so a killed or extended scan measures only what is
new. Thresholds are applied when a scan is read, never stored in the measurements.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from curator import __version__
from curator.artifacts.fields import IdsFrom
from curator.artifacts.files import load_json, save_array, save_json
from curator.artifacts.fingerprints import differences, fingerprint, load_checked
from curator.artifacts.frames import frame
from curator.artifacts.manifests import load_manifest
from curator.artifacts.unit_names import UnitName
from curator.errors import CuratorError, UsageError
from curator.models import load_config, load_model
from curator.models.equal import equal_groups, points_of
from curator.models.hub import list_places, local
from curator.progress import progress, remark
from curator.scan.checkpoint import checkpoint_fingerprint
from curator.scan.formation import Thresholds, Window, crossing, formation_window
from curator.scan.metrics import definition, drawn, kinds_called, measure, names_in
from curator.units import Architecture, ProbeSettings, load_unit_module
from curator.units.probe_ids import find_probe_ids

__all__ = ["Scan", "Thresholds", "Window", "crossing", "scan_checkpoints"]

FORMAT = "curator-scan-1"
MEND = "run `curator scan` again"
BEST = 5
"""How many of the best units of a kind scan.json lists."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Scan:
    """All metrics of one training run.

    Attributes:
        steps: [n] int64, rising.
        values: kind -> [n, *grid] float64; heads lie in a grid [layers, heads].
        names: kind -> its units, as they lie in a row of the grid.
        chance: kind -> the metric of a unit without any preference; ``even_attention`` on disk.
        manifest: where the checkpoints were, their fingerprints, and what was measured.
    """

    steps: np.ndarray
    values: dict[str, np.ndarray]
    names: dict[str, list[str]]
    chance: dict[str, float]
    thresholds: Thresholds
    manifest: dict[str, Any]

    def best(self, kind: str, count: int = BEST) -> list[str]:
        """Names of the units with the highest final metric, highest first; ties in the kind's order."""
        final = self._kind(kind)[-1]
        return [self.names[kind][k] for k in np.argsort(-final, axis=None, kind="stable")[:count].tolist()]

    def curve(self, unit: str) -> np.ndarray:
        """[n] metric of ``unit`` per checkpoint."""
        kind = UnitName.parse(unit).kind
        values, names = self._kind(kind), self.names.get(kind, [])
        if unit not in names:
            raise UsageError(
                f"no unit '{unit}' in this scan; of {kind} it has {len(names)}: {names[0]} to {names[-1]}"
            )
        return values.reshape(len(values), -1)[:, names.index(unit)]

    def window(self, unit: str) -> Window:
        """The formation window of ``unit`` under this scan's thresholds."""
        kind = UnitName.parse(unit).kind
        return formation_window(
            unit, self.steps, self.curve(unit), self.thresholds.resolved(self.chance[kind])
        )

    def to_frame(self) -> Any:
        """One row per checkpoint, indexed by its step: the metric of every unit (pandas).

        Raises:
            CuratorError: pandas is not installed.
        """
        units = [unit for kind in self.values for unit in self.names[kind]]
        return frame({unit: self.curve(unit) for unit in units}, self.steps, "step")

    def _kind(self, kind: str) -> np.ndarray:
        if kind not in self.values:
            raise UsageError(f"no kind '{kind}' in this scan; it has: {', '.join(self.values)}")
        return self.values[kind]

    def save(self, folder: Path) -> None:
        """``metrics-<kind>.npy``, and then ``scan.json``: where that exists, the rest is whole."""
        (folder / "scan.json").unlink(missing_ok=True)
        found = {}
        for kind, values in self.values.items():
            save_array(folder / f"metrics-{kind}.npy", values)
            best = self.best(kind)
            found[kind] = {
                "fingerprint": fingerprint(values),
                "even_attention": self.chance[kind],
                "thresholds": asdict(self.thresholds.resolved(self.chance[kind])),
                "best": {unit: float(self.curve(unit)[-1]) for unit in best},
                "window": asdict(self.window(best[0])),
            }
            if self.names[kind] != names_in(kind, values.shape[1:]):
                found[kind]["units"] = self.names[kind]
        save_json(
            folder / "scan.json",
            {
                "format": FORMAT,
                **self.manifest,
                "steps": self.steps.tolist(),
                "asked_thresholds": asdict(self.thresholds),
                "kinds": found,
            },
        )

    @staticmethod
    def open(folder: Path) -> "Scan":
        """Open the folder that `scan_checkpoints` filled.

        Raises:
            CuratorError: not a finished scan, or its arrays do not fit its steps.
        """
        file = Path(folder) / "scan.json"
        if not file.is_file():
            raise CuratorError(
                f"{folder}: not a finished scan (no scan.json); run `curator scan --out {folder}`"
            )
        manifest = load_manifest(file, FORMAT, MEND, ("steps[]", "asked_thresholds", "kinds"))
        del manifest["format"]
        steps = np.array(manifest.pop("steps"), np.int64)
        thresholds = Thresholds(**manifest.pop("asked_thresholds"))
        found = manifest.pop("kinds")
        values = {
            kind: load_checked(file.with_name(f"metrics-{kind}.npy"), entry.get("fingerprint"), MEND)
            for kind, entry in found.items()
        }
        for kind, array in values.items():
            if array.ndim < 2 or len(array) != len(steps):
                raise CuratorError(
                    f"{folder}/metrics-{kind}.npy: shape {array.shape}, but scan.json has {len(steps)} steps"
                )
        return Scan(
            steps=steps,
            values=values,
            names={
                kind: found[kind].get("units") or names_in(kind, array.shape[1:])
                for kind, array in values.items()
            },
            chance={kind: float(entry["even_attention"]) for kind, entry in found.items()},
            thresholds=thresholds,
            manifest=manifest,
        )


def scan_checkpoints(
    folder: str | Path,
    out: Path,
    *,
    kinds: Sequence[str] | None = None,
    steps: tuple[int, int] | None = None,
    settings: ProbeSettings | None = None,
    probe_ids: IdsFrom = "auto",
    tokenizer: Path | None = None,
    corpus: Path | None = None,
    thresholds: Thresholds | None = None,
    unit_modules: Sequence[Path] = (),
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
) -> Scan:
    """Measure every unit at every checkpoint in ``folder`` and save the scan to ``out``.

    Checkpoints with equal weights under different names are measured, and are no points of the scan.

    Args:
        folder: of checkpoints, or revisions of a hub model (`curator.models.hub`).
        kinds: kinds of unit; all known ones by default.
        steps: only checkpoints of steps first to last, both included.
        settings: how the sequences are drawn; the paper's by default.
        probe_ids: what ids they are drawn from, see `IdsFrom`; tokenizer: ``tokenizer.json``, by default the one beside
            the first checkpoint or the corpus; corpus: what was trained on, where it is known.
        unit_modules: Python files that register further kinds of unit.

    Raises:
        UsageError: a kind that does not exist, or of which the model has no unit.
        CuratorError: no checkpoints, checkpoints of different models, or a metric that is not a number.
    """
    settings = settings or ProbeSettings()
    for path in unit_modules:
        load_unit_module(path)
    chosen = kinds_called(kinds)
    checkpoints = list_places(folder)
    if steps is not None:
        checkpoints = [(step, path) for step, path in checkpoints if steps[0] <= step <= steps[1]]
    if not checkpoints:
        within = f" of steps {steps[0]} to {steps[1]}" if steps else ""
        raise CuratorError(
            f"{folder}: no checkpoints{within}; expected folders step0, checkpoint-100 ... or global_step0 ... with "
            "weights, or a hub model's revisions as owner/name@step0..step1000"
        )
    folders_of_settings = [local(place, weights=False) for _, place in checkpoints]
    architecture = _same_architecture(folders_of_settings)
    shape: Any = Architecture(load_config(folders_of_settings[0]))
    units = {kind: unit.instances(shape) for kind, unit in chosen.items()}
    for kind, own in units.items():
        if not own:
            raise UsageError(f"{folder}: this model has no unit of kind '{kind}'; leave it out with --kind")
    first = checkpoints[0][1]
    ids = find_probe_ids(
        probe_ids, architecture["vocab_size"], tokenizer=tokenizer, model=first, corpus=corpus
    )
    if ids.unusual:
        remark(f"probe ids: {ids}")
    sequences = {
        kind: unit.metric_sequences(
            ids.of(settings), architecture["vocab_size"], architecture["max_position_embeddings"]
        )
        for kind, unit in chosen.items()
    }
    prints = {kind: drawn(own) for kind, own in sequences.items()}
    shared = next(iter(prints.values()))
    measured = {
        "sequences": shared if set(prints.values()) == {shared} else prints,
        "dtype": str(dtype).removeprefix("torch."),
    }
    definitions = {kind: definition(unit) for kind, unit in chosen.items()}
    chance = {kind: unit.chance(sequences[kind]) for kind, unit in chosen.items()}
    for value in chance.values():
        (thresholds or Thresholds()).resolved(value)  # contradictory ones are refused before the long work

    records, folders = {}, {}
    with progress("scan", len(checkpoints), "checkpoints") as advance:
        for step, place in checkpoints:
            folders[step] = path = local(place)
            wanted = {"checkpoint": checkpoint_fingerprint(path), **measured}
            file = out / "checkpoints" / f"step{step}.json"
            record = _earlier_record(file, wanted, prints, definitions)
            if record is None:
                metrics = measure(load_model(path, dtype, device), units, sequences)
                _check_finite(metrics, path)
                lists = {kind: values.tolist() for kind, values in metrics.items()}
                record = {**wanted, "definitions": definitions, "metrics": lists}
                save_json(file, record)
            records[step] = record
            advance(note=str(place).rpartition("/")[2])

    groups = equal_groups(list(folders.items()))
    points, said = points_of(list(folders), groups)
    for line in said:
        remark(f"{folder}: {line}")
    if not points:
        raise CuratorError(f"{folder}: no checkpoint is left; give those of one training run, each once")
    scan = Scan(
        steps=np.array(points, np.int64),
        values={
            kind: np.array([records[step]["metrics"][kind] for step in points], np.float64) for kind in units
        },
        names={kind: [unit.name for unit in own] for kind, own in units.items()},
        chance=chance,
        thresholds=thresholds or Thresholds(),
        manifest={
            "checkpoints": str(folder),
            "fingerprints": [records[step]["checkpoint"] for step in points],
            "equal_weights": groups,
            "left_out": [step for step in folders if step not in points],
            "architecture": architecture,
            "settings": settings.recorded(),
            "probe_ids": ids.record,
            **measured,
            "definitions": definitions,
            "version": __version__,
        },
    )
    scan.save(out)
    return scan


def _earlier_record(
    file: Path, wanted: dict[str, Any], sequences: Mapping[str, str], definitions: Mapping[str, str]
) -> dict[str, Any] | None:
    """What an earlier scan kept, if it measured the same weights on the same sequences for these kinds."""
    record = load_json(file) if file.is_file() else {}
    there = record.get("sequences")
    if not isinstance(there, dict):  # all kinds shared them
        there = dict.fromkeys(record.get("definitions", ()), there)
    same = all(record.get(key) == wanted[key] for key in ("checkpoint", "dtype"))
    same = same and sequences.items() <= there.items()
    return record if same and definitions.items() <= record["definitions"].items() else None


def _same_architecture(paths: Sequence[Path]) -> dict[str, int]:
    fields = ("vocab_size", "max_position_embeddings", "num_hidden_layers", "num_attention_heads")
    first: dict[str, int] = {}
    for path in paths:
        config = load_config(path)
        found = {field: int(getattr(config, field)) for field in fields}
        if first and found != first:
            raise CuratorError(
                f"{path} is another model than {paths[0]}: "
                + "; ".join(differences(found, first))
                + "; scan one training run at a time"
            )
        first = first or found
    return first


def _check_finite(metrics: dict[str, np.ndarray], path: Path) -> None:
    for kind, values in metrics.items():
        if not np.isfinite(values).all():
            raise CuratorError(
                f"{path}: the {kind} metric is not a finite number: the run diverged there, or the weights "
                "are damaged; move the checkpoint away or scan other --steps"
            )
