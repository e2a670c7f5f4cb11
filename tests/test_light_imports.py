"""The GPT-NeoX patches run in the trainer's own environment: torch, numpy, PyYAML and pydantic (which DeepSpeed
brings), and nothing else of ours.

A process that can import no other package imports every light module, opens corpora of the formats that a
trainer meets, and reads a plan with an injected set.
"""

import subprocess
import sys
from pathlib import Path

import numpy as np

MODULES = [
    "curator.plan.plan",
    "curator.plan.rows",
    "curator.neox.standing",
    "curator.corpus",
    "curator.artifacts.block_key",
    "curator.artifacts.files",
    "curator.artifacts.fingerprints",
    "curator.artifacts.manifests",
    "curator.artifacts.schema",
    "curator.errors",
    "curator.units.base",
    "curator.ranking.bases",
    "curator.ranking.queries",
    "curator.influence.scorer",
    "curator.influence.factors",
    "curator.influence.taps",
]

SCRIPT = '''
import importlib, sys
import numpy, torch, yaml

loaded = {name.partition(".")[0] for name in sys.modules}
allowed = loaded | set(sys.stdlib_module_names) | {"curator"}
allowed |= {"pydantic", "pydantic_core", "annotated_types", "typing_extensions", "typing_inspection"}
refused = set()

class Nothing:
    """Finds no other package, as if none were installed."""

    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in allowed and not top.startswith("_sysconfigdata"):  # generated, of the library
            refused.add(top)
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None

sys.meta_path.insert(0, Nothing())
heavy = {"transformers", "rich", "typer", "psutil", "tokenizers", "safetensors", "mmap_ninja", "matplotlib"}
print("allowed:", sorted(heavy & allowed))
for name in sys.argv[2:]:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        print("missing:", name, "needs", error.name)
print("refused:", sorted(refused))
folder = sys.argv[1]

from pathlib import Path
from curator.corpus import check_tokens, open_corpus
from curator.plan.plan import Plan
from curator.plan.rows import PlannedRows, open_sources

for kind in ("rows.npy", "ninja", "ragged", "neox", "neox.bin"):
    corpus = open_corpus(Path(folder) / kind)
    check_tokens(corpus, 40)
    plan = Plan.load(Path(folder) / "plan")
    rows = PlannedRows(plan, corpus, open_sources(plan, corpus)).rows(numpy.arange(plan.n_slots))
    print("read:", kind, len(corpus), int(rows.sum()), rows.shape)
'''


def write_corpora(folder: Path) -> np.ndarray:
    """The same rows as .npy, as mmap-ninja folders of both kinds and as .bin/.idx."""
    from mmap_ninja import RaggedMmap, np_from_ndarray

    rows = np.arange(40, dtype=np.uint16).reshape(8, 5)
    np.save(folder / "rows.npy", rows)
    np_from_ndarray(folder / "ninja", rows)
    RaggedMmap.from_lists(folder / "ragged", list(rows))
    (folder / "neox.bin").write_bytes(rows.tobytes())
    header = b"MMIDIDX\x00\x00" + np.array([1], "<u8").tobytes() + bytes([8])
    sizes, pointers = np.full(8, 5, "<i4"), np.arange(8, dtype="<i8") * 10
    counts, documents = np.array([8, 9], "<u8"), np.arange(9, dtype="<i8")
    parts = (counts, sizes, pointers, documents)
    (folder / "neox.idx").write_bytes(header + b"".join(part.tobytes() for part in parts))
    return rows


def test_light_modules_read_plans_and_corpora_with_torch_numpy_yaml_and_pydantic_alone(
    tmp_path: Path,
) -> None:
    from curator.corpus import open_corpus
    from curator.plan.plan import Plan

    rows = write_corpora(tmp_path)
    np.save(tmp_path / "extra.npy", rows[:2] + 1)
    extra = open_corpus(tmp_path / "extra.npy")
    plan = Plan.identity(8, 2, open_corpus(tmp_path / "rows.npy").fingerprint())
    plan, number = plan.with_source("extra", extra.path, extra.fingerprint())
    plan.insert(np.array([1]), np.array([0, 1]), number).save(tmp_path / "plan")

    command = [sys.executable, "-c", SCRIPT, str(tmp_path), *MODULES]
    child = subprocess.run(command, capture_output=True, text=True, check=False)
    assert child.returncode == 0, child.stderr
    total = int(rows.sum() + (rows[:2] + 1).sum())
    kinds = ("rows.npy", "ninja", "ragged", "neox", "neox.bin")
    assert child.stdout.splitlines() == [
        "allowed: []",
        "refused: []",
        *(f"read: {kind} 8 {total} (10, 5)" for kind in kinds),
    ]
