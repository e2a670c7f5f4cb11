"""Rows made again from their folder alone: generators, tokenizer, manifest."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from curator.artifacts.fingerprints import fingerprint
from curator.corpus.token_text import read_tokenizer
from curator.errors import CuratorError
from synth.generate.generators import Generators
from synth.render.fill import Filler, Source
from synth.render.folder import Rows
from synth.sandbox import Sandbox


@dataclass(frozen=True)
class Verified:
    """How many rows were made again, and which of them came out otherwise."""

    rows: int
    differ: list[int]


def verify(rows: Rows, count: int | None = None, seed: int = 0, unsafe: bool = False) -> Verified:
    """Make ``count`` rows again, drawn at random (all when there are fewer, or None), and compare."""
    chosen = np.arange(len(rows.corpus))
    if count is not None and count < len(chosen):
        chosen = np.sort(np.random.default_rng(seed).choice(chosen, count, replace=False))
    differ = []
    for row, made in render_rows(rows, chosen.tolist(), unsafe):
        if made is None or not np.array_equal(made, rows.corpus.rows(slice(row, row + 1))[0]):
            differ.append(row)
    return Verified(len(chosen), sorted(differ))


def render_rows(
    rows: Rows, which: Iterable[int], unsafe: bool = False
) -> Iterable[tuple[int, np.ndarray | None]]:
    """(row, its tokens as they are made now, or None where the generator fails) for each of ``which``.

    Raises:
        CuratorError: the copies of generators or tokenizer in the folder are not those the rows were made with.
    """
    filler = Filler(rows.filling, read_tokenizer(rows.path / "tokenizer.json"), Sandbox(unsafe=unsafe))
    sources = _sources(rows)
    by_pattern: dict[str, dict[int, int]] = defaultdict(dict)
    for row in which:
        by_pattern[rows.patterns[rows.row_patterns[row]]][int(rows.row_candidates[row])] = row
    for pattern_id, candidates in by_pattern.items():
        for made in filler.fill(sources[pattern_id], list(candidates)).rows:
            yield candidates[made.candidate], made.tokens if made.done else None


def _sources(rows: Rows) -> dict[str, Source]:
    generators = Generators.open(rows.path / "generators")
    identity = rows.manifest["identity"]
    found = {
        "generators": generators.fingerprint(),
        "tokenizer": fingerprint(Path(rows.path / "tokenizer.json").read_bytes()),
    }
    for name, value in found.items():
        if value != identity[name]:
            raise CuratorError(
                f"{rows.path}: its {name} have fingerprint {value}, the rows were made with {identity[name]}: the "
                "copy was changed; put it back, or render again"
            )
    return {g.pattern_id: Source.of(g) for g in generators.generators}
