"""What a patched GPT-NeoX trainer emitted, on disk: written per rank, read as one.

    manifest.json                what was asked, layout, fingerprints; written before the first step
    rank-NNNNN/index.json        which part of the model and of the batch this rank held, and its blocks
    rank-NNNNN/slots.npy         [rows] slot of each row; sources.npy, samples.npy, weights.npy: what the plan put there
    rank-NNNNN/flags.npy         [steps] 0 not reached, 1 written, 2 overflowed (fp16: step skipped), 3 not finite
    rank-NNNNN/losses.npy        [rows] loss summed over the sample's tokens, in nats; NaN on ranks that compute none
    rank-NNNNN/scores.npy        [blocks, rows]; positive = training on the sample raises the probe
    rank-NNNNN/gradients/K.npy   [rows, inputs, outputs] of block K, or compressed
    rank-NNNNN/sums/STEP/        sums of the factors after STEP steps (the two newest), float64; state.json written last

Rows are the rank's rows of each chosen step, in order. All quantities are of the sample's summed loss with weight 1:
free of loss scale, accumulation, micro-batch mean and plan weight; rows of weight 0 have NaN. Where the plan masks
tokens (``token_masks`` in the manifest) a sample's gradients and scores are of its tokens that count, since the
trainer's backward pass has no others; its loss is of all.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from curator.artifacts.block_key import BlockKey
from curator.artifacts.files import load_array
from curator.artifacts.fingerprints import fingerprint, load_checked
from curator.artifacts.manifests import load_manifest, load_object
from curator.errors import CuratorError
from curator.plan.rules import CORPUS

FORMAT = {"format": "curator-emission", "version": 1}
NOT_REACHED, WRITTEN, OVERFLOWED, NOT_FINITE = 0, 1, 2, 3
SUMS_MEND = "take the sums of an earlier checkpoint, or emit again"
RECORD = "neox_patches.json"
"""The file in which a patched trainer says which run a save folder and a checkpoint are of."""

_MANIFEST = (
    "steps",
    "batch_size",
    "seq_length",
    "layout",
    "architecture",
    "gradients",
    "factors",
    "blocks",
    "scored",
    *("fingerprints", "paths", "made_with", "run"),
)
_INDEX = ("mp_rank", "pp_rank", "blocks", "gradients", "scored", "factors")

Wanted = Mapping[str, tuple[tuple[int, ...], type]]
"""Name of an array -> its shape and type."""


def placed_arrays(rows: int) -> Wanted:
    """The arrays that say what each row is; they are whole from the beginning."""
    kinds = {"slots": np.int64, "sources": np.int32, "samples": np.int64, "weights": np.float32}
    return {name: ((rows,), kind) for name, kind in kinds.items()}


def filled_arrays(steps: int, rows: int, scores: int, gradients: Sequence[Sequence[int]]) -> Wanted:
    """The arrays that are filled step by step; ``gradients``: shapes per sample, of each block."""
    wanted: dict[str, tuple[tuple[int, ...], type]] = {
        "losses": ((rows,), np.float32),
        "flags": ((steps,), np.uint8),
    }
    if scores:
        wanted["scores"] = ((scores, rows), np.float32)
    return wanted | {f"gradients/{k}": ((rows, *shape), np.float32) for k, shape in enumerate(gradients)}


def check_arrays(folder: Path, wanted: Wanted, mend: str) -> None:
    """Refuse a rank's part in which an array is missing, cut short, or of another shape or type.

    Its index.json is written when they are all there, so that what is missing later was lost.

    Args:
        mend: what to do about it, in words.

    Raises:
        CuratorError: names the file.
    """
    for name, (shape, kind) in wanted.items():
        path = folder / f"{name}.npy"
        try:
            there = load_array(path)
        except CuratorError as error:
            raise CuratorError(f"{error}, though it was emitted: {mend}") from error
        if there.shape != shape or there.dtype != kind:
            raise CuratorError(
                f"{path}: holds {there.dtype} of shape {there.shape}, but {np.dtype(kind)} of shape {shape} was "
                f"emitted: {mend}"
            )


@dataclass(frozen=True, eq=False)
class RankPart:
    """One rank's folder, its arrays memory-mapped."""

    path: Path
    index: dict[str, Any]
    rows_per_step: int

    @staticmethod
    def open(path: Path, n_steps: int, rows_per_step: int) -> "RankPart":
        """Open it, all its arrays being there.

        Raises:
            CuratorError: one is missing, cut short or another; names the file.
        """
        index, rows = load_object(path / "index.json", "emit again", _INDEX), n_steps * rows_per_step
        filled = filled_arrays(n_steps, rows, len(index["scored"]), index["gradients"])
        check_arrays(path, {**placed_arrays(rows), **filled}, "put the file back, or emit again")
        return RankPart(path, index, rows_per_step)

    def array(self, name: str) -> np.ndarray:
        """The array called ``name``."""
        return load_array(self.path / f"{name}.npy")

    @cached_property
    def usable(self) -> np.ndarray:
        """[rows] whether the row's step was written and not skipped, and the row not masked."""
        flags = np.repeat(np.asarray(self.array("flags")) == WRITTEN, self.rows_per_step)
        return flags & (np.asarray(self.array("weights")) != 0)

    @cached_property
    def from_corpus(self) -> np.ndarray:
        """[rows] whether the row is usable and of the corpus, not of an injected set."""
        return self.usable & (np.asarray(self.array("sources")) == CORPUS)

    def rows_of(self, first: int, last: int) -> np.ndarray:
        """The rows, rising, that are usable and hold corpus samples [first, last)."""
        samples = np.asarray(self.array("samples"))
        return np.flatnonzero(self.from_corpus & (samples >= first) & (samples < last))

    @property
    def blocks(self) -> list[dict[str, Any]]:
        """Index entries of the blocks whose gradients or factors this rank wrote."""
        return list(self.index["blocks"])

    @property
    def scored(self) -> list[BlockKey]:
        """Which block each row of scores.npy is of."""
        return [BlockKey.parse(name) for name in self.index["scored"]]


