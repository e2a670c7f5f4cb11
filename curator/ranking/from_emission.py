"""Rankings out of what a patched trainer emitted, without a second pass over the data.

`collect_scores` puts online scores together: every sample was scored at the weights it was trained at. `rank_emission`
scores emitted per-sample gradients against a probe at one checkpoint, with the curvature that was emitted beside them:

    I(z) = -⟨G_z, P⟩,   P = H⁻¹ ∇f;    compressed on both sides, G and P are compared in the compressed space.

Emitted factors are over the data's own labels (empirical Fisher): the trainer's backward pass has no others.
"""

import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import curator
from curator.artifacts.block_key import BlockKey
from curator.artifacts.fields import require
from curator.artifacts.files import new_folder, save_array, save_json
from curator.artifacts.fingerprints import differences, fingerprint
from curator.artifacts.manifests import load_object
from curator.corpus import Corpus, open_corpus
from curator.errors import CuratorError, UsageError
from curator.influence.curvature import Curvature, Damping, Sides
from curator.influence.emission import RECORD, Emission, RankPart, load_sum, open_sums
from curator.influence.factors import Covariances, Side
from curator.influence.preconditioners import PRECONDITIONERS, Known, Preconditioner
from curator.influence.probe_gradient import probe_gradient
from curator.influence.projection import projections
from curator.models import load_model, model_fingerprint
from curator.models.devices import DTYPES
from curator.models.moments import Moment, moments_fingerprint
from curator.models.optimizer import read_moments
from curator.progress import progress, remark
from curator.ranking.bases import Bases
from curator.ranking.probes import Probes
from curator.ranking.ranking import FORMAT, Ranking, normalised, sealed, sign_of
from curator.ranking.settings import RankSettings
from curator.units import load_unit_module, parse_units
from curator.units.base import Block
from curator.units.block_json import block_of

_CHUNK_BYTES = 64 << 20
"""Gradients are read in chunks of about this size."""


def collect_scores(emission: Emission, out: Path, samples: tuple[int, int] | None = None) -> Ranking:
    """Merge the ranks' online scores into the ranking folder ``out``.

    Raises:
        CuratorError: nothing was scored, a sample is missing, or ``out`` is not empty.
    """
    if not emission.scored:
        raise CuratorError(
            f"{emission.path}: no scores were emitted (emit.scores in the patch file); from gradients, rank with "
            f"`curator rank --emitted {emission.path} --model CHECKPOINT --unit UNIT`"
        )
    first, last = emission.contiguous(samples)
    keys = emission.scored
    blocks = np.stack([emission.scores_of(key, first, last) for key in keys])
    request = {"model": str(emission.path), "corpus": emission.manifest["paths"]["corpus"]}
    settings = {
        "method": "online: every sample at the weights it was trained at",
        "steps": emission.manifest["steps"],
    }
    return _write(emission, out, keys, blocks, first, last, settings, request, {"model": emission.identity})


def rank_emission(request: RankSettings, emission: Emission, out: Path, device: str = "cpu") -> Ranking:
    """Score emitted gradients against the probes of ``request.units`` at ``request.model``.

    Raises:
        CuratorError: no gradients of a unit were emitted, the model is of another shape, or there are no factors.
    """
    for path in request.unit_modules:
        load_unit_module(path)
    name = require(request, "model")
    model = load_model(name, DTYPES[request.dtype], device)
    _check_architecture(emission, model, name)
    _compare_run(emission, Path(name))
    units = parse_units(request.units, model, request.probe.asks)
    first, last = emission.contiguous(request.samples)
    keys, columns, norms = [], [], []
    preconditioner = PRECONDITIONERS[request.preconditioner]
    damping = Damping(mode=request.damping, alpha=request.alpha, floor=request.floor)
    weights = {f"{block.module}.weight" for unit in units for block in unit.subspace(model)}
    moments = read_moments(name, sorted(weights)) if preconditioner.reads_optimizer else {}
    probes = Probes(request, model, _emitted_corpus(emission, request.corpus), range(first, last))
    for unit in units:
        _, gradients = probe_gradient(model, unit, probes.sequences(unit))
        for block in unit.subspace(model):
            gradient = EmittedGradient.find(emission, block)
            known = gradient.known(damping, moments, first, last)
            query = gradient.query(preconditioner, gradients[block.name], known, first, last)
            keys.append(BlockKey(unit.name, block.name))
            columns.append(gradient.scores(query, first, last))
            if request.normalise:
                norms.append(gradient.norms(first, last))
    recorded = request.recorded()
    settings = {
        **recorded,
        **({"fisher": "empirical"} if preconditioner.sweeps else {}),
        "normalise": request.normalise,
        "method": "emitted gradients" + (" and factors" if preconditioner.sweeps else ""),
    }
    there = {
        "model": request.model,
        "corpus": emission.manifest["paths"]["corpus"],
        "emission": str(emission.path),
    }
    if probes.ids is not None:
        settings["probe_ids"] = probes.ids.record
    fingerprints = {"model": model_fingerprint(model), "emission": emission.identity}
    if moments:
        fingerprints["optimizer"] = moments_fingerprint(moments)
    blocks, sizes = np.stack(columns), np.stack(norms) if norms else None
    return _write(emission, out, keys, blocks, first, last, settings, there, fingerprints, sizes)


