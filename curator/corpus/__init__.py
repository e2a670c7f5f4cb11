"""The corpus: training tokens in training order, seen as rows of ``seq_length + 1`` tokens.

``open_corpus`` looks at what lies on the disk and picks the reader: ``megatron.py`` (GPT-NeoX
``.bin``/``.idx``, whole or in pieces), ``neox_order.py`` (documents through GPT-NeoX's shuffled index maps),
``neox_blend.py`` (several such data sets by weight), ``npy.py``, ``ninja.py``, ``rendered.py`` (what `synth render`
wrote) or ``embedded.py``, the corpus that is built from the running Python's own standard library. All of them are a
``Corpus`` (``base.py``); ``checks.py`` asks whether one fits a model.
"""

from pathlib import Path

from curator.corpus.base import Corpus
from curator.corpus.checks import check_row_width, check_tokens
from curator.corpus.embedded import EmbeddedCorpus, EmbeddedSettings, build_embedded, is_embedded
from curator.corpus.files import contents, missing
from curator.corpus.megatron import SHARD_NAME, MegatronCorpus
from curator.corpus.neox_blend import NeoxBlendCorpus
from curator.corpus.neox_maps import names_maps
from curator.corpus.neox_order import NeoxOrderCorpus
from curator.corpus.ninja import NinjaCorpus, is_ninja
from curator.corpus.npy import NpyCorpus
from curator.corpus.rendered import RenderedCorpus, is_rendered
from curator.errors import CuratorError

__all__ = [
    "Corpus",
    "EmbeddedCorpus",
    "EmbeddedSettings",
    "NeoxBlendCorpus",
    "NeoxOrderCorpus",
    "build_embedded",
    "check_row_width",
    "check_tokens",
    "open_corpus",
]


def open_corpus(path: str | Path) -> Corpus:
    """Open the corpus at ``path``, whatever its format.

    Args:
        path: an ``.npy`` file; a Megatron prefix, ``.bin``, piece or ``.idx``; one of GPT-NeoX's index maps
            (``…_shuffle_idx.npy``) or their common stem; a blend's ``.json``; an mmap-ninja folder; the folder of an
            embedded corpus; or a folder that holds exactly one ``.bin``/``.idx`` data set or one ``.npy``.

    Raises:
        CuratorError: nothing that can be read is there (the message lists what was looked for and what
            there is), or it is damaged.
    """
    path = Path(path)
    if path.is_dir():
        return _open_folder(path)
    if names_maps(path):
        return NeoxOrderCorpus(path)
    if path.suffix == ".json":
        return NeoxBlendCorpus(path)
    if path.suffix == ".npy":
        return NpyCorpus(path)
    if path.suffix in (".bin", ".idx") or _is_prefix(path):
        return MegatronCorpus(path)
    if path.is_file():
        raise CuratorError(
            f"{path}: not a corpus this tool reads: expected .npy, .bin, .idx or a blend's .json; "
            f"{contents(path.parent)}"
        )
    raise missing(
        path,
        f"an .npy file, a Megatron data set ({path.name}.bin and {path.name}.idx, or pieces "
        f"{path.name}-00000-of-*.bin), an mmap-ninja folder, or an embedded corpus",
    )


def _open_folder(folder: Path) -> Corpus:
    if is_embedded(folder):
        return EmbeddedCorpus(folder)
    if is_rendered(folder):
        return RenderedCorpus(folder)
    if is_ninja(folder):
        return NinjaCorpus(folder)
    if any(folder.glob("*.idx")) or any(folder.glob("*.bin")):
        return MegatronCorpus(folder)  # .npy beside them are NeoX's own maps
    arrays = sorted(folder.glob("*.npy"))
    if len(arrays) == 1:
        return NpyCorpus(arrays[0])
    raise CuratorError(
        f"{folder}: no corpus found; looked for manifest.json of an embedded corpus, dtype.ninja "
        f"(mmap-ninja), one .bin/.idx data set, exactly one .npy (found {len(arrays)}); {contents(folder)}"
    )


def _is_prefix(path: Path) -> bool:
    if path.is_file() or not path.parent.is_dir():
        return False
    if any(path.with_name(path.name + suffix).is_file() for suffix in (".idx", ".bin")):
        return True
    shards = (SHARD_NAME.fullmatch(file.name) for file in path.parent.glob("*.bin"))
    return any(match is not None and match["prefix"] == path.name for match in shards)
