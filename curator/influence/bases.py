"""The eigenvectors of a ranking's factors, for those who compute in them without fitting them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from curator.errors import CuratorError
from curator.storage import load_array, load_json
from curator.units.base import Block
from curator.units.block_json import block_of


@dataclass(frozen=True, eq=False)
class Bases:
    """The ``factors`` folder of a ranking.

    Attributes:
        folder: where it lies; made_for: fingerprint of what it was fitted for.
    """

    folder: Path
    made_for: str
    entries: list[dict[str, Any]]

    @staticmethod
    def open(folder: Path) -> "Bases":
        """Open a ranking's factors; ``folder`` is the ranking's or the factors' own.

        Raises:
            CuratorError: no factors are there.
        """
        folder = folder / "factors" if (folder / "factors").is_dir() else folder
        if not (folder / "index.json").is_file():
            raise CuratorError(f"{folder}: no factors (no index.json); give the folder of a ranking")
        index = load_json(folder / "index.json")
        return Bases(folder, str(index["made_for"]), list(index["blocks"]))

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
                a, s = (self.folder / "bases" / f"{entry[side]:04}.npy" for side in "AS")
                return torch.from_numpy(load_array(a, mmap=False)), torch.from_numpy(
                    load_array(s, mmap=False)
                )
        known = ", ".join(sorted({f"{entry['module']}/{entry['name']}" for entry in self.entries})[:8])
        raise CuratorError(
            f"{self.folder}: no factors for {block.module}/{block.name}; there are some for {known}"
        )