def _emitted_corpus(emission: Emission, given: Path | None) -> Corpus | None:
    """The corpus that was emitted from, if it is given, or lies where it did."""
    try:
        corpus = open_corpus(given or emission.manifest["paths"]["corpus"])
    except CuratorError:
        return None
    return corpus if corpus.fingerprint() == emission.corpus_fingerprint else None


def _check_architecture(emission: Emission, model: Any, spec: str) -> None:
    config = model.config
    ours = {
        "n_layers": config.num_hidden_layers,
        "d_model": config.hidden_size,
        "n_heads": config.num_attention_heads,
    }
    lines = differences(ours, emission.manifest["architecture"])
    if lines:
        raise CuratorError(
            f"{emission.path} was emitted by a model of another shape than {spec}: {'; '.join(lines)}; give a "
            "checkpoint of the run that emitted it"
        )


def _compare_run(emission: Emission, checkpoint: Path) -> None:
    """Say so where the checkpoint is of another run: right for a repetition of the same training, else a mistake."""
    record = checkpoint / RECORD
    there = load_object(record, "remove it").get("run") if record.is_file() else None
    if there is not None and there != emission.manifest["run"]:
        remark(
            f"note: {emission.path} was emitted by run {emission.manifest['run']}, {checkpoint} was saved by run "
            f"{there}; the scores mean something only if both trained alike"
        )


