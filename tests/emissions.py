"""An emission of two ranks made by hand, whose every number is known."""

from pathlib import Path
from typing import Any

import numpy as np

from curator.artifacts.files import save_json
from curator.influence.emission import WRITTEN, Emission
from curator.plan.plan import Plan
from curator.units.base import Block
from curator.units.block_json import describe_block
from neox_patches.clock import Layout
from neox_patches.emit.store import RankStore

STEPS = range(10, 30)  # of 4 samples each: 2 ranks, micro-batches of 2
BLOCK = Block("qk", "gpt_neox.layers.0.attention.query_key_value", range(4), range(2))


def layout(rank: int) -> Layout:
    return Layout(2, 1, 2, rank, 1, 0, 1, 0)


def open_store(folder: Path, rank: int = 0, shapes: Any = (), **more: Any) -> RankStore:
    index = {
        "mp_rank": 0,
        "pp_rank": 0,
        "blocks": [],
        "gradients": [list(shape) for shape in shapes],
        "scored": ["induction:0.0/qk"],
        "factors": {BLOCK.module: [describe_block(BLOCK)]},
    }
    folder = folder / f"rank-{rank:05}"
    return RankStore(folder, layout(rank), STEPS, None, shapes, 1, index, **more)


def emission(folder: Path, flags: Any = WRITTEN, plan: Plan | None = None, shapes: Any = ()) -> Emission:
    """Two ranks' folders; every sample's score is its index. ``flags``: [ranks, steps], or one for all."""
    for rank in range(2):
        out = open_store(folder, rank, shapes)
        if plan is not None:
            out._write_rows(STEPS, plan, None)
        samples = np.load(out.folder / "samples.npy")
        out.arrays["losses"][:] = 1
        out.arrays["scores"][:] = samples
        out.arrays["flags"][:] = np.broadcast_to(flags, (2, len(STEPS)))[rank]
    there = {
        "format": "curator-emission",
        "version": 1,
        "steps": list(STEPS),
        "batch_size": 4,
        "seq_length": 8,
        "layout": {"micro_batch_size": 2, "accumulation": 1, "dp_size": 2, "mp_size": 1, "pp_size": 1},
        "architecture": {},
        "gradients": None,
        "factors": {"bases": None},
        "blocks": [],
        "scored": ["induction:0.0/qk"],
        "fingerprints": {"corpus": "abc"},
        "paths": {"corpus": "rows.npy"},
        "made_with": {"first_step": 0},
        "run": "me",
    }
    save_json(folder / "manifest.json", there)
    return Emission.open(folder)
