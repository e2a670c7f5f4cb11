"""What `synth audit patterns` found: ``audit.json`` beside the registry, and which patterns carry."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curator.artifacts.manifests import load_manifest
from curator.errors import CuratorError, UsageError
from synth.patterns.registry import Registry

FILE, FORMAT = "audit.json", "synth-pattern-audit-1"
AGAIN = "run synth audit patterns again, or give --all"


@dataclass(frozen=True)
class PatternAudit:
    """An audit of patterns; ``result`` is what its file holds."""

    path: Path
    result: dict[str, Any]

    @staticmethod
    def open(registry: Registry) -> "PatternAudit":
        """The audit of these patterns.

        Raises:
            UsageError: there is none, or it is of another registry.
            CuratorError: it was edited.
        """
        file = registry.path.parent / FILE
        if not file.is_file():
            raise UsageError(f"{file}: the patterns were not audited, so none is known to carry; {AGAIN}")
        result = load_manifest(file, FORMAT, AGAIN, ("registry_fingerprint", "patterns[]"))
        if result["registry_fingerprint"] != registry.fingerprint():
            raise UsageError(f"{file} is of another registry; {AGAIN}")
        audit = PatternAudit(file, result)
        try:
            _ = audit.carrying
        except (KeyError, TypeError) as error:
            raise CuratorError(f"{file}: a pattern lacks its verdict, so it was edited; {AGAIN}") from error
        return audit

    @property
    def carrying(self) -> list[str]:
        """Ids of the patterns that occur more often where influence is high, best first."""
        return [one["pattern_id"] for one in self.result["patterns"] if one["carries"]]