@dataclass(frozen=True, eq=False)
class Emission:
    """An emission folder.

    Attributes:
        manifest: as written by rank 0; ranks: every rank's part, by rank.
    """

    path: Path
    manifest: dict[str, Any]
    ranks: list[RankPart] = field(default_factory=list)

    @staticmethod
    def open(path: str | Path) -> "Emission":
        """Open an emission folder, finished or not.

        Raises:
            CuratorError: no emission, of another version, or a rank's folder, or an array in it, is missing.
        """
        path = Path(path)
        if not (path / "manifest.json").is_file():
            raise CuratorError(
                f"{path}: not an emission (no manifest.json); a patched GPT-NeoX trainer writes one to emit.out"
            )
        manifest = load_manifest(path / "manifest.json", FORMAT, "emit again", _MANIFEST)
        layout = manifest["layout"]
        world = layout["dp_size"] * layout["mp_size"] * layout["pp_size"]
        rows = layout["micro_batch_size"] * layout["accumulation"]
        ranks = []
        for rank in range(world):
            folder = path / f"rank-{rank:05}"
            if (folder / "index.json").is_file():
                ranks.append(RankPart.open(folder, len(manifest["steps"]), rows))
            else:
                raise CuratorError(
                    f"{path}: rank {rank} of {world} left nothing; copy rank-{rank:05} from the node it ran on, or "
                    "train again with a folder that all nodes share"
                )
        return Emission(path, manifest, ranks)

    @cached_property
    def _flags(self) -> np.ndarray:
        """[ranks, steps] flags."""
        return np.stack([np.asarray(part.array("flags")) for part in self.ranks])

    @property
    def steps_written(self) -> tuple[int, int]:
        """(steps that every rank has written or skipped, steps that were chosen)."""
        return int((self._flags != NOT_REACHED).all(0).sum()), len(self.manifest["steps"])

    @property
    def lost_steps(self) -> np.ndarray:
        """Chosen steps that some rank never wrote, although training is past them: they will not come any more."""
        reached = self._flags != NOT_REACHED
        last = np.flatnonzero(reached.any(0)).max(initial=0)  # where a running trainer's ranks may differ
        return np.asarray(self.manifest["steps"])[:last][~reached[:, :last].all(0)]

    def state(self) -> list[str]:
        """What a ranking of this emission lacks of the chosen steps, as sentences; none where it is whole."""
        done, chosen = self.steps_written
        said = []
        if done < chosen:
            said.append(f"The emission is not whole: {done} of {chosen} chosen steps were written.")
        if len(self.lost_steps):
            said.append(f"Never written, though training is past them: steps {_listed(self.lost_steps)}.")
        for flag, why in ((OVERFLOWED, "overflowed in fp16"), (NOT_FINITE, "had a loss that is not finite")):
            if count := int((self._flags == flag).any(0).sum()):
                said.append(f"{count} chosen steps {why}, and are left out.")
        if self.left_out:
            said.append(
                f"{self.left_out} rows of injected sets, or of samples trained on again, are left out."
            )
        if self.masks_tokens:
            said.append(
                "The plan masks tokens: gradients and scores are of those that count, not of the whole sample's loss."
            )
        return said

    @property
    def masks_tokens(self) -> bool:
        """Whether some rows' gradients are of a part of their tokens alone."""
        return bool(self.manifest.get("token_masks", False))

    @property
    def left_out(self) -> int:
        """Usable rows that no ranking of the corpus holds: of injected sets, or of samples trained on again."""
        first = [part for part in self.ranks if part.index["mp_rank"] == part.index["pp_rank"] == 0]
        usable = sum(int(part.usable.sum()) for part in first)
        return usable - len(self.samples)

    @property
    def corpus_fingerprint(self) -> str | None:
        """Of the corpus that was trained on, where the trainer was told."""
        found = self.manifest["fingerprints"]["corpus"]
        return None if found is None else str(found)

    @property
    def identity(self) -> str:
        """Fingerprint of everything that was asked."""
        return fingerprint(self.manifest)

    @cached_property
    def samples(self) -> np.ndarray:
        """[n] int64, rising: corpus samples with a usable row on at least one rank."""
        found = [part.array("samples")[part.from_corpus] for part in self.ranks]
        return np.unique(np.concatenate(found)) if found else np.zeros(0, np.int64)

    def contiguous(self, samples: tuple[int, int] | None = None) -> tuple[int, int]:
        """[first, last) of the samples to use: those asked for, or all that there are.

        Raises:
            CuratorError: there are gaps, since steps were left out, skipped or not reached, or samples masked; or a
                part was lost, and no samples were asked for.
        """
        if not len(self.samples):
            raise CuratorError(f"{self.path}: no step was written yet")
        if samples is None and len(self.lost_steps):
            starts = np.flatnonzero(np.append(True, np.diff(self.samples) != 1))
            lengths = np.diff(starts, append=len(self.samples))
            longest = int(self.samples[starts[lengths.argmax()]])
            raise CuratorError(
                f"{self.path}: of {len(self.manifest['steps'])} chosen steps, {len(self.lost_steps)} were never "
                f"written, but later ones were (steps {_listed(self.lost_steps)}): a rank's folder was lost and made "
                "anew, or the run went on for a while without this emission. Put the folder back; or say with "
                f"--samples which part of what is there to take, for example {longest}:{longest + int(lengths.max())}"
            )
        first, last = samples or (int(self.samples[0]), int(self.samples[-1]) + 1)
        there = self.samples[(self.samples >= first) & (self.samples < last)]
        if len(there) != last - first:
            gap = np.setdiff1d(np.arange(first, min(last, first + len(there) + 1)), there)
            raise CuratorError(
                f"{self.path}: of samples {first} to {last - 1}, {last - first - len(there)} were not emitted, the "
                f"first being {int(gap[0])} (steps that were not chosen, were skipped for an fp16 overflow, had a "
                "loss that is not finite, or were not reached; or samples that the plan masks); a ranking holds "
                "consecutive samples: choose a range without gaps with --samples FIRST:LAST"
            )
        return first, last

    def losses(self, first: int, last: int) -> np.ndarray:
        """[samples] float64 summed loss of samples [first, last), in nats."""
        return self.gather(first, last, ((part, part.array("losses")) for part in self.ranks), "losses")

    def scores_of(self, key: BlockKey, first: int, last: int) -> np.ndarray:
        """[samples] float64 score of a block."""
        rows = (
            (part, part.array("scores")[part.scored.index(key)]) for part in self.ranks if key in part.scored
        )
        return self.gather(first, last, rows, f"scores of {key}")

    @property
    def scored(self) -> list[BlockKey]:
        """The block of every score, in the order asked for."""
        there = {key for part in self.ranks for key in part.scored}
        return [key for key in map(BlockKey.parse, self.manifest["scored"]) if key in there]

    def gather(
        self, first: int, last: int, rows: "Iterator[tuple[RankPart, np.ndarray]]", what: str
    ) -> np.ndarray:
        """[last - first, ...] float64: one value per sample out of the ranks' rows [rows, ...].

        A sample that was trained on more than once keeps its first value, by slot.
        """
        out: np.ndarray | None = None
        slot_of = np.full(last - first, np.iinfo(np.int64).max)
        for part, values in rows:
            samples, slots = np.asarray(part.array("samples")), np.asarray(part.array("slots"))
            position = part.rows_of(first, last)
            chosen = np.asarray(values[position], np.float64)
            finite = np.isfinite(chosen.reshape(len(chosen), -1)).all(1)
            position, chosen = position[finite], chosen[finite]
            if out is None:
                out = np.full((last - first, *chosen.shape[1:]), np.nan)
            target = samples[position] - first
            earliest = np.full(last - first, np.iinfo(np.int64).max)
            np.minimum.at(earliest, target, slots[position])
            keep = (slots[position] == earliest[target]) & (slots[position] < slot_of[target])
            out[target[keep]] = chosen[keep]
            slot_of[target[keep]] = slots[position][keep]
        if out is None or not np.isfinite(out).all():
            missing = "all" if out is None else int((~np.isfinite(out.reshape(len(out), -1)).all(1)).sum())
            raise CuratorError(f"{self.path}: {missing} of samples {first} to {last - 1} have no {what}")
        return out


def open_sums(folder: Path) -> dict[str, Any]:
    """What state.json says of the factors' sums in ``folder``.

    Raises:
        CuratorError: it is damaged.
    """
    return load_object(folder / "state.json", SUMS_MEND, ("arrays",))


def load_sum(folder: Path, state: dict[str, Any], number: int) -> np.ndarray:
    """Array ``number`` of the factors' sums in ``folder``, whose state.json is ``state``.

    Raises:
        CuratorError: it is not what was written.
    """
    written = state.get("content")  # versions before it wrote none
    return load_checked(folder / f"{number:04}.npy", written and written[number], SUMS_MEND)


def _listed(steps: np.ndarray) -> str:
    """``0 to 9, 20``: runs of steps, the first few."""
    starts = np.flatnonzero(np.append(True, np.diff(steps) != 1))
    ends = np.append(starts[1:], len(steps)) - 1
    runs = [f"{a} to {b}" if a != b else f"{a}" for a, b in zip(steps[starts], steps[ends])]
    return ", ".join(runs[:4]) + (" and more" if len(runs) > 4 else "")
