"""Fits the curvature of many blocks on a subset of the samples: one or two sweeps, resumable, kept on disk.

    factors/sides/NNNN.npy        A or S of one side of one or more blocks
    factors/bases/NNNN.npy        its eigenvectors, in columns
    factors/sides.json            fingerprints of these files; written when sweep 1 is done
    factors/eigenvalues/NNNN.npy  Λ of one block, in those bases (sweep 2, if it was asked for)
    factors/index.json            which file belongs to which block, fingerprints of all; written last

While a sweep runs its sums are saved now and then, so that a killed run goes on from there; the sums are float64
and added in a fixed order, so the result is the same to the bit.
"""

import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from curator.artifacts.files import new_folder, save_array, save_json
from curator.artifacts.fingerprints import fingerprint, load_checked, load_made_for
from curator.corpus import Corpus
from curator.errors import CuratorError
from curator.influence.curvature import Curvature, Sides
from curator.influence.factors import Covariances, Eigenvalues, Side, eigenbases
from curator.influence.labels import Labels
from curator.influence.taps import Tapped, Taps
from curator.progress import progress
from curator.units.base import Block
from curator.units.block_json import describe_block

_SAVE_EVERY_SECONDS = 60.0


def rows_tensor(corpus: Corpus, index: slice | np.ndarray, device: torch.device) -> Tensor:
    """Rows of the corpus as token ids [n, seq + 1] int64 on ``device``."""
    return torch.from_numpy(np.array(corpus.rows(index), dtype=np.int64)).to(device)


def distinct(blocks: Sequence[Block]) -> list[Block]:
    """The blocks without repetitions: units may share one."""
    return list({block.key: block for block in blocks}.values())


def subset(first: int, last: int, count: int, seed: int) -> np.ndarray:
    """``count`` of the samples [first, last) without repetition, sorted (all when there are fewer)."""
    total = last - first
    if count >= total:
        return np.arange(first, last)
    return first + np.sort(np.random.default_rng([seed, 1]).choice(total, size=count, replace=False))


