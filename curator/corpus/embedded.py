"""The embedded corpus: a small, real training set that every machine can build, with known provenance.

Natural rows are windows of the standard library's text (``library.py``). Drill rows repeat: each is made
from a natural row by taking L of its tokens in random order and tiling them to the end of the row, so that
predicting the next token by looking back L places always works after the first period. They are what a
tiny model needs to form induction heads within minutes, and a known truth for attribution to find.
"""

import platform
from pathlib import Path
from typing import Any

import numpy as np

from curator.artifacts.files import load_array, load_json, new_folder, save_array, save_json, save_text
from curator.artifacts.fingerprints import differences
from curator.artifacts.manifests import is_manifest, load_manifest
from curator.corpus import library
from curator.corpus.embedded_rows import EmbeddedSettings, make_drills, natural_rows
from curator.corpus.files import contents, missing
from curator.corpus.npy import NpyCorpus
from curator.corpus.whole import Numbers
from curator.errors import CuratorError

KIND = "embedded corpus"
FORMAT = {"kind": KIND}
LAYOUT = 1
"""Raised when the same settings would give other rows or files."""
CATEGORIES = ("natural", "drill")
REBUILD = "delete the folder and build it again"
PROVENANCE = ("file_ids", "offsets", "category_ids", "drill_lengths")


class EmbeddedCorpus(NpyCorpus):
    """An embedded corpus on disk: ``rows.npy``, one array per provenance field, ``files.json``,
    ``tokenizer.json`` and ``manifest.json``.

    Raises:
        CuratorError: a part is missing, or the rows are not those the manifest was written for.
    """

    format = KIND

    def __init__(self, path: Path):
        self.manifest = _manifest(path)
        super().__init__(path / "rows.npy")
        self.path = path
        self.tokenizer_file = path / "tokenizer.json"
        if not self.tokenizer_file.is_file():
            raise missing(self.tokenizer_file, "the tokenizer of an embedded corpus")
        self.vocab_size = self.manifest["settings"]["vocab_size"]
        self._files: list[str] = load_json(path / "files.json")
        self._provenance = {name: load_array(path / f"{name}.npy") for name in PROVENANCE}
        for name, values in self._provenance.items():
            if values.shape != (len(self),):
                raise CuratorError(
                    f"{path / name}.npy: has shape {values.shape}, but rows.npy has {len(self)} rows; {REBUILD}"
                )
        lists = {"file_ids": ("files.json", self._files), "category_ids": (str(CATEGORIES), CATEGORIES)}
        for name, (place, listed) in lists.items():
            numbers = Numbers(path / f"{name}.npy", "place", place, REBUILD)
            numbers.check_range(self._provenance[name], len(listed))
        self.written = self.manifest
        self.fingerprint()

    def file_of(self, sample: int) -> Path:
        return self.path / "rows.npy"

    def provenance(self, sample: int) -> dict[str, Any]:
        """Of ``sample``: the library file and the token offset (in the whole file's tokens) at which its
        natural row begins, its category, and for drills the period in tokens (0 for natural rows)."""
        self._check_sample(sample)
        file_id, offset, category, drill_length = (int(self._provenance[name][sample]) for name in PROVENANCE)
        return {
            "file": self._files[file_id],
            "offset": offset,
            "category": CATEGORIES[category],
            "drill_length": drill_length,
        }

    def windows_of(self, file: str) -> np.ndarray:
        """The token offsets at which the windows of a library file begin, of which rows were made."""
        if file not in self._files:
            return np.zeros(0, np.int64)
        own = self._provenance["file_ids"] == self._files.index(file)
        return np.asarray(self._provenance["offsets"][own], np.int64)

    def categories(self) -> np.ndarray:
        return np.array(CATEGORIES)[self._provenance["category_ids"]]

    def describe(self) -> dict[str, Any]:
        known = ("settings", "python", "turns")
        return super().describe() | {name: self.manifest[name] for name in known}


def build_embedded(out: Path, settings: EmbeddedSettings) -> EmbeddedCorpus:
    """Write the embedded corpus of these settings to ``out``, or open it when it is already there.

    The folder appears whole or not at all.

    Raises:
        CuratorError: ``out`` holds something else, or a corpus of other settings or another Python.
    """
    import tokenizers

    identity = {"kind": KIND, "layout": LAYOUT, "settings": settings.to_json(), "python": _python()}
    if (corpus := _existing(out, identity)) is not None:
        return corpus
    folder = library.library_folder()
    names = library.library_files(folder)
    tokenizer = library.train_tokenizer(folder, names, settings.vocab_size)
    windows = natural_rows(settings, tokenizer, folder, names)
    rows = windows.rows
    drills, drill_lengths = make_drills(rows, settings)

    try:
        with new_folder(out, replace=False) as temporary:
            save_array(temporary / "rows.npy", rows)
            save_array(temporary / "file_ids.npy", windows.file_ids)
            save_array(temporary / "offsets.npy", windows.offsets)
            save_array(temporary / "category_ids.npy", drills.astype(np.int8))
            save_array(temporary / "drill_lengths.npy", drill_lengths)
            save_json(temporary / "files.json", names)
            save_text(temporary / "tokenizer.json", tokenizer.to_str(pretty=True))
            written = NpyCorpus(temporary / "rows.npy")
            manifest = identity | {
                "fingerprint": written.fingerprint(),
                "content": written.whole_fingerprint(),
                "library_files": len(names),
                "drill_rows": int(drills.sum()),
                "turns": windows.turns,
                "versions": {"numpy": np.__version__, "tokenizers": tokenizers.__version__},
            }
            if windows.turns > 1:
                manifest["note"] = (
                    f"the library holds too little text for {settings.n_samples} rows: it was gone through "
                    f"{windows.turns} times, each time with windows that begin at another offset"
                )
            save_json(temporary / "manifest.json", manifest)
    except OSError:
        if (corpus := _existing(out, identity)) is not None:  # another process was first
            return corpus
        raise
    return EmbeddedCorpus(out)


def is_embedded(path: Path) -> bool:
    """Whether ``path`` is the folder of an embedded corpus."""
    return is_manifest(path / "manifest.json", FORMAT)


def _manifest(path: Path) -> dict[str, Any]:
    if not is_embedded(path):
        raise CuratorError(f"{path}: not an embedded corpus (no manifest.json of kind {KIND!r})")
    return load_manifest(path / "manifest.json", FORMAT, REBUILD, ("settings.vocab_size",))


def _existing(out: Path, identity: dict[str, Any]) -> EmbeddedCorpus | None:
    """The corpus of this identity at ``out``; None where there is nothing yet."""
    if not out.exists():
        return None
    if out.is_dir() and not any(out.iterdir()):
        return None
    if not out.is_dir() or not is_embedded(out):
        what = contents(out) if out.is_dir() else "it is a file"
        raise CuratorError(f"{out}: not an embedded corpus ({what}); choose a folder that does not exist yet")
    there = _manifest(out)
    lines = differences(identity, {name: there.get(name) for name in identity})
    if lines:
        raise CuratorError(
            f"{out}: holds another embedded corpus:\n  "
            + "\n  ".join(lines)
            + "\nChoose another folder, or name this one as the corpus path to use it as it is"
        )
    return EmbeddedCorpus(out)


def _python() -> str:
    return f"{platform.python_implementation()} {platform.python_version()}"
