"""The folder of rendered rows: a corpus that `curator` reads, and where every row came from.

*.ninja                 the rows [N, seq_length + 1], as the package mmap-ninja writes and reads them
patterns.json           pattern ids
row_patterns.npy  [N]   which of them a row is of
row_candidates.npy [N]  its candidate number k: its texts have the seeds {seed}/{pattern_id}/{k}/{part}
tokenizer.json, generators/    copies, so that the rows can be made again from this folder alone
manifest.json           what decides the rows, what became of every pattern, and fingerprints; written last
"""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from curator.artifacts.files import flush, save_array, save_json
from curator.artifacts.fingerprints import fingerprint
from curator.artifacts.manifests import load_manifest
from curator.corpus.ninja import NinjaCorpus
from curator.corpus.rendered import FORMAT, RenderedCorpus
from curator.errors import CuratorError
from synth.generate.generators import Generators
from synth.render.mix import Mix
from synth.render.settings import Filling
from synth.render.task import Shard, Task

PARTS = "parts"
SIDECARS = ("patterns.json", "row_patterns.npy", "row_candidates.npy")
"""Where every row came from; the manifest has a fingerprint of each, by its name without the ending."""
MEND = "put it back, or render again"
NEEDED = (
    "fingerprint",
    *(f"fingerprints.{name.split('.')[0]}" for name in SIDECARS),
    "patterns[]",
    "rows",
    "request.generators",
    *(f"identity.{key}" for key in ("seq_length", "fill", "separator_id", "pad_id", "seed")),
    *(f"identity.{key}" for key in ("generators", "tokenizer")),
)
"""What later commands read."""
NEEDED_OF_PATTERN = {
    "pattern_id", "rows", "tried", "duplicates", "failed", "texts", "exhausted", "dropped"
}  # fmt: skip
_WRITE_ROWS = 256


@dataclass(frozen=True, eq=False)
class Rows:
    """An opened folder of rendered rows.

    Attributes:
        patterns: pattern ids; row_patterns: index into them per row; row_candidates: k per row.
    """

    path: Path
    manifest: dict[str, Any]
    corpus: RenderedCorpus
    patterns: list[str]
    row_patterns: np.ndarray
    row_candidates: np.ndarray

    @staticmethod
    def open(path: Path) -> "Rows":
        """Open a finished folder.

        Raises:
            CuratorError: no such folder, unfinished, or its parts do not belong together.
        """
        path = Path(path)
        file = path / "manifest.json"
        if not file.is_file():
            raise CuratorError(
                f"{path}: no rendered rows there (no manifest.json); make them with `synth render --out {path}`, or "
                "let the same command finish"
            )
        manifest = load_manifest(file, FORMAT, MEND, NEEDED)
        for number, one in enumerate(manifest["patterns"]):
            missing = NEEDED_OF_PATTERN - set(one if isinstance(one, dict) else ())
            if missing:
                said = f"pattern {number} lacks {', '.join(sorted(missing))}"
                raise CuratorError(f"{file}: {said}, so it was edited; {MEND}")
        corpus = RenderedCorpus(path)  # compares the rows and all beside them with the manifest
        if corpus.patterns is None or corpus.row_patterns is None or corpus.row_candidates is None:
            raise CuratorError(f"{path}: lacks {' or '.join(SIDECARS)}; {MEND}")
        return Rows(
            path=path,
            manifest=manifest,
            corpus=corpus,
            patterns=corpus.patterns.tolist(),
            row_patterns=corpus.row_patterns,
            row_candidates=corpus.row_candidates,
        )

    @property
    def filling(self) -> Filling:
        """How texts became rows, from the manifest."""
        identity = self.manifest["identity"]
        return Filling(
            width=identity["seq_length"] + 1,
            fill=identity["fill"],
            separator=identity["separator_id"],
            pad=identity["pad_id"],
            seed=identity["seed"],
        )


@dataclass(frozen=True, eq=False)
class Assembled:
    """What `assemble` wrote: rows, tokens of padding and texts per pattern.

    Attributes:
        fingerprint, content: of the rows, as `Corpus.fingerprint` and `Corpus.whole_fingerprint`.
        sidecars: fingerprints of `SIDECARS`.
    """

    fingerprint: str
    content: str
    sidecars: dict[str, str]
    texts: dict[str, int]
    padding: dict[str, int]


def assemble(
    out: Path, parts: Path, tasks: list[Task], mix: Mix, seed: int, generators: Generators, tokenizer: Path
) -> Assembled:
    """Put the taken rows into seeded order and into ``out``; all but the manifest."""
    shards = {task: Shard.open(task.folder(parts)) for task in tasks}
    names = [name for name in mix.weights if name not in mix.dropped]
    patterns, candidates, places = [], [], []
    texts, padding = {}, {}
    keys = list(shards)
    for number, name in enumerate(names):
        own = [(index, shards[task]) for index, task in enumerate(keys) if task.pattern_id == name]
        own.sort(key=lambda pair: keys[pair[0]].start)
        taken = np.array(mix.tried[name].taken, np.int64)  # rising
        counts = np.zeros(2, np.int64)
        for index, shard in own:
            first, last = np.searchsorted(taken, [keys[index].start, keys[index].stop])
            at = np.searchsorted(shard.candidates, taken[first:last])
            places.append(np.stack([np.full(len(at), index), at], 1))
            candidates.append(shard.candidates[at])
            patterns.append(np.full(len(at), number))
            counts += shard.counts[at].sum(0, dtype=np.int64)
        texts[name], padding[name] = int(counts[0]), int(counts[1])
    order = np.random.default_rng(seed).permutation(mix.count)
    place = np.concatenate(places)[order]
    arrays = [shards[key].rows for key in keys]

    def rows() -> Iterator[np.ndarray]:
        for shard, row in place.tolist():
            yield arrays[shard][row]

    of_rows = _write_rows(out, parts / "assembled", rows())
    kind = np.uint16 if len(names) <= 1 << 16 else np.uint32
    row_patterns, row_candidates = (
        np.concatenate(patterns)[order].astype(kind),
        np.concatenate(candidates)[order],
    )
    save_json(out / "patterns.json", names)
    save_array(out / "row_patterns.npy", row_patterns)
    save_array(out / "row_candidates.npy", row_candidates)
    contents = zip(SIDECARS, (names, row_patterns, row_candidates))
    sidecars = {name.split(".")[0]: fingerprint(content) for name, content in contents}
    shutil.copyfile(tokenizer, out / "tokenizer.json")
    _copy_generators(generators, out / "generators")
    return Assembled(*of_rows, sidecars, texts, padding)


def _write_rows(out: Path, folder: Path, rows: Iterator[np.ndarray]) -> tuple[str, str]:
    """Write them aside with mmap-ninja, then move the files into ``out``; their fingerprints."""
    from mmap_ninja import numpy as ninja

    shutil.rmtree(folder, ignore_errors=True)
    ninja.from_generator(folder, rows, batch_size=_WRITE_ROWS)
    corpus = NinjaCorpus(folder)
    written = corpus.fingerprint(), corpus.whole_fingerprint()
    # type.ninja last: it is what makes a folder a corpus
    for file in sorted(folder.iterdir(), key=lambda file: file.name == "type.ninja"):
        flush(file)
        os.replace(file, out / file.name)
    folder.rmdir()
    return written


def _copy_generators(generators: Generators, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for name in [*(entry["file"] for entry in generators.manifest["generators"]), "manifest.json"]:
        shutil.copyfile(generators.path / name, folder / name)
