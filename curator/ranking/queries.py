"""The queries of a ranking on disk, and their one reader: P = H⁻¹ ∇f of every block, [inputs, outputs] float64.

The engine that scores with them, `curator rank --queries-of` and the patches in a trainer all read here, so that none
of them takes numbers on trust (DESIGN law 8): the index must be that of the manifest beside it, and every file must
hold what was written. Light: the trainer's environment imports it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from curator.artifacts.fingerprints import load_checked, load_made_for
from curator.errors import CuratorError
from curator.ranking.ranking import identity_of, open_manifest
from curator.units.block_json import block_of

_ENTRY = ("unit", "name", "module", "inputs", "outputs", "file")


@dataclass(frozen=True, eq=False)
class Queries:
    """Opened queries of a ranking, finished or made with ``--queries-only``.

    Attributes:
        path: the ranking's folder; manifest: its manifest; made_for: fingerprint of what decides the queries.
        entries: per block its unit, place and file, in the order of the manifest's blocks.
        probe: unit -> the value of its probe.
    """

    path: Path
    manifest: dict[str, Any]
    made_for: str
    entries: list[dict[str, Any]]
    probe: dict[str, float]

    @staticmethod
    def open(path: Path) -> "Queries":
        """Open those of the ranking folder ``path``.

        Raises:
            CuratorError: no ranking, no queries, or queries of another run than the manifest's.
        """
        path = Path(path)
        manifest = open_manifest(path)
        file, made_for = path / "queries" / "index.json", identity_of(manifest)
        if not file.is_file():
            if manifest.get("statistics"):
                raise CuratorError(
                    f"{path}: has no queries: it is of statistics, which take no gradient; rank the corpus with "
                    "`curator rank`"
                )
            if manifest.get("combined"):
                raise CuratorError(
                    f"{path}: has no queries: it was combined of several rankings; give one of those: "
                    + ", ".join(manifest["combined"])
                )
            raise CuratorError(
                f"{path}: has no queries (no queries/index.json): it was collected from a trainer's scores or "
                "gradients, or is not that far yet; rank the corpus with `curator rank` (--queries-only is enough)"
            )
        index = load_made_for(file, made_for, "rank again")
        entries: Any = index.get("blocks")
        whole = isinstance(entries, list) and all(
            isinstance(entry, dict) and all(key in entry for key in _ENTRY) for entry in entries
        )
        if not whole or not isinstance(index.get("probe"), dict):
            raise CuratorError(f"{file}: was edited or cut short; rank again")
        return Queries(path, manifest, made_for, entries, index["probe"])

    def load(self, entry: dict[str, Any]) -> Tensor:
        """P of one block.

        Raises:
            CuratorError: the file was changed since the index was written, or does not fit its block.
        """
        file = self.path / "queries" / entry["file"]
        array = load_checked(file, entry.get("fingerprint"), "rank again")
        if array.shape != block_of(entry).shape:
            raise CuratorError(
                f"{file}: holds {array.shape}, but block {entry['unit']}/{entry['name']} has "
                f"{block_of(entry).shape}; rank again"
            )
        return torch.from_numpy(array)
