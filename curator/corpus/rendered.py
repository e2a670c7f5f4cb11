"""Rows that `synth render` wrote: an mmap-ninja folder whose manifest says what its rows must be.

Refused is a folder whose rows were changed after they were rendered: their provenance would be that of others. Beside
pattern and candidate, the copy of the generators in the folder tells what a pattern is called and which function wrote
the row.
"""

from functools import cached_property
from pathlib import Path
from typing import Any

from curator.artifacts.files import load_json
from curator.artifacts.manifests import is_manifest, load_manifest
from curator.corpus.ninja import MEND, NinjaCorpus
from curator.errors import CuratorError

FORMAT = "synth-rows-1"
LEAST = 10
"""Rows of a pattern that must be scored to tell whether it carries influence."""


class RenderedCorpus(NinjaCorpus):
    """The rows of a rendered folder.

    Raises:
        CuratorError: as `NinjaCorpus`, or the rows are not those of the manifest.
    """

    def __init__(self, path: Path):
        self.manifest = load_manifest(path / "manifest.json", FORMAT, MEND)
        beside = self.manifest.get("fingerprints")
        super().__init__(path, beside if isinstance(beside, dict) else {})
        self.written = self.manifest
        self.fingerprint()

    def told_of(self, sample: int) -> dict[str, Any] | None:
        """Pattern, what it is called, the file of its generator in the folder, and candidate."""
        found = self.provenance(sample)
        return found and {"pattern": found["pattern"], **self._generators.get(found["pattern"], {}), **found}

    @property
    def ranking(self) -> str | None:
        """The ranking whose samples the patterns were distilled from, as its generators name it."""
        found = self._made_by.get("ranking")
        return found if isinstance(found, str) else None

    @property
    def audited(self) -> bool:
        """Whether only patterns were rendered that an audit kept."""
        request = self.manifest.get("request")
        return isinstance(request, dict) and bool(request.get("only"))

    @cached_property
    def _made_by(self) -> dict[str, Any]:
        """The manifest of the generators; empty where there is no readable copy, which no reading of rows needs."""
        try:
            found = load_json(self.path / "generators" / "manifest.json")
        except CuratorError:
            return {}
        return found if isinstance(found, dict) else {}

    @cached_property
    def _generators(self) -> dict[str, dict[str, str]]:
        """By pattern."""
        try:
            entries = self._made_by["generators"]
            return {
                one["pattern"]["pattern_id"]: {
                    "called": str(one["pattern"]["pattern_name"]),
                    "generator": f"generators/{one['file']}",
                }
                for one in entries
            }
        except (KeyError, TypeError):
            return {}


def is_rendered(path: Path) -> bool:
    """Whether ``path`` is a finished folder of rendered rows."""
    return (path / "type.ninja").is_file() and is_manifest(path / "manifest.json", FORMAT)
