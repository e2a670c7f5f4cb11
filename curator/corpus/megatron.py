"""GPT-NeoX / Megatron ``.bin`` + ``.idx``, where each document is one training row.

The ``.idx`` is: 9 bytes ``MMIDIDX\\0\\0``; version 1 (uint64); a token dtype code (1 byte); the number of
rows and of document boundaries (uint64 each); then sizes int32, byte pointers int64 and document boundaries
int64; all little-endian. The ``.bin`` is the tokens alone. Pythia's preshuffled Pile is 146,432,000 rows
of 2,049 uint16 tokens, released as byte-wise pieces ``document-00000-of-00020.bin`` to
``document-00020-of-00020.bin`` (the number after ``of`` is that of the last piece: 21 files) beside one
``document.idx``. The pieces are read where they lie; a row may run over two of them.
"""

import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from curator.corpus.base import Corpus
from curator.corpus.files import (
    check_equal_widths,
    check_not_empty,
    check_token_dtype,
    contents,
    missing,
    sidecar_tokenizer,
)
from curator.corpus.neox_maps import training_maps
from curator.corpus.pointed import PointedRows
from curator.errors import CuratorError

MAGIC = b"MMIDIDX\x00\x00"
HEADER = struct.Struct("<9sQBQQ")  # magic, version, dtype code, rows, document boundaries
DTYPES = {1: "u1", 2: "i1", 3: "<i2", 4: "<i4", 5: "<i8", 6: "<f4", 7: "<f8", 8: "<u2"}
SHARD_NAME = re.compile(r"(?P<prefix>.+)-(?P<number>\d{5})-of-(?P<total>\d{5})\.bin")


@dataclass(frozen=True)
class Index:
    """What a ``.idx`` file says: sizes int32 ``[n]`` (tokens) and pointers int64 ``[n]`` (bytes), mapped."""

    dtype: np.dtype
    sizes: np.ndarray
    pointers: np.ndarray


class MegatronCorpus(Corpus):
    """The rows of a ``.bin``, whole or in its released pieces, as its ``.idx`` points to them.

    Args:
        path: the prefix, the ``.bin``, one of its pieces, the ``.idx``, or a folder with exactly one data
            set. Where both the whole ``.bin`` and its pieces are there, the whole file is read.

    Raises:
        CuratorError: a file is missing or cut short, the two do not belong together, or rows differ in width.
    """

    def __init__(self, path: Path):
        self.path = path
        index_file, self.files = locate(path)
        index = read_index(index_file)
        check_not_empty(index_file, len(index.sizes), int(index.sizes[0]) if len(index.sizes) else 0)
        check_token_dtype(index_file, index.dtype)
        check_equal_widths(index_file, index.sizes, _maps_beside(index_file))
        self.dtype, self.row_width = index.dtype, int(index.sizes[0])
        self._length = len(index.sizes)
        self._rows = PointedRows(
            self.files,
            index.pointers,
            self.row_width,
            self.dtype,
            index_file=index_file,
            mend=_mend(self.files),
        )
        if self._rows.total_bytes > self._rows.needed_bytes:
            raise CuratorError(
                f"{self.files[0]}: does not belong to {index_file.name}, which says "
                f"{self._rows.needed_bytes:,} bytes; there are {self._rows.total_bytes:,}. "
                "Fetch or write the pair again"
            )
        self.index_file = index_file
        self.format = "Megatron .bin/.idx" + (f", {len(self.files)} pieces" if len(self.files) > 1 else "")
        self.tokenizer_file = sidecar_tokenizer(index_file.parent)

    def __len__(self) -> int:
        return self._length

    def read_range(self, start: int, stop: int) -> np.ndarray:
        return self._rows.read_range(start, stop)

    def read_samples(self, samples: np.ndarray) -> np.ndarray:
        return self._rows.read_samples(samples)

    def check_index(self) -> None:
        self._rows.check_index()

    def file_of(self, sample: int) -> Path:
        return self._rows.file_of(sample)

    def describe(self) -> dict[str, Any]:
        files = {"index": str(self.index_file), "files": [file.name for file in self.files]}
        return super().describe() | files


