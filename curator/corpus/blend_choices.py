"""From which data set a blend takes every sample: GPT-NeoX's greedy rule, bit for bit, computed side by side.

Sample i goes to the data set that is furthest behind its share, ``argmax_k w_k max(i, 1) - n_k`` in float64, where
``n_k`` counts what k has got; of equals, the first. It then takes that data set's sample ``n_k``. So the choices
of a longer blend begin with those of a shorter one.

The rule is sequential, one step per sample. But from nearly the right counts it runs into the right ones within few
steps, so many *lanes* start at guessed counts, spread over the samples, and step side by side; a lane whose
start is not where its predecessor ended is run again from there. What remains is exact whatever the guesses were.

The arithmetic is that of GPT-NeoX's helper as its Makefile compiles it on x86-64: the product is rounded, then the
count is taken away. A compiler that fuses the two (as gcc does on ARM) may decide ties another way.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from curator.artifacts.files import load_array, save_array
from curator.artifacts.fingerprints import fingerprint
from curator.errors import CuratorError

RULE = 1
"""Goes up when choices change, so that cached ones are not used."""
LANES, STEPS, WARM_UP = 4096, 4096, 256
BLOCK = 1024
"""Counts are kept before every so many choices."""
LOOKED_UP = 4096
"""Samples looked up at a time."""


def effective_weights(weights: Sequence[float]) -> np.ndarray:
    """float64 ``[parts]``: weights as GPT-NeoX's blend uses them, normalised twice.

    First in plain Python (its configuration), then by numpy (its BlendableDataset). The plain sum adds from left to
    right, as Python does before 3.12. The weights that ``weight_by_num_documents`` computes go through the same.
    """
    total = 0.0
    for weight in weights:
        total += weight
    array = np.array([weight / total for weight in weights], np.float64)
    return array / np.sum(array)


@dataclass(frozen=True)
class Choices:
    """The choices of a blend.

    Attributes:
        choices: uint8 ``[samples]``, the part of every sample.
        counts: int64 ``[blocks, parts]``, how often each part was chosen before each block of ``BLOCK`` samples.
    """

    choices: np.ndarray
    counts: np.ndarray

    def span(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """(part, index within the part), int64 ``[stop - start]`` each, of consecutive samples."""
        block = start // BLOCK
        chosen = self.choices[block * BLOCK : stop]
        index = np.empty(len(chosen), np.int64)
        for part in np.unique(chosen).tolist():
            here = np.flatnonzero(chosen == part)
            index[here] = self.counts[block, part] + np.arange(len(here))
        skipped = start - block * BLOCK
        return chosen[skipped:].astype(np.int64), index[skipped:]

    def lookup(self, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(part, index within the part), int64 ``[n]`` each, of any samples."""
        part = self.choices[samples].astype(np.int64)
        index = np.empty(len(samples), np.int64)
        for first in range(0, len(samples), LOOKED_UP):
            here = slice(first, first + LOOKED_UP)
            wanted, block = part[here, None], samples[here] // BLOCK
            place = block[:, None] * BLOCK + np.arange(BLOCK)
            before = self.choices[np.minimum(place, len(self.choices) - 1)] == wanted
            before &= place < samples[here, None]
            index[here] = self.counts[block, part[here]] + before.sum(1)
        return part, index