class CurvatureFit:
    """The curvature of ``blocks``, from ``folder`` when it is there, else fitted and put there.

    Args:
        samples: sorted sample indices to fit on.
        labels: which labels the Fisher is taken over.
        batch: samples per batch.
        made_for: fingerprint of everything the factors depend on; kept with them, and compared before use.
        sweeps: 1 for A and S alone, 2 for the corrected eigenvalues as well.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        corpus: Corpus,
        blocks: Sequence[Block],
        samples: np.ndarray,
        labels: Labels,
        batch: int,
        folder: Path,
        made_for: str,
        sweeps: int = 2,
    ):
        self.model = model
        self.corpus = corpus
        self.blocks = distinct(blocks)
        self.samples = samples
        self.labels = labels
        self.batch = batch
        self.folder = folder
        self.made_for = made_for
        self.sweeps = sweeps
        self.tokens = corpus.row_width - 1
        self.sides = Covariances(self.blocks).sides
        self.written: dict[str, list[str]] = {}
        self.taps = Taps.of_blocks(model, self.blocks)

    def fit(self) -> None:
        """Do what is not done yet."""
        if not self._is_there("index.json"):
            self._fit()
        shutil.rmtree(self.folder / "sweeps", ignore_errors=True)

    def _fit(self) -> None:
        if not self._is_there("sides.json"):
            covariances = Covariances(self.blocks)
            self._sweep(1, covariances, "covariances A, S")
            means = covariances.means()
            bases = eigenbases(means)
            self._save("sides", [means[side] for side in bases])
            self._save("bases", list(bases.values()))
            self._save_index("sides.json", {"sides": len(means)})
        if self.sweeps == 1:
            return self._write_index(None)
        # The bases are read back, never decomposed again: Λ holds in these very eigenvectors alone.
        bases = {side: self._load("bases", number) for number, side in enumerate(self.sides)}
        eigenvalues = Eigenvalues(self.blocks, bases, self.model.get_output_embeddings().weight)
        self._sweep(2, eigenvalues, "eigenvalues")
        self._write_index(eigenvalues.means())

    def _load(self, kind: str, number: int) -> Tensor:
        written = self.written.get(kind)  # versions before it wrote none
        path = self.folder / kind / f"{number:04}.npy"
        return torch.from_numpy(load_checked(path, written and written[number], self._mend))

    @property
    def _mend(self) -> str:
        return f"remove {self.folder}, or choose another --out"

    def _is_there(self, name: str) -> bool:
        """Whether this index is written; what it says of the files holds from now on."""
        if not (self.folder / name).is_file():
            return False
        self.written = load_made_for(self.folder / name, self.made_for, self._mend).get("content", {})
        return True

    def _save(self, kind: str, tensors: Sequence[Tensor]) -> None:
        for number, tensor in enumerate(tensors):
            save_array(self.folder / kind / f"{number:04}.npy", tensor.numpy())
        self.written = {**self.written, kind: [fingerprint(tensor.numpy()) for tensor in tensors]}

    def _save_index(self, name: str, index: dict[str, Any]) -> None:
        save_json(self.folder / name, {**index, "content": self.written, "made_for": self.made_for})

    def _batches(self, done: int) -> Iterator[np.ndarray]:
        for start in range(done, len(self.samples), self.batch):
            yield self.samples[start : start + self.batch]

    def _sweep(self, number: int, sums: Covariances | Eigenvalues, title: str) -> None:
        state = _SweepState(self.folder / "sweeps" / str(number), self.made_for)
        done = state.restore(sums, self.model.device)
        saved = time.monotonic()
        with progress(f"factors {number}/{self.sweeps}: {title}", len(self.samples), done=done) as advance:
            for index in self._batches(done):
                arguments = {
                    name: value.to(self.model.device)
                    for name, value in self.labels(index, self.tokens, number).items()
                }
                tapped = self.taps.run(rows_tensor(self.corpus, index, self.model.device), **arguments)
                check_finite(tapped, index)
                sums.add(tapped)
                done += len(index)
                if time.monotonic() - saved > _SAVE_EVERY_SECONDS:
                    state.save(sums, done)
                    saved = time.monotonic()
                advance(len(index))
        state.save(sums, done)

    def _write_index(self, eigenvalues: list[Tensor] | None) -> None:
        entries = []
        if eigenvalues is not None:
            self._save("eigenvalues", eigenvalues)
        for number, block in enumerate(self.blocks):
            a, s = (self.sides.index(side) for side in Side.of(block))
            own = {} if eigenvalues is None else {"eigenvalues": number}
            entries.append({**describe_block(block), "A": a, "S": s, **own})
        index = {"samples": len(self.samples), "layout": "[inputs, outputs]", "blocks": entries}
        self._save_index("index.json", index)

    def curvature(self, block: Block) -> Curvature:
        """The fitted curvature of one block, which may carry another name than the block it was fitted for."""
        number = [known.key for known in self.blocks].index(block.key)
        return Curvature(**vars(self.sides_of(block)), eigenvalues=self._load("eigenvalues", number))

    def sides_of(self, block: Block) -> Sides:
        """What sweep 1 gave of one block; see `curvature`."""
        a, s = (self.sides.index(side) for side in Side.of(block))
        kinds = (("sides", a), ("sides", s), ("bases", a), ("bases", s))
        return Sides(*(self._load(kind, number) for kind, number in kinds))


class _SweepState:
    """The sums of an unfinished sweep: folders named by how many samples are in them; the newest counts."""

    def __init__(self, folder: Path, made_for: str):
        self.folder = folder
        self.made_for = made_for

    def restore(self, sums: Covariances | Eigenvalues, device: torch.device) -> int:
        """Load the newest state; how many samples it holds."""
        done = max((int(path.name) for path in self.folder.glob("[0-9]*")), default=0)
        if not done:
            return 0
        newest = self.folder / str(done)
        mend = f"remove {self.folder}, so that the sweep begins again"
        state = load_made_for(newest / "state.json", self.made_for, mend)
        written = state.get("content")  # versions before it wrote none

        def load(number: int) -> Tensor:
            path = newest / f"{number:04}.npy"
            return torch.from_numpy(load_checked(path, written and written[number], mend))

        sums.restore(int(state["count"]), load, device)
        return done

    def save(self, sums: Covariances | Eigenvalues, done: int) -> None:
        older = list(self.folder.glob("[0-9]*"))
        if self.folder / str(done) in older:
            return
        with new_folder(self.folder / str(done)) as folder:
            count, tensors = sums.state()
            arrays = [tensor.cpu().numpy() for tensor in tensors]
            for number, array in enumerate(arrays):
                save_array(folder / f"{number:04}.npy", array)
            content = [fingerprint(array) for array in arrays]
            state = {"made_for": self.made_for, "count": count, "content": content}
            save_json(folder / "state.json", state)
        for path in older:
            shutil.rmtree(path)


def check_finite(tapped: Tapped, index: np.ndarray) -> None:
    """Refuse a sample whose loss is not a number before it spoils every sum.

    Raises:
        CuratorError: names the first such sample.
    """
    check_losses(tapped.loss, index)


def check_losses(losses: Tensor, index: np.ndarray) -> None:
    """As `check_finite`, of the losses [n] of these samples alone."""
    bad = (~torch.isfinite(losses)).nonzero()
    if len(bad):
        raise CuratorError(
            f"the loss of sample {index[int(bad[0])]} is not finite: the model's weights are damaged, or its "
            "activations overflow (try --dtype float32)"
        )