def read_index(file: Path) -> Index:
    """Map a ``.idx`` file; its header and length are checked, its entries are not read yet."""
    size = file.stat().st_size
    if size < HEADER.size:
        raise CuratorError(
            f"{file}: cut short: {size} bytes, the header alone has {HEADER.size}; fetch it again"
        )
    with open(file, "rb") as stream:
        magic, version, code, n_rows, n_boundaries = HEADER.unpack(stream.read(HEADER.size))
    if magic != MAGIC:
        raise CuratorError(
            f"{file}: begins with {magic!r}, a Megatron .idx with {MAGIC!r}; "
            "only memory-mapped data sets (NeoX `data_impl: mmap`) can be read"
        )
    if version != 1:
        raise CuratorError(f"{file}: format version {version} at byte 9, only version 1 is known")
    if code not in DTYPES:
        known = ", ".join(f"{key} = {np.dtype(name).name}" for key, name in DTYPES.items())
        raise CuratorError(f"{file}: unknown token dtype code {code} at byte 17; known are {known}")
    expected = HEADER.size + 12 * n_rows + 8 * n_boundaries
    if size != expected:
        fault = "cut short" if size < expected else "too long"
        raise CuratorError(
            f"{file}: {fault}: {n_rows:,} rows and {n_boundaries:,} document boundaries (its header) take "
            f"{expected:,} bytes, the file has {size:,}; fetch it again"
        )
    dtype = np.dtype(DTYPES[code])
    if n_rows == 0:
        return Index(dtype, np.empty(0, np.int32), np.empty(0, np.int64))
    sizes = np.memmap(file, "<i4", mode="r", offset=HEADER.size, shape=(n_rows,))
    pointers = np.memmap(file, "<i8", mode="r", offset=HEADER.size + 4 * n_rows, shape=(n_rows,))
    return Index(dtype, sizes, pointers)


def locate(path: Path) -> tuple[Path, list[Path]]:
    """The ``.idx`` and the ``.bin`` files, in order, that ``path`` stands for."""
    shard = SHARD_NAME.fullmatch(path.name)
    if path.is_dir():
        prefix = _only_prefix(path)
    elif shard:
        prefix = path.with_name(shard["prefix"])
    else:
        prefix = path.with_name(path.name[:-4]) if path.suffix in (".bin", ".idx") else path
    index_file = prefix.with_name(prefix.name + ".idx")
    whole = prefix.with_name(prefix.name + ".bin")
    if path.suffix == ".bin" and not path.is_file():
        raise missing(path, "the tokens of a Megatron data set")
    if not index_file.is_file():
        raise missing(index_file, "the index of the .bin, which is released beside it")
    if whole.is_file() and not shard:
        return index_file, [whole]
    shards = _shards(prefix)
    if not shards:
        raise missing(whole, f"the tokens of {index_file.name}, or pieces {prefix.name}-00000-of-*.bin")
    return index_file, shards


def _only_prefix(folder: Path) -> Path:
    prefixes = {file.name[:-4] for file in folder.glob("*.idx")}
    for file in folder.glob("*.bin"):
        shard = SHARD_NAME.fullmatch(file.name)
        prefixes.add(shard["prefix"] if shard else file.name[:-4])
    if len(prefixes) != 1:
        found = f"{len(prefixes)} ({', '.join(sorted(prefixes))})" if prefixes else "none"
        raise CuratorError(
            f"{folder}: expected exactly one .bin/.idx data set, found {found}; name one; {contents(folder)}"
        )
    return folder / prefixes.pop()


def _shards(prefix: Path) -> list[Path]:
    """The pieces of ``prefix``, in order; numbered to ``total`` (Pythia's releases) or to ``total - 1``."""
    found: dict[int, dict[int, Path]] = {}  # total -> number -> file
    for file in prefix.parent.iterdir():
        match = SHARD_NAME.fullmatch(file.name)
        if match and match["prefix"] == prefix.name:
            found.setdefault(int(match["total"]), {})[int(match["number"])] = file
    if len(found) > 1:
        totals = ", ".join(f"-of-{total:05}" for total in sorted(found))
        raise CuratorError(f"{prefix}: pieces of different splits lie together ({totals}); keep one of them")
    if not found:
        return []
    [(total, files)] = found.items()
    absent = sorted(set(range(max(total, 1))) - set(files))
    if absent:
        names = ", ".join(f"{prefix.name}-{number:05}-of-{total:05}.bin" for number in absent)
        raise CuratorError(
            f"{prefix.parent}: piece {names} is missing; {len(files)} are there; fetch the rest"
        )
    return [files[number] for number in sorted(files)]


def _maps_beside(index_file: Path) -> str:
    """Words that name GPT-NeoX's own maps of this data set, where it has left some."""
    maps = training_maps(index_file.with_name(index_file.name[: -len(".idx")]))
    if not maps:
        return ", or open the ..._shuffle_idx.npy that GPT-NeoX writes beside the data when it trains on them"
    more = f" (or another of {len(maps)} such maps there)" if len(maps) > 1 else ""
    return f", or open the order in which GPT-NeoX trained on these documents: {maps[0]}{more}"


def _mend(files: list[Path]) -> str:
    shard = SHARD_NAME.fullmatch(files[-1].name)
    if not shard or shard["number"] == shard["total"]:
        return "Fetch or copy the file again"
    last = f"{shard['prefix']}-{shard['total']}-of-{shard['total']}.bin"
    return f"Is {last} missing (Pythia's releases count from 00000 to the total), or a piece cut short?"
