"""An emission in words: its identity, which a resumed run must share, the manifest, and each rank's index."""

import datetime
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import curator
from curator.artifacts.files import save_json
from curator.artifacts.fingerprints import differences, fingerprint
from curator.artifacts.manifests import load_manifest
from curator.corpus import Corpus
from curator.errors import CuratorError
from curator.influence.emission import FORMAT
from curator.plan.plan import Plan
from curator.ranking.bases import Bases
from curator.units.block_json import describe_block
from neox_patches.clock import Layout
from neox_patches.emit.blocks import PlacedBlock, Query
from neox_patches.emit.parts import Part
from neox_patches.settings import Emit


def identity_of(
    settings: Emit,
    steps: Sequence[int],
    layout: Layout,
    neox_args: Any,
    placed: Sequence[PlacedBlock],
    queries: Sequence[Query],
    plan: Plan | None,
    corpus: Corpus | None,
) -> dict[str, Any]:
    """Everything that what is emitted depends on, the weights excepted."""
    gradients, factors = settings.gradients, settings.factors
    masks_tokens = plan is not None and bool(np.isin(plan.mask_slots // plan.batch_size, steps).any())
    return {
        **FORMAT,
        "steps": list(steps),
        "batch_size": layout.batch_size,
        "seq_length": int(neox_args.seq_length),
        "seed": int(neox_args.seed),
        "layout": {
            "micro_batch_size": layout.micro_batch_size,
            "accumulation": layout.accumulation,
            "dp_size": layout.dp_size,
            "mp_size": layout.mp_size,
            "pp_size": layout.pp_size,
        },
        "architecture": {
            "n_layers": int(neox_args.num_layers),
            "d_model": int(neox_args.hidden_size),
            "n_heads": int(neox_args.num_attention_heads),
        },
        "units": list(settings.units),
        "gradients": gradients
        and {
            "compress": gradients.compress,
            "rank": gradients.rank,
            "seed": gradients.seed,
            "bases": _made_for(gradients.bases),
        },
        "factors": factors and {"bases": _made_for(factors.bases)},
        "blocks": [{"label": str(block.key), **describe_block(block.block)} for block in placed],
        "scored": [str(query.placed.key) for query in queries],
        "fingerprints": {
            "corpus": None if corpus is None else corpus.fingerprint(),
            "plan": None if plan is None else plan.fingerprint(),
            "queries": sorted({query.made_for for query in queries}),
        },
        **({"token_masks": True} if masks_tokens else {}),
    }


def write_manifest(
    settings: Emit,
    identity: Mapping[str, Any],
    run: str,
    corpus: Corpus | None,
    generation: str,
    first_step: int,
) -> None:
    """Write manifest.json, or compare with the one that is there.

    Raises:
        CuratorError: the folder holds another emission, or that of another run; names both sides.
    """
    path = settings.out / "manifest.json"
    if path.is_file():
        there = load_manifest(path, FORMAT, "give another emit.out, or remove this one")
        check_same(settings.out, identity, {key: there.get(key) for key in identity})
        if there.get("run") != run:
            raise CuratorError(
                f"{settings.out}: holds the emission of another run (there {there.get('run')}, here {run}); a run is "
                "known by its save folder, so that one which goes on in it may write on. Give another emit.out, or "
                "remove this one"
            )
        return
    paths = {
        "corpus": None if corpus is None else str(corpus.path.absolute()),
        "queries": [str(path.absolute()) for path in settings.scores],
        "gradient_bases": _absolute(settings.gradients.bases if settings.gradients else None),
        "factor_bases": _absolute(settings.factors.bases if settings.factors else None),
    }
    made = {
        "neox": generation,
        "curator": curator.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "first_step": first_step,
        "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
    }
    save_json(path, {**identity, "run": run, "paths": paths, "made_with": made})


def check_same(folder: Path, ours: Mapping[str, Any], there: Mapping[str, Any]) -> None:
    """Refuse a folder that holds another emission."""
    if lines := differences(ours, there):
        raise CuratorError(
            f"{folder}: holds another emission; give another emit.out, or remove it:\n  "
            + "\n  ".join(lines[:8])
        )


def index_of(
    layout: Layout,
    mine: Sequence[PlacedBlock],
    queries: Sequence[Query],
    parts: Mapping[str, Part],
    shapes: Sequence[tuple[int, int]],
    identity: Mapping[str, Any],
) -> dict[str, Any]:
    """index.json of a rank."""
    return {
        "dp_rank": layout.dp_rank,
        "mp_rank": layout.mp_rank,
        "pp_rank": layout.pp_rank,
        "blocks": [{"label": str(placed.key), **describe_block(placed.block)} for placed in mine],
        "gradients": [list(shape) for shape in shapes],
        "scored": [str(query.placed.key) for query in queries],
        "factors": {
            module: [describe_block(block) for block in part.factors_of]
            for module, part in parts.items()
            if part.factors_of
        },
        "identity": fingerprint(identity),
    }


def _made_for(bases: Path | None) -> str | None:
    return None if bases is None else Bases.open(bases).made_for


def _absolute(path: Path | None) -> str | None:
    return None if path is None else str(path.absolute())
