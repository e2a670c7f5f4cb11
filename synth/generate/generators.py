"""A folder of generators: one Python source per pattern, and a manifest written last.

    manifest.json    what made them, the pattern of each, its file and fingerprint, what its checks measured, what was
                     set aside and why
    p001_….py        one function ``generate_{pattern_id}_{name}(rng, target_tokens) -> str`` and its helpers

The sources are text to us: they run in the sandbox alone (``sandbox/``), never by import. A source that was changed
by hand is refused, since its checks were those of another; `synth generate --own FOLDER` takes edited ones in.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curator.artifacts.fingerprints import fingerprint
from curator.artifacts.manifests import load_manifest
from curator.errors import CuratorError
from synth.patterns.pattern import Pattern, PatternError

FORMAT = "synth-generators-1"


@dataclass(frozen=True, kw_only=True)
class Generator:
    """One generator as it lies on disk.

    Attributes:
        length_low: tokens that a short text of it has per token asked for, as measured when it was checked.
        samples: in how many its pattern was found; its weight in a mix, unless the user says otherwise.
    """

    pattern: Pattern
    source: str
    length_low: float
    samples: int
    details: dict[str, Any]

    @property
    def pattern_id(self) -> str:
        return self.pattern.pattern_id

    @property
    def function(self) -> str:
        return self.pattern.function


@dataclass(frozen=True, kw_only=True)
class Generators:
    """An opened folder."""

    path: Path
    manifest: dict[str, Any]
    generators: tuple[Generator, ...]

    def fingerprint(self) -> str:
        """Of the patterns and sources, in order."""
        return fingerprint([[g.pattern.to_json(), g.source] for g in self.generators])

    @staticmethod
    def open(path: Path) -> "Generators":
        """Open a folder.

        Raises:
            CuratorError: not such a folder, unfinished, or a source that is not the one that was checked.
        """
        path = Path(path)
        if not (path / "manifest.json").is_file():
            raise CuratorError(
                f"{path}: no generators there (no manifest.json); make them with `synth generate --out {path}`, or "
                "let the same command finish"
            )
        mend = "put it back, or generate again"
        manifest = load_manifest(path / "manifest.json", FORMAT, mend, ("generators[]", "set_aside[]"))
        generators = []
        for number, entry in enumerate(manifest["generators"]):
            try:
                generators.append(_generator(path, entry))
            except (PatternError, KeyError, TypeError, ValueError, OverflowError) as error:
                said = f"lacks {error}" if isinstance(error, KeyError) else str(error)
                raise CuratorError(
                    f"{path}/manifest.json: generator {number}: {said}, so it was edited; {mend}"
                ) from error
        if not generators:
            raise CuratorError(
                f"{path}: holds no generator that passed its checks; see set_aside in its manifest"
                + _first_reason(manifest["set_aside"])
            )
        return Generators(path=path, manifest=manifest, generators=tuple(generators))


def _first_reason(set_aside: list[Any]) -> str:
    """The first line of why the first pattern has no generator, for the end of a message."""
    first = set_aside[0] if set_aside else None
    if not isinstance(first, dict) or not str(first.get("reason") or "").strip():
        return ""
    return f"; of {first.get('pattern_id')}: {str(first['reason']).strip().splitlines()[0][:200]}"


def _generator(folder: Path, entry: dict[str, Any]) -> Generator:
    file = folder / entry["file"]
    if not file.is_file():
        raise CuratorError(f"{file}: missing; put it back, or generate again")
    # bytes that are no UTF-8 become U+FFFD, and the fingerprint another
    source = file.read_text(encoding="utf-8", errors="replace")
    if fingerprint(source) != entry["fingerprint"]:
        raise CuratorError(
            f"{file}: was changed after it was checked; take it in with `synth generate PATTERNS --own {folder} "
            "--out OTHER`, or generate again"
        )
    return Generator(
        pattern=Pattern.from_json(entry["pattern"]),
        source=source,
        length_low=float(entry["checks"]["length_low"]),
        samples=int(entry["samples"]),
        details=entry,
    )
