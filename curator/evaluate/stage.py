"""The stage `curves`: from checkpoints of runs to one tidy table.

What a checkpoint gave is kept in a small file with the fingerprints of the checkpoint and of all that was asked, so
that a killed or extended measurement measures what is new alone. `curator scan` finds units and windows, by their
metrics and thresholds; this says what else a checkpoint can do.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from curator.artifacts.fields import require
from curator.artifacts.files import load_json, save_json
from curator.artifacts.fingerprints import fingerprint
from curator.corpus import check_row_width, check_tokens, open_corpus
from curator.errors import CuratorError, UsageError
from curator.evaluate.prepare import prepare
from curator.evaluate.quantities import Quantities, Values
from curator.evaluate.settings import CurvesSettings
from curator.evaluate.table import Point, Run, save_curves
from curator.models import load_config, load_model
from curator.models.devices import check_device
from curator.models.equal import equal_groups, points_of
from curator.models.hub import list_places, local
from curator.progress import progress, remark
from curator.scan.checkpoint import checkpoint_fingerprint
from curator.scan.metrics import definition
from curator.units import Architecture, ProbeSettings, Unit, kinds, load_unit_module, parse_units
from curator.units.probe_ids import find_probe_ids

Place = Path | str


def curves(settings: CurvesSettings) -> Path:
    """Measure all checkpoints of all runs; ``settings.out``/curves.parquet, whose path is returned.

    Raises:
        UsageError: something is missing, or does not exist.
        CuratorError: no checkpoints, models of several shapes, or a number that is not finite.
    """
    out: Path = require(settings, "out")
    check_device(settings.device)
    for module in settings.unit_modules:
        load_unit_module(module)
    runs = _runs(settings)
    first = next(iter(runs.values()))[0][1]
    config = load_config(local(first, weights=False))
    quantities, decided, width = _quantities(settings, first, config)
    tokens = None if settings.batch_size is None else settings.batch_size * (width - 1)
    found = []
    with progress("curves", sum(map(len, runs.values())), "checkpoints") as advance:
        for arm, places in runs.items():
            folders, values = {}, {}
            for step, place in places:
                folders[step] = path = local(place)
                file = out / "checkpoints" / arm / f"step{step}.json"
                values[step] = _measured(file, path, quantities, decided, settings, config)
                advance(note=f"{arm}, step {step}")
            kept, said = points_of(list(folders), equal_groups(list(folders.items())))
            for line in said:
                remark(f"{arm}: {line}")
            points = [point for step in kept for point in _points(step, values[step])]
            found.append(Run(arm=arm, points=points, tokens_per_step=tokens))
    about = {"runs": {arm: str(spec) for arm, spec in zip(runs, settings.runs)}, **quantities.about()}
    save_curves(out / "curves.parquet", found, about)
    return out / "curves.parquet"


def _runs(settings: CurvesSettings) -> dict[str, list[tuple[int, Place]]]:
    """Arm -> its checkpoints; an arm is called by its folder, or where two have one name by the whole of it."""
    within = f" of steps {settings.steps[0]} to {settings.steps[1] - 1}" if settings.steps else ""
    specs = list(dict.fromkeys(settings.runs))
    names = [spec.rstrip("/").rpartition("/")[2] for spec in specs]
    runs: dict[str, list[tuple[int, Place]]] = {}
    for spec, name in zip(specs, names):
        places = list_places(spec)
        if settings.steps is not None:
            places = [
                (step, place) for step, place in places if settings.steps[0] <= step < settings.steps[1]
            ]
        if not places:
            raise CuratorError(
                f"{spec}: no checkpoints{within}; expected folders step0, checkpoint-100 ... or global_step0 ..., or a "
                "hub model's revisions"
            )
        runs[name if names.count(name) == 1 else spec.strip("/").replace("/", "_")] = places
    return runs


def _quantities(settings: CurvesSettings, first: Place, config: Any) -> tuple[Quantities, str, int]:
    """(what is measured, a fingerprint of all that decides it, how wide a row of the corpus is or may be)."""
    shape: Any = Architecture(config)
    vocab_size, positions = config.vocab_size, config.max_position_embeddings
    corpus = None if settings.corpus is None else open_corpus(settings.corpus)
    ids = find_probe_ids(
        settings.probe.ids, vocab_size, tokenizer=settings.tokenizer, model=first, corpus=corpus
    )
    if ids.unusual:
        remark(f"probe ids: {ids}")
    held_out = None
    if corpus is not None and settings.held_out is not None and settings.reads_rows:
        if corpus.row_width > positions + 1:
            check_row_width(corpus, positions)  # says both
        check_tokens(corpus, vocab_size, *settings.held_out)
        samples = np.arange(*settings.held_out)
        spaced = np.linspace(0, len(samples) - 1, min(settings.held_out_rows, len(samples))).astype(int)
        held_out = torch.from_numpy(corpus.rows(samples[spaced]).astype(np.int64))
    known = {kind: unit.instances(shape) for kind, unit in kinds().items()}
    quantities = prepare(
        settings,
        ids.of(ProbeSettings.of(settings.probe)),
        kinds=known,
        probes=_asked(settings, shape),
        vocab_size=vocab_size,
        positions=positions,
        held_out=held_out,
        tokenizer=ids.tokenizer,
        tokens=settings.probe.tokens,
    )
    decided = [
        quantities.fingerprint(),
        settings.dtype,
        {kind: definition(unit) for kind, unit in kinds().items()},
    ]
    return quantities, fingerprint(decided), positions + 1 if corpus is None else corpus.row_width


def _asked(settings: CurvesSettings, shape: Any) -> list[Unit]:
    """The units whose probes are taken."""
    if "probe" not in settings.measure:
        return []
    return parse_units(settings.units or ["induction:*"], shape, settings.probe.asks)


def _measured(
    file: Path, path: Path, quantities: Quantities, decided: str, settings: CurvesSettings, config: Any
) -> Values:
    """What a checkpoint gives, or gave."""
    wanted = {"checkpoint": checkpoint_fingerprint(path), "measured": decided}
    there = load_json(file) if file.is_file() else {}
    if wanted.items() <= there.items():
        values: Values = there["values"]
        return values
    own = load_config(path)
    for name in ("vocab_size", "max_position_embeddings", "num_hidden_layers", "num_attention_heads"):
        if getattr(own, name) != getattr(config, name):
            raise UsageError(
                f"{path} is a model of another shape than the first ({name} {getattr(own, name)}, there "
                f"{getattr(config, name)}): measure runs of one shape at a time"
            )
    values = quantities(load_model(path, getattr(torch, settings.dtype), settings.device))
    for quantity, by_unit in values.items():
        if not np.isfinite(list(by_unit.values())).all():
            raise CuratorError(
                f"{path}: {quantity} is not a finite number: the run diverged there, or the weights are damaged; move "
                "the checkpoint away, or measure other --steps"
            )
    save_json(file, {**wanted, "values": values})
    return values


def _points(step: int, values: Values) -> list[Point]:
    return [(step, quantity, unit, value) for quantity, own in values.items() for unit, value in own.items()]
