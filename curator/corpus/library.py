"""The text of the embedded corpus: the running interpreter's own standard library.

It is on every machine, needs no download, and is real, mixed text: code, prose (docstrings, the pydoc
topics, licences, change logs) and tables (character encodings). Left out is what differs between two
installations of one Python version: installed packages, tests (many systems ship without), bytecode, and
files generated for the machine.
"""

import os
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from curator.errors import CuratorError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SUFFIXES = (".py", ".txt", ".rst", ".html", ".css")
LEFT_OUT_FOLDERS = {
    "site-packages",
    "dist-packages",
    "test",
    "tests",
    "idle_test",
    "__pycache__",
    "lib-dynload",
    "ensurepip",
}
LEFT_OUT_FILES = ("_sysconfigdata", "sitecustomize", "usercustomize", "EXTERNALLY-MANAGED")
TRAINING_BYTES, TRAINING_BYTES_PER_ENTRY, TRAINING_BYTES_PER_FILE = 1_000_000, 256, 32_768
"""The tokenizer reads at least this much text, more for large vocabularies, and only so much of a file."""


def library_folder() -> Path:
    """The standard library of the running interpreter."""
    return Path(sysconfig.get_path("stdlib"))


def library_files(folder: Path) -> list[str]:
    """Paths of its text files relative to ``folder``, with forward slashes, sorted.

    Raises:
        CuratorError: there is none (a zipped library, for instance).
    """
    names = []
    for place, folders, files in os.walk(folder):
        folders[:] = [
            name for name in folders if name not in LEFT_OUT_FOLDERS and not name.startswith("config-")
        ]
        for name in files:
            if name.endswith(SUFFIXES) and not name.startswith(LEFT_OUT_FILES):
                names.append((Path(place) / name).relative_to(folder).as_posix())
    if not names:
        raise CuratorError(
            f"{folder}: this Python's standard library holds no source text ({', '.join(SUFFIXES)}); "
            "run a Python that is installed with its sources"
        )
    return sorted(names)


def read_texts(folder: Path, names: Iterable[str]) -> Iterator[str]:
    """The texts of these files; one that is not UTF-8 counts as empty."""
    for name in names:
        try:
            yield (folder / name).read_bytes().decode("utf-8")
        except UnicodeDecodeError:
            yield ""


def train_tokenizer(folder: Path, names: list[str], vocab_size: int) -> "Tokenizer":
    """A byte-level BPE of exactly ``vocab_size`` entries, without special tokens.

    The files it is trained on are drawn with a fixed seed, so that corpora which differ in their seed
    alone share one tokenizer.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    budget = max(TRAINING_BYTES, TRAINING_BYTES_PER_ENTRY * vocab_size)
    order = np.random.default_rng(0).permutation(len(names))
    texts: list[str] = []
    for text in read_texts(folder, (names[k] for k in order)):
        texts.append(text[:TRAINING_BYTES_PER_FILE])
        budget -= len(texts[-1])
        if budget <= 0:
            break
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=[],
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    if tokenizer.get_vocab_size() != vocab_size:
        raise CuratorError(
            f"{folder}: this Python's standard library gives a vocabulary of at most "
            f"{tokenizer.get_vocab_size()}, {vocab_size} asked for; lower vocab_size"
        )
    return tokenizer
