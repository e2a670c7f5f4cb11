"""A run's training rows in GPT-NeoX's own order, through the index maps that it leaves beside its data.

GPT-NeoX lays the documents of ``doc_idx`` end to end, cuts the stream into rows of ``seq_length + 1`` tokens (the last
token of a row is the first of the next), and trains on row ``shuffle_idx[i]`` as sample i. Every supported
generation's ``GPT2Dataset`` delivers exactly these rows: v1.0 and 2.x share their code, and what HEAD adds (padding,
truncation) never touches a packed row.

The length is GPT-NeoX's own: S rows are listed, and its ``__len__`` is ``S - 1``. Its loader takes whole
micro-batches of these alone; a run that needs more starts again at sample 0 (HEAD) or stops (v1.0, 2.x). A blend
(``neox_blend.py``) asks a data set directly, and gets its row S - 1 too, then the others modulo ``S - 1``.

At Pythia's size the maps take gigabytes, so opening looks at some rows spread over them, every row that is read is
checked as it is read, and `check_index` reads all of the maps before long work.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from curator.corpus.base import Corpus
from curator.corpus.files import check_not_empty, check_token_dtype, sidecar_tokenizer
from curator.corpus.megatron import locate, read_index
from curator.corpus.neox_maps import open_maps, read_names
from curator.corpus.stream import ByteStream
from curator.corpus.whole import Numbers, check_apart, check_equally_often, check_permutation, shown
from curator.errors import CuratorError

PROBED_ROWS = 1 << 16
"""Maps of up to this many rows are checked whole at opening; of larger ones, this many rows."""
PROBED_BLOCKS = 256
CHECKED_ROWS = 1 << 18
"""Rows taken apart at a time when all are checked."""
REBUILD = "delete the three maps, and GPT-NeoX builds them again"
REFETCH = f"fetch the maps again, or {REBUILD}"


@dataclass(frozen=True)
class Stretches:
    """The stretches of documents that rows are made of, in order.

    Attributes:
        documents: int64 ``[n]``, numbers in the ``.idx``; begin: int64 ``[n]``, token within the document.
        lengths: int64 ``[n]``, tokens.
    """

    documents: np.ndarray
    begin: np.ndarray
    lengths: np.ndarray


class NeoxOrderCorpus(Corpus):
    """Row i is what GPT-NeoX trains on as sample i.

    Args:
        path: ``…_shuffle_idx.npy``, one of the other two maps, or the stem that the three share. The data and the other
            maps are found by its name.

    Raises:
        CuratorError: a file is missing or cut short, the maps and the data do not belong together, or the packing is
            not ``packed``.
    """

    format = "GPT-NeoX training order (index maps)"

    neox_order = True

    def __init__(self, path: Path):
        self.path = path
        self.names = read_names(path)
        self._maps = open_maps(self.names)
        prefix = self.names.prefix
        self.index_file, self.files = locate(prefix.with_name(prefix.name + ".idx"))
        index = read_index(self.index_file)
        check_token_dtype(self.index_file, index.dtype)
        self.dtype, self.row_width = index.dtype, self.names.seq_length + 1
        check_not_empty(self.index_file, len(index.sizes), self.row_width)
        self._sizes, self._pointers = np.asarray(index.sizes), np.asarray(index.pointers)
        self._stream = ByteStream(self.files)
        self.tokenizer_file = sidecar_tokenizer(self.index_file.parent)
        self._check_extent()
        self._check_rows()

    def __len__(self) -> int:
        return self.listed - 1

    @property
    def listed(self) -> int:
        """Rows S that the maps list, one more than GPT-NeoX's ``__len__``."""
        return len(self._maps.shuffle_idx)

    def read_range(self, start: int, stop: int) -> np.ndarray:
        return self.read_samples(np.arange(start, stop))

    def read_samples(self, samples: np.ndarray) -> np.ndarray:
        if len(samples) == 0:
            return np.empty((0, self.row_width), self.dtype)
        stretches = self._stretches(self._row_numbers(samples))
        unit = self.dtype.itemsize
        starts = self._pointers[stretches.documents] + stretches.begin * unit
        self._check_bytes(starts, stretches)
        data = self._stream.gather(starts, stretches.lengths * unit)
        return data.view(self.dtype).reshape(len(samples), self.row_width)

    def check_index(self) -> None:
        """Refuse maps by which one row or document is trained on more often than another, or that are of other data."""
        documents = Numbers(self.index_file, "document", self.files[0].name, "fetch or write the pair again")
        check_apart(documents, self._pointers, self._sizes, self.dtype.itemsize)
        check_permutation(self._row_entries, self._maps.shuffle_idx)
        check_equally_often(self._document_entries, self._maps.doc_idx, len(self._sizes))
        with shown(f"checking {self.names.file('sample_idx').name}", self.listed) as advance:
            for start in range(0, self.listed, CHECKED_ROWS):
                stop = min(start + CHECKED_ROWS, self.listed)
                if not self._in_line(start, stop):
                    self._stretches(np.arange(start, stop))  # says which row, and why
                advance(stop - start)

    def _in_line(self, start: int, stop: int) -> bool:
        """Whether rows ``start`` to ``stop - 1`` follow each other as they must, told from sums of document lengths."""
        begins = self._maps.sample_idx[start : stop + 1].astype(np.int64)
        entry, offset = begins[:, 0] - begins[0, 0], begins[:, 1]
        if begins[0, 0] < 0 or (entry[1:] < entry[:-1]).any() or begins[-1, 0] >= len(self._maps.doc_idx):
            return False
        lengths = self._sizes[self._maps.doc_idx[begins[0, 0] : begins[-1, 0] + 1]].astype(np.int64)
        place = (np.cumsum(lengths) - lengths)[entry] + offset
        inside = (offset >= 0) & (offset < lengths[entry])
        return bool(inside.all() and (np.diff(place) == self.row_width - 1).all())

    def file_of(self, sample: int) -> Path:
        first = self._stretches(self._row_numbers(np.array([sample])))
        return self._stream.file_of(
            int(self._pointers[first.documents[0]]) + int(first.begin[0]) * self.dtype.itemsize
        )

    def provenance(self, sample: int) -> dict[str, Any]:
        """The document (its number in the ``.idx``) and the token in it at which ``sample`` begins, and over how many
        documents it runs."""
        self._check_sample(sample)
        return self.begins_in(sample)

    def begins_in(self, sample: int) -> dict[str, Any]:
        """`provenance` of a sample of 0 to ``listed - 1``."""
        stretches = self._stretches(self._row_numbers(np.array([sample])))
        return {
            "document": int(stretches.documents[0]),
            "offset": int(stretches.begin[0]),
            "documents": len(stretches.documents),
        }

    def describe(self) -> dict[str, Any]:
        order = self._maps.doc_idx
        first, last = int(order.min()), int(order.max())
        return super().describe() | {
            "split": self.names.split,
            "seed": self.names.seed,
            "samples_asked_for": self.names.asked,
            "documents": f"{first:,} to {last:,} of {len(self._sizes):,}",
            "epochs": round(len(order) / (last - first + 1), 2),
            "maps": str(self.names.stem),
            "index": str(self.index_file),
            "files": [file.name for file in self.files],
        }

    @property
    def _row_entries(self) -> Numbers:
        return Numbers(self.names.file("shuffle_idx"), "row", self.names.file("sample_idx").name, REFETCH)

    @property
    def _document_entries(self) -> Numbers:
        mend = f"the maps were made for other data, or cut up: {REFETCH}"
        return Numbers(self.names.file("doc_idx"), "document", self.index_file.name, mend)

    def _row_numbers(self, samples: np.ndarray) -> np.ndarray:
        rows: np.ndarray = self._maps.shuffle_idx[samples].astype(np.int64)
        self._row_entries.check_range(rows, self.listed, samples)
        return rows

    def _stretches(self, rows: np.ndarray) -> Stretches:
        """What these rows of ``sample_idx`` are made of; every number is checked against the ``.idx``."""
        begins = self._maps.sample_idx[rows].astype(np.int64)
        ends = self._maps.sample_idx[rows + 1].astype(np.int64)
        entries = len(self._maps.doc_idx)
        wrong = (begins < 0).any(1) | (ends[:, 0] < begins[:, 0]) | (ends[:, 0] >= entries) | (ends[:, 1] < 0)
        if wrong.any():
            row = int(np.argmax(wrong))
            raise CuratorError(
                f"{self.names.file('sample_idx')}: row {rows[row]} runs from {begins[row].tolist()} to "
                f"{ends[row].tolist()} (entry, token), but {self.names.file('doc_idx').name} has entries 0 to "
                f"{entries - 1:,}, in order; {REBUILD}"
            )
        counts = ends[:, 0] - begins[:, 0] + 1
        after = np.cumsum(counts)
        row_of = np.repeat(np.arange(len(rows)), counts)
        entry = begins[row_of, 0] + np.arange(int(after[-1])) - (after - counts)[row_of]
        documents = self._documents(entry)
        begin = np.zeros(len(entry), np.int64)
        end = self._sizes[documents].astype(np.int64)
        begin[after - counts] = begins[:, 1]
        last = after - 1
        self._check_offsets(rows, documents, begins, ends, after - counts, last, end)
        end[last] = ends[:, 1] + 1
        lengths = end - begin
        self._check_widths(rows, np.add.reduceat(lengths, after - counts))
        return Stretches(documents, begin, lengths)

    def _documents(self, entry: np.ndarray) -> np.ndarray:
        documents: np.ndarray = self._maps.doc_idx[entry].astype(np.int64)
        self._document_entries.check_range(documents, len(self._sizes), entry)
        return documents

    def _check_offsets(
        self,
        rows: np.ndarray,
        documents: np.ndarray,
        begins: np.ndarray,
        ends: np.ndarray,
        first: np.ndarray,
        last: np.ndarray,
        sizes: np.ndarray,
    ) -> None:
        """Rows must begin and end within their documents; ``first`` and ``last`` are their stretches."""
        for words, at, offset in (("begins", first, begins[:, 1]), ("ends", last, ends[:, 1])):
            wrong = np.flatnonzero(offset >= sizes[at])
            if wrong.size:
                row = int(wrong[0])
                raise CuratorError(
                    f"{self.names.file('sample_idx')}: row {rows[row]} {words} at token {offset[row]} of document "
                    f"{documents[at[row]]}, which has {sizes[at[row]]} tokens in {self.index_file.name}; the maps "
                    f"were made for other data: {REBUILD}"
                )

    def _check_widths(self, rows: np.ndarray, widths: np.ndarray) -> None:
        wrong = np.flatnonzero(widths != self.row_width)
        if wrong.size:
            raise CuratorError(
                f"{self.names.file('sample_idx')}: row {rows[wrong[0]]} takes {widths[wrong[0]]} tokens of "
                f"{self.index_file.name}, but its name says {self.names.seq_length}sl, rows of {self.row_width}; "
                f"the maps were renamed, or made for other data: {REBUILD}"
            )

    def _check_extent(self) -> None:
        """The documents of the ``.idx`` must lie in the ``.bin``, and end where it ends (written in order)."""
        unit, total = self.dtype.itemsize, self._stream.total
        needed = int(self._pointers[-1]) + int(self._sizes[-1]) * unit
        if needed > total:
            document = int(np.argmax(self._pointers + self._sizes.astype(np.int64) * unit > total))
            raise CuratorError(
                f"{self.files[-1]}: cut short: {self.index_file.name} says {needed:,} bytes, there are {total:,}; "
                f"document {document} is the first that is cut. Fetch or copy the file again"
            )
        if needed < total:
            raise CuratorError(
                f"{self.files[-1]}: does not belong to {self.index_file.name}, which says {needed:,} bytes; there "
                f"are {total:,}. Fetch or write the pair again"
            )

    def _check_bytes(self, starts: np.ndarray, stretches: Stretches) -> None:
        ends = starts + stretches.lengths * self.dtype.itemsize
        wrong = np.flatnonzero((starts < 0) | (ends > self._stream.total))
        if wrong.size:
            at = int(wrong[0])
            raise CuratorError(
                f"{self.index_file}: document {stretches.documents[at]} lies at bytes {starts[at]:,} to {ends[at]:,}, "
                f"but the .bin has {self._stream.total:,}; fetch or write the pair again"
            )

    def _check_rows(self) -> None:
        """Check small maps whole, and look at evenly spaced blocks of large ones, without their tokens."""
        size = self.listed if self.listed <= PROBED_ROWS else PROBED_ROWS // PROBED_BLOCKS
        starts = np.linspace(0, self.listed - size, 1 if size == self.listed else PROBED_BLOCKS).astype(int)
        for start in starts.tolist():
            self._stretches(np.arange(start, start + size))
        places = (starts[:, None] + np.arange(size)).reshape(-1)
        rows = self._row_numbers(places)
        if size == self.listed:
            self.check_index()
            return
        order = np.argsort(rows, kind="stable")
        again = np.flatnonzero(rows[order[1:]] == rows[order[:-1]])
        if again.size:
            first, second = order[again[0] : again[0] + 2]
            raise self._row_entries.repeated(int(places[second]), int(places[first]), int(rows[first]))
