"""Several data sets blended by weight, as GPT-NeoX trains on ``train-data-paths`` with ``train-data-weights``.

A small JSON file names the index maps of every part and its weight, in the order of the configuration::

    {"format": "curator-neox-blend", "version": 1, "samples": N,
     "parts": [{"maps": "…_shuffle_idx.npy", "weight": 0.7}, …]}

Relative paths are relative to it. ``blend_choices.py`` says which part every sample comes from; the choices are made
at the first read and kept beside the file (``blend-choices-….npy``). One part alone is its own order.

Weights are those of the configuration; where ``weight_by_num_documents`` is set, those that GPT-NeoX computed from it.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from curator.artifacts.fields import Count, NotNegative
from curator.artifacts.files import load_json, save_json
from curator.artifacts.schema import GivenPath, Many, Settings, Source, convert
from curator.corpus.base import Corpus
from curator.corpus.blend_choices import Choices, check_kept, effective_weights, load_or_choose
from curator.corpus.files import missing, sidecar_tokenizer
from curator.corpus.neox_order import NeoxOrderCorpus
from curator.errors import CuratorError

MOST_PARTS = 254
"""GPT-NeoX asserts fewer than 255 data sets."""


class Part(Settings):
    """One data set of a blend: its index maps (the ``…_shuffle_idx.npy``), and its weight, of any scale."""

    maps: GivenPath
    weight: NotNegative


class Blend(Settings):
    """What a blend's JSON file says."""

    format: Literal["curator-neox-blend"]
    version: Literal[1]
    samples: Count
    parts: Many[Part]

    def check(self) -> None:
        """Parts that can be drawn from."""
        if not 1 <= len(self.parts) <= MOST_PARTS:
            raise ValueError(f"{len(self.parts)} parts; a blend has 1 to {MOST_PARTS}")
        if sum(part.weight for part in self.parts) <= 0:
            raise ValueError("the weights of all parts are 0; at least one must be more")


class NeoxBlendCorpus(Corpus):
    """Row i is what GPT-NeoX trains on as sample i of a blend.

    Args:
        path: the blend's JSON file; blend: what it says, where it is not written yet.

    Raises:
        CuratorError: the file says something else, a part cannot be opened, parts differ in row width, or the blend is
            longer than its parts together (GPT-NeoX's ends there).
    """

    format = "GPT-NeoX training order (blend of index maps)"

    neox_order = True

    def __init__(self, path: Path, blend: Blend | None = None):
        if blend is None and not path.is_file():
            raise missing(path, "a blend of index maps (curator corpus blend writes it)")
        self.path = path
        self.blend: Blend = blend or convert(load_json(path), Blend, Source(path))
        self.parts = [NeoxOrderCorpus(part.maps) for part in self.blend.parts]
        self.weights = effective_weights([part.weight for part in self.blend.parts])
        self.row_width = self.parts[0].row_width
        for part in self.parts[1:]:
            if part.row_width != self.row_width:
                raise CuratorError(
                    f"{path}: parts differ in row width: {self.parts[0].path.name} has rows of {self.row_width} "
                    f"tokens, {part.path.name} of {part.row_width}; take the maps of one run"
                )
        held = sum(len(part) for part in self.parts)
        if self.blend.samples > held:
            raise CuratorError(
                f"{path}: samples: {self.blend.samples:,}, but the parts hold "
                f"{' + '.join(f'{len(part):,}' for part in self.parts)} = {held:,}, where GPT-NeoX's blend ends; "
                "set samples to train-iters times the batch size of the run"
            )
        self.dtype = np.result_type(*(part.dtype for part in self.parts))
        tokenizers = {part.tokenizer_file for part in self.parts}
        self.tokenizer_file = sidecar_tokenizer(path.parent) or (
            tokenizers.pop() if len(tokenizers) == 1 else None
        )
        self._choices: Choices | None = None

    def __len__(self) -> int:
        return self.blend.samples

    def read_range(self, start: int, stop: int) -> np.ndarray:
        if len(self.parts) == 1:
            return self.parts[0].read_range(start, stop)
        return self._read(*self._delivered(*self.choices().span(start, stop)))

    def read_samples(self, samples: np.ndarray) -> np.ndarray:
        return self._read(*self.chosen(samples))

    def chosen(self, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of these samples, the part (0-based, in the order of the file) and the sample of it: int64 ``[n]`` each.

        Where the blend asks a part for more than its ``len``, GPT-NeoX delivers the row that ``len`` leaves out,
        and then the part again, modulo its ``len``.
        """
        if len(self.parts) == 1:
            return np.zeros(len(samples), np.int64), samples
        return self._delivered(*self.choices().lookup(samples))

    def choices(self) -> Choices:
        """The choices of all samples: read from beside the file, or made and written there."""
        if self._choices is None:
            self._choices = load_or_choose(self.path, self.weights, len(self))
        return self._choices

    def check_index(self) -> None:
        """Of every part, and whether the choices that are kept beside the file are those of its weights."""
        for part in self.parts:
            part.check_index()
        if len(self.parts) > 1:
            check_kept(self.path, self.weights, self.choices())

    def file_of(self, sample: int) -> Path:
        part, own = self._one(sample)
        return part.file_of(own)

    def provenance(self, sample: int) -> dict[str, Any]:
        """The data set, and the document of it at which ``sample`` begins."""
        self._check_sample(sample)
        part, own = self._one(sample)
        return {"data set": part.names.prefix.name, **part.begins_in(own)}

    def describe(self) -> dict[str, Any]:
        return super().describe() | {
            "parts": "; ".join(
                f"{weight:.6g} {part.names.stem}" for weight, part in zip(self.weights.tolist(), self.parts)
            )
        }

    def _one(self, sample: int) -> tuple[NeoxOrderCorpus, int]:
        part, own = self.chosen(np.array([sample]))
        return self.parts[int(part[0])], int(own[0])

    def _delivered(self, part: np.ndarray, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        listed = np.array([corpus.listed for corpus in self.parts])[part]
        return part, np.where(index < listed, index, index % (listed - 1))

    def _read(self, part: np.ndarray, own: np.ndarray) -> np.ndarray:
        out = np.empty((len(part), self.row_width), self.dtype)
        for number in np.unique(part).tolist():
            here = part == number
            out[here] = self.parts[number].read_samples(own[here])
        return out


def write_blend(out: Path, parts: Sequence[Part], samples: int) -> NeoxBlendCorpus:
    """Write the JSON file ``out``, make the choices beside it, and open it.

    Relative paths of maps are those of the working directory; in the file they are relative to it.

    Raises:
        CuratorError: ``out`` holds another blend already, or the blend cannot be opened.
    """
    if out.suffix != ".json":
        raise CuratorError(f"{out}: a blend is a .json file; name it {out.with_suffix('.json').name}")
    named = [{"maps": _named(part.maps, out), "weight": part.weight} for part in parts]
    blend = {"format": "curator-neox-blend", "version": 1, "samples": samples, "parts": named}
    if out.exists() and load_json(out) != blend:
        raise CuratorError(f"{out}: holds something else already; delete it or choose another name")
    corpus = NeoxBlendCorpus(out, convert(blend, Blend, Source(out)))
    for part in corpus.parts:
        part.check_index()
    save_json(out, blend)
    if len(corpus.parts) > 1:
        corpus.choices()
    return corpus


def _named(maps: Path, out: Path) -> str:
    return str(maps) if maps.is_absolute() else os.path.relpath(maps, out.parent)