@dataclass(frozen=True, eq=False)
class EmittedGradient:
    """The emitted per-sample gradients of one block, on all ranks that own it."""

    emission: Emission
    block: Block
    key: BlockKey
    """Under which unit's name it was emitted."""
    number: int
    """The block's place in the manifest, which seeds its projection."""

    @staticmethod
    def find(emission: Emission, block: Block) -> "EmittedGradient":
        """The entry of ``block``, under whatever unit's name it was emitted."""
        if emission.manifest["gradients"] is None:
            raise CuratorError(
                f"{emission.path}: no gradients were emitted (emit.gradients in the patch file)"
            )
        for number, entry in enumerate(emission.manifest["blocks"]):
            if block_of(entry).key == block.key:
                return EmittedGradient(emission, block, BlockKey.parse(entry["label"]), number)
        emitted = ", ".join(
            dict.fromkeys(BlockKey.parse(entry["label"]).unit for entry in emission.manifest["blocks"])
        )
        raise UsageError(
            f"{emission.path}: no gradients of {block.module}/{block.name}; emitted were {emitted}"
        )

    @property
    def compress(self) -> dict[str, Any]:
        return dict(self.emission.manifest["gradients"])

    def parts(self) -> Iterator[tuple[RankPart, np.ndarray]]:
        """(rank, its gradients [rows, ...] memory-mapped)."""
        for part in self.emission.ranks:
            keys = [BlockKey.parse(entry["label"]) for entry in part.blocks]
            if self.key in keys:
                yield part, part.array(f"gradients/{keys.index(self.key)}")

    def chunks(
        self, part: RankPart, values: np.ndarray, first: int, last: int
    ) -> Iterator[tuple[np.ndarray, Tensor]]:
        """(rows, gradients [n, ...] float64) of the usable rows that hold samples [first, last)."""
        rows = part.rows_of(first, last)
        size = max(1, _CHUNK_BYTES // max(1, values[:1].nbytes))
        for start in range(0, len(rows), size):
            chosen = rows[start : start + size]
            yield chosen, torch.from_numpy(np.asarray(values[chosen], np.float64))

    def scores(self, query: Tensor, first: int, last: int) -> np.ndarray:
        """[samples] -⟨G, P⟩."""
        return self._column("scores from", lambda gradients: -(gradients * query).sum((1, 2)), first, last)

    def norms(self, first: int, last: int) -> np.ndarray:
        """[samples] ‖G‖; of projected gradients its square is right in expectation alone.

        Raises:
            CuratorError: only a part of each gradient was written.
        """
        if self.compress["compress"] == "eigenbasis":
            raise CuratorError(
                f"{self.emission.path}: gradients were cut to {self.compress['rank']} eigenvectors a side, so that "
                "their norms are unknown; leave out --normalise, or emit them whole or projected "
                "(emit.gradients.compress)"
            )
        return self._column("norms of", lambda gradients: gradients.square().sum((1, 2)).sqrt(), first, last)

    def _column(self, what: str, of: Callable[[Tensor], Tensor], first: int, last: int) -> np.ndarray:
        """[samples] one number of each gradient."""
        found = []
        with progress(f"{what} gradients of {self.key}", last - first) as advance:
            for part, values in self.parts():
                column = np.full(len(values), np.nan)
                for rows, gradients in self.chunks(part, values, first, last):
                    column[rows] = of(gradients).numpy()
                    advance(len(rows))
                found.append((part, column))
        return self.emission.gather(first, last, iter(found), f"gradients of {self.key}")

    def known(self, damping: Damping, moments: dict[str, Moment], first: int, last: int) -> Known:
        """What a preconditioner may ask of the emission."""
        tokens = int(self.emission.manifest["seq_length"])
        return Known(
            damping, tokens, lambda _: self._sides(), lambda _: self._curvature(first, last), moments
        )

    def query(
        self, preconditioner: Preconditioner, gradient: Tensor, known: Known, first: int, last: int
    ) -> Tensor:
        """P in the space of the written gradients."""
        kind, rank = self.compress["compress"], self.compress["rank"]
        if kind == "eigenbasis":
            q_a, q_s = self._truncated_bases()
            if not preconditioner.sweeps:
                return q_a.mT @ preconditioner.query(self.block, gradient, known) @ q_s
            if preconditioner.name != "ekfac":
                raise CuratorError(
                    f"{self.emission.path}: gradients were written in a ranking's eigenbasis, of which only "
                    f"--preconditioner ekfac, adam and identity make a query, not {preconditioner.name}"
                )
            eigenvalues = self._mean_square(None, None, first, last)  # written in these bases already
            return (q_a.mT @ gradient.double() @ q_s) / known.damping(eigenvalues)
        query = preconditioner.query(self.block, gradient, known)
        if kind == "projection":
            left, right = projections(self.block, rank, self.compress["seed"], self.number)
            query = query if left is None else left.mT @ query
            query = query if right is None else query @ right
        return query

    def _truncated_bases(self) -> tuple[Tensor, Tensor]:
        bases = Bases.open(Path(self.emission.manifest["paths"]["gradient_bases"]))
        bases.check(self.compress["bases"], str(self.emission.path))
        a, s = bases.of(self.block)
        rank = int(self.compress["rank"])
        return a[:, -rank:], s[:, -rank:]

    def _mean_square(self, q_a: Tensor | None, q_s: Tensor | None, first: int, last: int) -> Tensor:
        """E_i[(Q_Aᵀ G_i Q_S)²] over the emitted samples, float64."""
        total, count = torch.zeros(1, dtype=torch.float64), 0
        for part, values in self.parts():
            for rows, gradients in self.chunks(part, values, first, last):
                if q_a is not None and q_s is not None:
                    gradients = q_a.mT @ gradients @ q_s
                total = total + gradients.square().sum(0)
                count += len(rows)
        return total / count

    def _curvature(self, first: int, last: int) -> Curvature:
        sums = EmittedFactors(self.emission)
        a, s = sums.covariances(self.block)
        given = self.emission.manifest["factors"]["bases"]
        if given is not None:
            bases = Bases.open(Path(self.emission.manifest["paths"]["factor_bases"]))
            bases.check(given, f"Λ in {self.emission.path}")
            q_a, q_s = bases.of(self.block)
            return Curvature(a, s, q_a, q_s, sums.eigenvalues(self.block))
        if self.compress["compress"] == "projection":
            raise CuratorError(
                f"{self.emission.path}: projected gradients give no Λ; emit factors with bases (factors: {{bases: "
                "RANKING}}), or rank with --preconditioner kfac, adam or identity"
            )
        sides = self._sides()
        return Curvature(**vars(sides), eigenvalues=self._mean_square(sides.q_a, sides.q_s, first, last))

    def _sides(self) -> Sides:
        a, s = EmittedFactors(self.emission).covariances(self.block)
        return Sides(a, s, torch.linalg.eigh(a)[1], torch.linalg.eigh(s)[1])


@dataclass(frozen=True, eq=False)
class EmittedFactors:
    """The factors' sums of all ranks."""

    emission: Emission

    def _sums(self, block: Block) -> Iterator[tuple[list[Block], dict[str, Any], Callable[[int], Tensor]]]:
        """(blocks of its map, their place among the sums, how to load one) of every rank that owns it.

        All are after the same step, the newest that every one of these ranks saved.
        """
        if self.emission.manifest["factors"] is None:
            raise CuratorError(
                f"{self.emission.path}: no factors were emitted (emit.factors in the patch file); rank with "
                "--preconditioner adam or identity, or emit them"
            )
        owners = []
        for part in self.emission.ranks:
            blocks = [block_of(entry) for entry in part.index["factors"].get(block.module, [])]
            if block.key in [known.key for known in blocks]:
                steps = {int(path.parent.name) for path in (part.path / "sums").glob("*/state.json")}
                owners.append((part.path, blocks, steps))
        if not owners:
            raise UsageError(f"{self.emission.path}: no factors of {block.module}/{block.name} were emitted")
        common = set.intersection(*(steps for _, _, steps in owners))
        if not common:
            there = "; ".join(f"{path.name} after {sorted(steps) or 'none'}" for path, _, steps in owners)
            raise CuratorError(
                f"{self.emission.path}: no sums of the factors that all ranks saved after the same step ({there}); "
                "they are saved with each checkpoint"
            )
        for path, blocks, _ in owners:
            folder = path / "sums" / str(max(common))
            state = open_sums(folder)
            yield blocks, state["parts"][block.module], partial(_sum, folder, state)

    def covariances(self, block: Block) -> tuple[Tensor, Tensor]:
        """(A, S), token averages, float64."""
        sums: list[Any] = [0, 0]
        tokens = 0
        for blocks, place, load in self._sums(block):
            sides = Covariances(blocks).sides
            for which, side in enumerate(Side.of(block)):
                sums[which] = sums[which] + load(place["first"] + sides.index(side))
            tokens += place["tokens"]
        return sums[0] / tokens, sums[1] / tokens

    def eigenvalues(self, block: Block) -> Tensor:
        """Λ [inputs, outputs], sample average, float64."""
        total, samples = torch.zeros(1, dtype=torch.float64), 0
        for blocks, place, load in self._sums(block):
            number = [known.key for known in blocks].index(block.key)
            total = total + load(place["first"] + place["sides"] + number)
            samples += place["samples"]
        return total / samples


def _sum(folder: Path, state: dict[str, Any], number: int) -> Tensor:
    return torch.from_numpy(load_sum(folder, state, number))


def _write(
    emission: Emission,
    out: Path,
    keys: Sequence[BlockKey],
    blocks: np.ndarray,
    first: int,
    last: int,
    settings: dict[str, Any],
    request: dict[str, Any],
    fingerprints: dict[str, Any],
    norms: np.ndarray | None = None,
) -> Ranking:
    """A complete ranking folder, of scores divided by ``norms`` [blocks, samples] if given; it appears when whole."""
    if emission.corpus_fingerprint is None:
        raise CuratorError(
            f"{emission.path}: emitted without 'corpus' in the patch file, so that nothing says whose samples these "
            "are; emit again with it"
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise CuratorError(f"{out}: exists already and is not empty; choose another --out, or remove it")
    if emission.masks_tokens:
        settings["token_masks"] = "gradients are of the tokens that the plan lets count, losses of all"
    units = list(dict.fromkeys(key.unit for key in keys))
    owners = np.array([units.index(key.unit) for key in keys])
    if norms is not None:
        blocks = normalised(blocks, norms, owners.tolist())
    scores = np.stack([blocks[owners == number].sum(0) for number in range(len(units))])
    layout = emission.manifest["layout"]
    manifest = {
        "format": FORMAT,
        "sign_convention": sign_of(norms is not None),
        "samples": [first, last],
        "units": units,
        "blocks": list(map(str, keys)),
        "settings": settings,
        "fingerprints": {"corpus": emission.corpus_fingerprint, **fingerprints},
        "layout": {
            "micro_batch": layout["micro_batch_size"],
            "shard_size": emission.manifest["batch_size"],
            "seq_length": emission.manifest["seq_length"],
        },
        "request": {
            **request,
            "emission": str(emission.path.absolute()),
            "batch_size": emission.manifest["batch_size"],
        },
        "versions": {
            "curator": curator.__version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        "emitted_by": {
            **emission.manifest["made_with"],
            "fingerprint": fingerprint(emission.manifest),
            "steps": dict(zip(("written", "chosen"), emission.steps_written)),
        },
    }
    arrays = {"scores": scores, "blocks": blocks, "losses": emission.losses(first, last)}
    if norms is not None:
        arrays["norms"] = norms
    arrays = {name: array.astype(np.float32) for name, array in arrays.items()}
    with new_folder(out) as folder:
        for name, array in arrays.items():
            save_array(folder / f"{name}.npy", array)
        save_json(folder / "manifest.json", sealed(manifest, **arrays))
    return Ranking.open(out)
