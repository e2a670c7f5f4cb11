"""The eigenvectors of a ranking's factors, for those who compute in them without fitting them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from curator.artifacts.files import load_json
from curator.artifacts.fingerprints import load_checked, load_made_for
from curator.errors import CuratorError
from curator.ranking.ranking import identity_of, open_manifest
from curator.units.base import Block
from curator.units.block_json import block_of

MEND = "put it back, or rank again"


@dataclass(frozen=True, eq=False)
class Bases:
    """The ``factors`` folder of a ranking.

    Attributes:
        folder: where it lies; made_for: fingerprint of what it was fitted for.
        written: fingerprints of the files in ``bases``; none in those of older versions.
    """

    folder: Path
    made_for: str
    entries: list[dict[str, Any]]
    written: list[str] | None

    @staticmethod
    def open(folder: Path) -> "Bases":
        """Open a ranking's factors; ``folder`` is the ranking's or the factors' own.

        Raises:
            CuratorError: no factors are there, or those of another ranking than the manifest beside them says.
        """
        folder = folder / "factors" if (folder / "factors").is_dir() else folder
        file = folder / "index.json"
        if not file.is_file():
            raise CuratorError(
                f"{folder}: no factors (no index.json); give the folder of a ranking that fitted some "
                "(--preconditioner ekfac or kfac)"
            )
        try:
            if (folder.parent / "manifest.json").is_file():
                index = load_made_for(file, identity_of(open_manifest(folder.parent)), MEND)
            else:
                index = load_json(file)
            written = index.get("content", {}).get("bases")
            return Bases(folder, str(index["made_for"]), list(index["blocks"]), written)
        except (AttributeError, KeyError, TypeError) as error:
            raise CuratorError(f"{file}: was edited or cut short; {MEND}") from error

    def check(self, made_for: str, who: str) -> None:
        """Refuse factors that were fitted for something else than ``who`` was made with."""
        if self.made_for != made_for:
            raise CuratorError(
                f"{self.folder}: fitted for {self.made_for}, but {who} was made in the bases of {made_for}; put that "
                "ranking back"
            )

    def of(self, block: Block) -> tuple[Tensor, Tensor]:
        """(Q_A, Q_S), eigenvectors in columns by rising eigenvalue, float64.

        Raises:
            CuratorError: there are no factors of this block.
        """
        for entry in self.entries:
            if block_of(entry).key == block.key:
                return self._load(entry["A"]), self._load(entry["S"])
        known = ", ".join(sorted({f"{entry['module']}/{entry['name']}" for entry in self.entries})[:8])
        raise CuratorError(
            f"{self.folder}: no factors for {block.module}/{block.name}; there are some for {known}"
        )

    def _load(self, number: int) -> Tensor:
        path = self.folder / "bases" / f"{number:04}.npy"
        return torch.from_numpy(load_checked(path, self.written and self.written[number], MEND))
