"""GPT-NeoX's index maps: three ``.npy`` files that say in which order it trains on documents.

Beside its data (``PREFIX.bin``, ``PREFIX.idx``) GPT-NeoX leaves, for each data set of a run,
``PREFIX_{split}_indexmap_{N}ns_{L}sl_{SEED}s{packing}_{map}.npy``. ``split`` is ``train`` (one ``data-path`` with
``split``) or ``train_0``, ``train_1``, … (``train-data-paths``), and likewise ``valid`` and ``test``; N is how many
samples were asked for (``None`` where a recent version trained by ``train-epochs``); ``packing`` is absent in v1.0
and 2.x and ``_packedpi_ac`` or ``_packedpi`` since. The maps are

* ``doc_idx`` int32 ``[epochs * documents]``: the documents in the order in which they are laid end to end;
* ``sample_idx`` int32 or int64 ``[S + 1, 2]``: where each row begins, as an entry of ``doc_idx`` and a token within
  that document; the next row begins at this row's last token;
* ``shuffle_idx`` uint32 or int64 ``[S]``: which row each training sample is.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from curator.artifacts.files import load_array
from curator.corpus.files import missing
from curator.errors import CuratorError

KINDS = ("doc_idx", "sample_idx", "shuffle_idx")
STEM = re.compile(
    r"(?P<prefix>.+)_(?P<split>(?:train|valid|test)(?:_\d+)?)_indexmap_(?P<asked>\d+|None)ns"
    r"_(?P<seq_length>\d+)sl_(?P<seed>\d+)s(?:_(?P<packing>[a-z_]+?)pi)?(?:_ac)?"
)
SUFFIX = re.compile(rf"_({'|'.join(KINDS)})\.npy$")
PATTERN = "PREFIX_train_0_indexmap_{N}ns_{L}sl_{SEED}s[_packedpi][_ac]_shuffle_idx.npy"


@dataclass(frozen=True)
class MapNames:
    """What the name of a set of index maps says.

    Attributes:
        stem: path that the three maps share; prefix: of the ``.bin`` and ``.idx``.
        split: ``train``, ``train_0``, ``valid_1``, ….
        asked: samples that GPT-NeoX was asked for, where the name says.
        seq_length: tokens in a row, less one; seed: of the order.
    """

    stem: Path
    prefix: Path
    split: str
    asked: int | None
    seq_length: int
    seed: int

    def file(self, kind: str) -> Path:
        """The map of this kind."""
        return self.stem.with_name(f"{self.stem.name}_{kind}.npy")


@dataclass(frozen=True)
class Maps:
    """The three maps, memory-mapped: ``doc_idx`` [d], ``sample_idx`` [S + 1, 2], ``shuffle_idx`` [S]."""

    doc_idx: np.ndarray
    sample_idx: np.ndarray
    shuffle_idx: np.ndarray


def names_maps(path: Path) -> bool:
    """Whether ``path`` is that of an index map, or the stem that three of them share."""
    if path.name.endswith("_shuffle_idx.npy"):
        return True
    return STEM.fullmatch(SUFFIX.sub("", path.name)) is not None and not path.is_dir()


def read_names(path: Path) -> MapNames:
    """Take the name of a map, or of the stem, apart.

    Raises:
        CuratorError: it is not GPT-NeoX's kind of name, or its packing is not ``packed``.
    """
    stem = path.with_name(SUFFIX.sub("", path.name))
    match = STEM.fullmatch(stem.name)
    if match is None:
        raise CuratorError(
            f"{path}: not a name that GPT-NeoX gives its index maps, which is {PATTERN}; keep the name that the "
            "trainer gave: the data and the other two maps are found by it"
        )
    if match["packing"] not in (None, "packed"):
        raise CuratorError(
            f"{path}: maps of packing '{match['packing']}'; its rows are cut and padded by other rules. "
            "Only maps of `pack_impl: packed`, GPT-NeoX's default, can be read"
        )
    return MapNames(
        stem=stem,
        prefix=stem.with_name(match["prefix"]),
        split=match["split"],
        asked=None if match["asked"] == "None" else int(match["asked"]),
        seq_length=int(match["seq_length"]),
        seed=int(match["seed"]),
    )


def open_maps(names: MapNames) -> Maps:
    """Map the three files and check what their headers say.

    Raises:
        CuratorError: one is missing, cut short or no such array, or they do not belong together.
    """
    for kind in KINDS:
        if not names.file(kind).is_file():
            raise missing(names.file(kind), f"one of GPT-NeoX's three index maps ({', '.join(KINDS)})")
    maps = Maps(*(np.asarray(load_array(names.file(kind))) for kind in KINDS))
    shapes = {"doc_idx": "[entries]", "sample_idx": "[rows + 1, 2]", "shuffle_idx": "[rows]"}
    for kind, words in shapes.items():
        array = getattr(maps, kind)
        fits = array.ndim == 2 and array.shape[1] == 2 if kind == "sample_idx" else array.ndim == 1
        if not fits or not np.issubdtype(array.dtype, np.integer):
            raise CuratorError(
                f"{names.file(kind)}: holds {array.dtype} of shape {array.shape}; GPT-NeoX writes integers {words}"
            )
    rows, begins = len(maps.shuffle_idx), len(maps.sample_idx)
    if begins != rows + 1:
        raise CuratorError(
            f"{names.file('shuffle_idx')}: orders {rows:,} rows, but {names.file('sample_idx').name} has "
            f"{begins:,} entries, which are {begins - 1:,} rows (one entry more than rows); they are not of one "
            "run: delete the maps, and GPT-NeoX builds them again"
        )
    if rows < 2:
        raise CuratorError(
            f"{names.file('shuffle_idx')}: {rows} rows; GPT-NeoX trains on one fewer than it lists, "
            "so nothing is left; give it more data"
        )
    if names.asked is not None and rows < names.asked:
        raise CuratorError(
            f"{names.file('shuffle_idx')}: orders {rows:,} rows, but its name says that {names.asked:,} were asked "
            f"for ({names.asked}ns); were the maps renamed? Delete them, and GPT-NeoX builds them again"
        )
    return maps


def training_maps(prefix: Path) -> list[Path]:
    """The ``shuffle_idx`` maps of training data that lie beside the data set ``prefix``."""
    found = sorted(prefix.parent.glob("*_shuffle_idx.npy"))
    matches = ((file, STEM.fullmatch(SUFFIX.sub("", file.name))) for file in found)
    return [
        file
        for file, match in matches
        if match and match["prefix"] == prefix.name and match["split"].startswith("train")
    ]
