"""A data set and its three index maps as GPT-NeoX would write them, with the rows that they stand for.

The oracle lays the documents end to end and cuts rows out of the stream; it shares nothing with the reader.
"""

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from curator.corpus import open_corpus
from curator.corpus.neox_blend import Part
from curator.errors import CuratorError

CODES = {"uint16": 8, "int32": 4}
SEQ = 8


@dataclass
class Laid:
    """A data set with its maps: ``rows`` is the oracle, all S of them in training order."""

    folder: Path
    prefix: Path
    stem: str
    rows: np.ndarray

    def map(self, kind: str = "shuffle_idx") -> Path:
        return self.folder / f"{self.stem}_{kind}.npy"


def write_data(prefix: Path, documents: list[np.ndarray], dtype: str = "uint16") -> None:
    sizes = [len(document) for document in documents]
    pointers = np.concatenate([[0], np.cumsum(sizes)[:-1]]) * np.dtype(dtype).itemsize
    index = b"MMIDIDX\x00\x00" + struct.pack("<QBQQ", 1, CODES[dtype], len(sizes), len(sizes) + 1)
    index += np.array(sizes, "<i4").tobytes() + pointers.astype("<i8").tobytes()
    prefix.with_name(prefix.name + ".idx").write_bytes(
        index + np.arange(len(sizes) + 1, dtype="<i8").tobytes()
    )
    prefix.with_name(prefix.name + ".bin").write_bytes(np.concatenate(documents).astype(dtype).tobytes())


def lay(
    folder: Path,
    sizes: list[int],
    *,
    name: str = "pile_0.87",
    seq: int = SEQ,
    epochs: int = 2,
    seed: int = 0,
    split: str = "train_0",
    packing: str = "_packedpi_ac",
    asked: int | str | None = None,
    types: tuple[str, str] = ("int32", "uint32"),
    dtype: str = "uint16",
    documents: list[np.ndarray] | None = None,
) -> Laid:
    """A data set of documents of these sizes, ``epochs`` times over; types of sample_idx and shuffle_idx.

    ``documents`` are those of a data set that lies there already, under this ``name``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    if documents is None:
        documents = [rng.integers(0, 60000, size) for size in sizes]
        write_data(folder / name, documents, dtype)
    order = rng.permutation(np.tile(np.arange(len(sizes)), epochs)).astype(np.int32)
    stream = [(entry, token) for entry, number in enumerate(order) for token in range(sizes[number])]
    count = (len(stream) - 1) // seq
    begins = np.array([stream[row * seq] for row in range(count + 1)])
    shuffled = rng.permutation(count)
    asked = count if asked is None else asked
    laid = Laid(
        folder, folder / name, f"{name}_{split}_indexmap_{asked}ns_{seq}sl_{seed}s{packing}", np.empty(0)
    )
    np.save(laid.map("doc_idx"), order)
    np.save(laid.map("sample_idx"), begins.astype(types[0]))
    np.save(laid.map("shuffle_idx"), shuffled.astype(types[1]))
    tokens = np.array([documents[order[entry]][token] for entry, token in stream])
    laid.rows = np.array([tokens[row * seq : row * seq + seq + 1] for row in shuffled])
    return laid


def data_set(folder: Path, rows: np.ndarray, sound: bool = False) -> Path:
    """These rows as ``data.bin`` and ``data.idx``, whose row 30 is row 0 unless it shall be sound."""
    folder.mkdir(parents=True, exist_ok=True)
    write_data(folder / "data", list(rows))
    index = np.frombuffer((folder / "data.idx").read_bytes(), np.uint8).copy()
    if not sound:
        index[34 + 4 * len(rows) :][: 8 * len(rows)].view("<i8")[30] = 0
    (folder / "data.idx").write_bytes(index.tobytes())
    assert len(open_corpus(folder / "data")) == len(rows)
    return folder / "data"


SIZES = [3, 20, 1, 8, 9, 1, 1, 40, 7, 2]


def refusal(path: Path) -> str:
    with pytest.raises(CuratorError) as caught:
        open_corpus(path)
    return str(caught.value)


def two_parts(folder: Path) -> list[Part]:
    first = lay(folder / "a", SIZES, epochs=4)
    second = lay(folder / "b", [5, 6, 30], name="wiki", seed=1, split="train_1", dtype="int32", epochs=1)
    return [Part(maps=first.map(), weight=0.7), Part(maps=second.map(), weight=0.3)]