def choose(weights: np.ndarray, samples: int) -> Choices:
    """The first ``samples`` choices of a blend with these `effective_weights`."""
    choices = np.empty(samples, np.uint8)
    counts = np.zeros(len(weights))
    first = 0
    while first < samples:
        left = samples - first
        lanes = min(max(left // BLOCK, 1), LANES)
        steps = min(-(-left // lanes), STEPS)
        picked = _side_by_side(weights, first, counts, lanes, steps)[:left]
        choices[first : first + len(picked)] = picked
        counts += np.bincount(picked, minlength=len(weights))
        first += len(picked)
    return Choices(choices, _block_counts(choices, len(weights)))


def load_or_choose(beside: Path, weights: np.ndarray, samples: int) -> Choices:
    """`choose`, kept beside the file ``beside`` under a name that is the fingerprint of what made it.

    What is there is taken as it is, if it can be of these weights; `check_kept` makes sure.
    """
    files = _files(beside, weights, samples)
    blocks = -(-samples // BLOCK)
    try:
        kept = Choices(*(np.asarray(load_array(file)) for file in files))
    except CuratorError:  # not there yet, or cut short by a copy
        kept = None
    if (
        kept
        and (kept.choices.shape, kept.counts.shape) == ((samples,), (blocks, len(weights)))
        and (kept.choices.dtype.name, kept.counts.dtype.name) == ("uint8", "int64")
        and kept.choices.max() < len(weights)
    ):
        return kept
    made = choose(weights, samples)
    try:
        for file, array in zip(files, (made.choices, made.counts)):
            save_array(file, array)
    except OSError:  # a folder that cannot be written to costs the time again, and nothing else
        pass
    return made


def check_kept(beside: Path, weights: np.ndarray, kept: Choices) -> None:
    """Make the choices again and compare; about as long as `choose` takes.

    Raises:
        CuratorError: a choice, or a count before a block, is another; names the first.
    """
    samples = len(kept.choices)
    made = choose(weights, samples)
    choices, counts = _files(beside, weights, samples)
    for file, there, ours in ((choices, kept.choices, made.choices), (counts, kept.counts, made.counts)):
        if np.array_equal(there, ours):
            continue
        at = tuple(np.argwhere(there != ours)[0].tolist())
        raise CuratorError(
            f"{file}: entry {', '.join(map(str, at))} is {there[at]}, but the weights of {beside.name} make it "
            f"{ours[at]}; delete the file, and it is made again"
        )


def _files(beside: Path, weights: np.ndarray, samples: int) -> list[Path]:
    mark = fingerprint({"rule": RULE, "weights": weights, "samples": samples, "block": BLOCK})
    return [beside.with_name(f"{beside.stem}-{kind}-{mark}.npy") for kind in ("choices", "counts")]


def _side_by_side(weights: np.ndarray, first: int, counts: np.ndarray, lanes: int, steps: int) -> np.ndarray:
    """Choices of samples ``first`` to ``first + lanes * steps - 1``; ``counts`` [parts] are those before ``first``."""
    begin = first + steps * np.arange(lanes)
    warm_up = min(WARM_UP, steps)
    starts = _guess(weights, begin - warm_up)  # [parts, lanes]
    _step(weights, begin - warm_up, starts, warm_up)
    starts[:, 0] = counts
    ends = np.empty_like(starts)
    picked = np.empty((steps, lanes), np.uint8)
    stale = np.arange(lanes)
    while stale.size:
        run = np.ascontiguousarray(starts[:, stale])
        picked[:, stale] = _step(weights, begin[stale], run, steps)
        ends[:, stale] = run
        stale = np.flatnonzero((starts[:, 1:] != ends[:, :-1]).any(0)) + 1
        starts[:, stale] = ends[:, stale - 1]
    return picked.T.reshape(-1)


def _guess(weights: np.ndarray, begin: np.ndarray) -> np.ndarray:
    """Counts [parts, lanes] that add up to ``begin`` [lanes] and lie near their shares."""
    shares = weights[:, None] * np.maximum(begin, 0)
    counts: np.ndarray = np.floor(shares)
    lacking = np.maximum(begin, 0) - counts.sum(0)
    rank = np.argsort(np.argsort(counts - shares, axis=0, kind="stable"), axis=0, kind="stable")
    counts += rank < lacking
    return counts


def _step(weights: np.ndarray, begin: np.ndarray, counts: np.ndarray, steps: int) -> np.ndarray:
    """Take ``steps`` steps in every lane: choices uint8 ``[steps, lanes]``; ``counts`` [parts, lanes] go along."""
    picked = np.zeros((steps, len(begin)), np.uint8)
    lane = np.arange(len(begin))
    behind, other, better = np.empty(len(begin)), np.empty(len(begin)), np.empty(len(begin), bool)
    for step in range(steps):
        at = np.maximum(begin + step, 1).astype(np.float64)
        np.multiply(weights[0], at, out=behind)
        behind -= counts[0]
        choice = picked[step]
        for part in range(1, len(weights)):
            np.multiply(weights[part], at, out=other)
            other -= counts[part]
            np.greater(other, behind, out=better)
            np.copyto(choice, part, where=better)
            np.maximum(behind, other, out=behind)
        counts[choice, lane] += 1
    return picked


def _block_counts(choices: np.ndarray, parts: int) -> np.ndarray:
    blocks = -(-len(choices) // BLOCK)
    counts = np.zeros((blocks, parts), np.int64)
    group = 4096  # blocks at a time
    for first in range(0, blocks, group):
        here = choices[first * BLOCK : (first + group) * BLOCK].astype(np.int64)
        here += np.arange(len(here)) // BLOCK * parts
        size = min(group, blocks - first)
        counts[first : first + size] = np.bincount(here, minlength=size * parts).reshape(size, parts)
    before = np.cumsum(counts, axis=0)
    return before - counts
