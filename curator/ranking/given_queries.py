"""The queries of another ranking, so that other rows are scored as its samples were.

A ranking fits the curvature on the corpus it scores. Rows that are no sample of that corpus (rendered ones, another
corpus) are comparable with its samples only under the same P = H⁻¹ ∇f of the same model: those of that ranking, taken
as they lie on disk. Nothing is taken on trust: `Queries` compares them with the manifest they lie beside, and what is
here the model and the blocks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curator.artifacts.fields import PAPER, Probe
from curator.artifacts.fingerprints import differences, fingerprint
from curator.artifacts.unit_names import units_called
from curator.errors import CuratorError, UsageError
from curator.ranking.queries import Queries
from curator.ranking.settings import RankSettings, recorded_now
from curator.units import Unit, parse_units
from curator.units.base import Block
from curator.units.block_json import describe_block

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True, eq=False)
class GivenQueries:
    """Opened queries of a ranking, finished or made with ``--queries-only``."""

    queries: Queries

    @staticmethod
    def open(path: Path) -> "GivenQueries":
        """Open the ranking folder ``path``; raises as `Queries.open`."""
        return GivenQueries(Queries.open(path))

    @property
    def path(self) -> Path:
        """The ranking's folder."""
        return self.queries.path

    @property
    def manifest(self) -> dict[str, Any]:
        """The ranking's manifest."""
        return self.queries.manifest

    def request(
        self,
        corpus: Path,
        *,
        model: str | None = None,
        units: Sequence[str] = (),
        samples: tuple[int, int] | None = None,
        micro_batch: int | None = None,
        shard_size: int | None = None,
        unit_modules: Sequence[Path] = (),
        normalise: bool = False,
    ) -> RankSettings:
        """Score ``corpus`` with these queries: all settings are this ranking's, model and units unless given.

        Scores are normalised where this ranking's are, or ``normalise`` asks for it.
        """
        settings, there = recorded_now(self.manifest["settings"]), self.manifest["request"]
        return RankSettings(
            **RankSettings.of_recorded(settings),
            model=model or there["model"],
            corpus=corpus,
            units=tuple(units) or tuple(self.manifest["units"]),
            samples=samples,
            probe=Probe(**settings["probe"] or {}),
            normalise=normalise or settings["normalise"],
            micro_batch=micro_batch,
            shard_size=shard_size,
            unit_modules=tuple(unit_modules) or tuple(map(Path, there["unit_modules"])),
        ).resolved(queries_of=self.path)

    def units(self, specs: Sequence[str], model: "PreTrainedModel") -> list[Unit]:
        """Those of this ranking that ``specs`` name: a spec that says no probe means any of its probes'."""
        names: list[str] = []
        for spec in specs:
            said = f":{PAPER}" if spec.endswith(f":{PAPER}") else ""
            for unit in parse_units([spec], model, PAPER):
                names += units_called(unit.name + said, self.manifest["units"]) or [unit.name]
        return parse_units(names, model, PAPER)

    def settings(self, request: RankSettings, blocks: Sequence[tuple[Unit, Block]]) -> dict[str, Any]:
        """The settings of a ranking that is made with these queries, which are named by their content.

        Raises:
            UsageError: the request asks for other ones; names both sides.
        """
        there = recorded_now(self.manifest["settings"])
        lines = differences(request.recorded(), {key: there.get(key) for key in request.recorded()})
        if lines:
            raise UsageError(
                f"--queries-of {self.path}: its queries were made with its own settings, leave out others:\n  "
                + "\n  ".join(lines)
            )
        return {
            **request.recorded(),
            "probe": self.manifest["settings"]["probe"],
            "queries_of": {
                "fingerprint": fingerprint(
                    [self.queries.load(entry).numpy() for entry in self.entries(blocks)]
                ),
                "corpus": self.manifest["fingerprints"]["corpus"],
                "samples": self.manifest["samples"],
            },
        }

    def check_model(self, name: str, found: str) -> None:
        """Refuse another model than that of the queries."""
        made_with = self.manifest["fingerprints"]["model"]
        if found != made_with:
            raise CuratorError(
                f"{self.path}: its queries were made with the model of fingerprint {made_with} "
                f"({self.manifest['request']['model']}), but {name} has {found}: give the same checkpoint"
            )

    def probes(self, units: Sequence[str]) -> dict[str, str]:
        """Fingerprint of the probe sequences per unit.

        Raises:
            UsageError: a unit that this ranking does not have; lists its units.
        """
        known: dict[str, str] = self.manifest["fingerprints"]["probe_sequences"]
        missing = [unit for unit in units if unit not in known]
        if missing:
            raise UsageError(
                f"--queries-of {self.path}: no queries of {', '.join(missing)}; there are {', '.join(known)}"
            )
        return {unit: known[unit] for unit in units}

    def entries(self, blocks: Sequence[tuple[Unit, Block]]) -> list[dict[str, Any]]:
        """The index entry of each block.

        Raises:
            CuratorError: a unit's blocks are not those that were ranked.
        """
        found = []
        for unit in dict.fromkeys(unit.name for unit, _ in blocks):
            ours = [describe_block(block) for owner, block in blocks if owner.name == unit]
            entries = [entry for entry in self.queries.entries if entry["unit"] == unit]
            theirs = [{key: entry[key] for key in ours[0]} for entry in entries]
            if ours != theirs:
                raise CuratorError(
                    f"{self.path}/queries/index.json: the blocks of {unit} there are "
                    f"{', '.join(entry['name'] for entry in theirs) or 'none'}, and not the same as here "
                    f"({', '.join(block['name'] for block in ours)}): its unit module was changed; rank again"
                )
            found += entries
        return found
