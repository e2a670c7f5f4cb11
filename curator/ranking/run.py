"""One ranking from start to end: check, fit the curvature, form the queries, score every sample.

Work is cut into shards of consecutive samples. A finished shard is one file, put in place atomically: that file is
its marker. A run that was killed is started again with the same command and does what is missing. With
``--worker R/W`` several processes share the shards; worker 0 fits the curvature and puts the parts together.
"""

import platform
import shutil
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor
from transformers import PreTrainedModel

import curator
from curator.artifacts.block_key import BlockKey
from curator.artifacts.claim import lock_folder, remove_free_locks
from curator.artifacts.fields import require
from curator.artifacts.files import (
    is_temporary,
    load_array,
    new_array,
    remove_temporaries,
    save_array,
    save_json,
)
from curator.artifacts.fingerprints import differences, fingerprint, load_made_for
from curator.corpus import Corpus, check_tokens, open_corpus
from curator.errors import CuratorError, UsageError
from curator.influence.batching import choose_batch
from curator.influence.curvature import Damping
from curator.influence.fit import (
    CurvatureFit,
    check_finite,
    rows_tensor,
    subset,
)
from curator.influence.labels import fisher_labels
from curator.influence.norms import GradientNorms
from curator.influence.preconditioners import PRECONDITIONERS, Known
from curator.influence.probe_gradient import probe_gradient, probe_model
from curator.influence.scorer import Scorer
from curator.influence.taps import Taps
from curator.models import load_model, model_fingerprint
from curator.models.devices import DTYPES
from curator.models.moments import Moment, moments_fingerprint
from curator.models.optimizer import read_moments
from curator.progress import progress, remark
from curator.ranking.asked import absolute_model, recorded_window, samples_within
from curator.ranking.given_queries import GivenQueries
from curator.ranking.probes import Probes, as_before, probe_fingerprint
from curator.ranking.queries import Queries
from curator.ranking.ranking import (
    FORMAT,
    IDENTITY,
    Ranking,
    identity_of,
    normalised,
    open_manifest,
    sealed,
    sign_of,
)
from curator.ranking.settings import RankSettings, recorded_now
from curator.units import ProbeSettings, Sequences, load_unit_module, parse_units
from curator.units.block_json import describe_block
from curator.units.probe_ids import describe


def rank(request: RankSettings, out: Path, device: str = "cpu", worker: tuple[int, int] = (0, 1)) -> Ranking:
    """Rank every sample of ``request`` into the folder ``out``; resumes what is there.

    Args:
        worker: (R, W): this process does the shards k with k % W == R.

    Raises:
        CuratorError: wrong input, or ``out`` holds a ranking of something else (the message says both sides).
    """
    run = RankRun(request, Path(out), device, worker)
    with run.lock():
        return run.run()


def prepare_queries(request: RankSettings, out: Path, device: str = "cpu") -> None:
    """Do of `rank` what comes before the scores: factors and queries. `rank` with the same request goes on from there.

    Raises:
        CuratorError: as `rank`.
    """
    run = RankRun(request, Path(out), device, (0, 1))
    with run.lock():
        run.prepare()


class RankRun:
    """A ranking under way; see `rank`."""

    def __init__(self, request: RankSettings, out: Path, device: str, worker: tuple[int, int]):
        self.request = request = as_before(request, out)
        self.out = out
        self.number, self.workers = worker
        if not 0 <= self.number < self.workers:
            raise UsageError(f"worker must be R/W with 0 <= R < W, not {self.number}/{self.workers}")
        for path in request.unit_modules:
            load_unit_module(path)
        self.given = None if request.queries_of is None else GivenQueries.open(request.queries_of)
        self.corpus = open_corpus(require(request, "corpus"))
        self.first, self.last = samples_within(request.samples, self.corpus)
        self.model = load_model(require(request, "model"), DTYPES[request.dtype], device)
        if request.dtype == "float64":
            self.model.set_attn_implementation("eager")
        check_width(self.model, self.corpus)
        self.fingerprint = model_fingerprint(self.model)
        if self.given is not None:
            self.given.check_model(str(request.model), self.fingerprint)
        if self.given is None:
            self.units = parse_units(request.units, self.model, request.probe.asks)
        else:
            self.units = self.given.units(request.units, self.model)
        self.blocks = [(unit, block) for unit in self.units for block in unit.subspace(self.model)]
        self.preconditioner = PRECONDITIONERS[request.preconditioner]
        self.moments: dict[str, Moment] = {}
        if self.preconditioner.reads_optimizer and self.given is None:
            weights = {f"{block.module}.weight" for _, block in self.blocks}
            self.moments = read_moments(str(request.model), sorted(weights))
        self.sequences: dict[str, Sequences] = {}
        self.probe_ids = None if self.given is None else self.given.manifest.get("probe_ids")
        if self.given is None:
            probes = Probes(request, self.model, self.corpus, range(self.first, self.last), self.number == 0)
            self.sequences = {unit.name: probes.sequences(unit) for unit in self.units}
            self.probe_ids = None if probes.ids is None else probes.ids.record
        self.manifest = self._manifest()

    def lock(self) -> AbstractContextManager[None]:
        """Refuse a second process that would do the same part in the same folder; a killed one lets go."""
        busy = (
            f"another process is at work there as worker {self.number}/{self.workers}; wait for it, or share the work "
            "with --worker R/W"
        )
        return lock_folder(self.out, f".worker-{self.number}.tmp", busy)

    def run(self) -> Ranking:
        """Do what is missing, then open the result."""
        if self._claim() == "complete":
            remark(f"{self.out}: already complete")
            self._clear_up()
            return Ranking.open(self.out)
        if self.number == 0:
            self._write_queries()
        else:
            self._wait("the queries of worker 0", lambda: (self.out / "queries" / "index.json").is_file())
        self._score()
        if self.number == 0:
            missing = self._missing_shards
            self._wait("the shards of the other workers", lambda: not missing(range(self.n_shards)))
            self._assemble()
        else:
            self._wait("worker 0 to put the shards together", self._is_complete)
        return Ranking.open(self.out)

    def prepare(self) -> None:
        """Queries alone."""
        self._claim()
        self._write_queries()

    # -- what was asked for -------------------------------------------------------------------------------

    def _manifest(self) -> dict[str, Any]:
        request = self.request
        seq = self.corpus.row_width - 1
        batch = request.micro_batch or choose_batch(self.model, seq)
        shard = request.shard_size or batch * -(-512 // batch)
        sequences = {name: probe_fingerprint(value) for name, value in self.sequences.items()}
        settings = {
            **request.recorded(),
            "probe": None if request.probe.tokens else ProbeSettings.of(request.probe).recorded(),
        }
        if self.given is not None:
            sequences = self.given.probes([unit.name for unit in self.units])
            settings = self.given.settings(request, self.blocks)
        settings["normalise"] = request.normalise
        optimizer = {"optimizer": moments_fingerprint(self.moments)} if self.moments else {}
        return {
            "format": FORMAT,
            "status": "running",
            "sign_convention": sign_of(request.normalise),
            "samples": [self.first, self.last],
            "units": [unit.name for unit in self.units],
            "blocks": [str(BlockKey(unit.name, block.name)) for unit, block in self.blocks],
            "settings": settings,
            "fingerprints": {
                "model": self.fingerprint,
                **optimizer,
                "corpus": self.corpus.fingerprint(),
                "probe_sequences": sequences,
                "unit_modules": [fingerprint(path.read_bytes()) for path in request.unit_modules],
            },
            "layout": {"micro_batch": batch, "shard_size": shard, "seq_length": seq},
            "probe_ids": self.probe_ids,
            "request": {
                "model": absolute_model(str(request.model)),
                "corpus": str(require(request, "corpus").absolute()),
                "probe": request.probe.name,
                "probe_tokens": str(request.probe.tokens) if request.probe.tokens else None,
                "unit_modules": [str(path) for path in request.unit_modules],
                "queries_of": str(request.queries_of.absolute()) if request.queries_of else None,
                "batch_size": request.batch_size,
                "command": self._explicit.command(),
                **recorded_window(request.window, request.batch_size, request.epochs),
            },
            "versions": {
                "curator": curator.__version__,
                "torch": torch.__version__,
                "transformers": transformers.__version__,
                "numpy": np.__version__,
                "python": platform.python_version(),
            },
        }

    @property
    def _explicit(self) -> RankSettings:
        """The request, with where its probe ids come from written out: what lies beside a model may change."""
        if self.probe_ids is None or self.given is not None:
            return self.request
        return self.request.resolved(probe=self.request.probe.changed(ids=self.probe_ids["source"]))

    def _claim(self) -> str:
        """Write the manifest, or check the one that is there against ours; its status."""
        path = self.out / "manifest.json"
        if self.number > 0:
            self._wait("the manifest of worker 0", path.is_file)
        if not path.is_file():
            if any(not is_temporary(path) for path in self.out.iterdir()):
                raise CuratorError(
                    f"{self.out}: the folder is not empty and is no ranking; choose another --out"
                )
            self.corpus.check_index()
            check_tokens(self.corpus, self.model.config.vocab_size, self.first, self.last)
            save_json(path, self.manifest)
            return "running"
        there = open_manifest(self.out)
        for key, given in (
            ("micro_batch", self.request.micro_batch),
            ("shard_size", self.request.shard_size),
        ):
            if given is None and key in there.get("layout", {}):
                self.manifest["layout"][key] = there["layout"][key]  # chosen by the first start
        now = {**there, "settings": recorded_now(there["settings"])}
        lines = differences({k: self.manifest[k] for k in IDENTITY}, {k: now.get(k) for k in IDENTITY})
        ids = there.get("probe_ids")
        if lines and ids and self.probe_ids and ids != self.probe_ids:  # why the sequences are others
            lines.insert(0, f"probe ids: there {describe(ids)}, asked for {describe(self.probe_ids)}")
        if lines:
            raise CuratorError(
                f"{self.out} holds a ranking of something else; choose another --out, or remove it:\n  "
                + "\n  ".join(lines[:8])
            )
        self.manifest["settings"] = there["settings"]  # word for word: what is made is made for these
        return str(there["status"])

    @property
    def _identity(self) -> str:
        """Fingerprint of everything the scores depend on."""
        return identity_of(self.manifest)

    def _is_complete(self) -> bool:
        return bool(open_manifest(self.out)["status"] == "complete")

    def _wait(self, what: str, ready: Callable[[], bool]) -> None:
        waited = 0.0
        while not ready():
            if waited % 30 == 0:
                remark(f"worker {self.number}/{self.workers}: waiting for {what}")
            time.sleep(0.5)
            waited += 0.5

    # -- curvature and queries ----------------------------------------------------------------------------

    def _write_queries(self) -> None:
        folder = self.out / "queries"
        mend = f"remove {folder}, or choose another --out"
        if (folder / "index.json").is_file():
            load_made_for(folder / "index.json", self._identity, mend)
            return
        if self.given is not None:
            self._copy_queries(self.given)
            return
        gradients: dict[str, dict[str, Tensor]] = {}
        probes: dict[str, float] = {}
        model = probe_model(self.model)
        for unit in self.units:  # before the long sweeps: a dead probe is found at once
            probes[unit.name], gradients[unit.name] = probe_gradient(model, unit, self.sequences[unit.name])
        del model
        known = self._known()
        entries = []
        for number, (unit, block) in enumerate(self.blocks):
            gradient = gradients[unit.name][block.name]
            query = self.preconditioner.query(block, gradient, known)
            save_array(folder / f"{number:04}.npy", query.numpy())
            save_array(folder / f"{number:04}-gradient.npy", gradient.numpy())
            entry = {"unit": unit.name, **describe_block(block), "file": f"{number:04}.npy"}
            entries.append({**entry, "fingerprint": fingerprint(query.numpy())})
        self._write_index(probes, entries)

    def _known(self) -> Known:
        """What the preconditioner asks for, fitted where it is fitted."""
        request = self.request
        fit = CurvatureFit(
            self.model,
            self.corpus,
            [block for _, block in self.blocks],
            subset(self.first, self.last, request.factor_samples, request.factor_seed),
            fisher_labels(request.fisher, request.factor_seed),
            self.manifest["layout"]["micro_batch"],
            self.out / "factors",
            self._identity,
            self.preconditioner.sweeps,
        )
        if self.preconditioner.sweeps:
            fit.fit()
        damping = Damping(mode=request.damping, alpha=request.alpha, floor=request.floor)
        return Known(damping, fit.tokens, fit.sides_of, fit.curvature, self.moments)

    def _copy_queries(self, given: GivenQueries) -> None:
        """Those of another ranking, so that this one stands alone."""
        entries = []
        for number, entry in enumerate(given.entries(self.blocks)):
            query = given.queries.load(entry).numpy()
            file = f"{number:04}.npy"
            save_array(self.out / "queries" / file, query)
            entries.append({**entry, "file": file, "fingerprint": fingerprint(query)})
        self._write_index({unit.name: given.queries.probe[unit.name] for unit in self.units}, entries)

    def _write_index(self, probes: dict[str, float], entries: list[dict[str, Any]]) -> None:
        index = {
            "made_for": self._identity,
            "layout": "[inputs, outputs]",
            "probe": probes,
            "blocks": entries,
        }
        save_json(self.out / "queries" / "index.json", index)

    def _queries(self) -> list[Tensor]:
        queries = Queries.open(self.out)
        return [queries.load(entry) for entry in queries.entries]

    # -- scores -------------------------------------------------------------------------------------------

    @property
    def n_shards(self) -> int:
        return -(-(self.last - self.first) // self.manifest["layout"]["shard_size"])

    def _shard(self, number: int) -> tuple[int, int]:
        size = self.manifest["layout"]["shard_size"]
        start = self.first + number * size
        return start, min(start + size, self.last)

    def _shard_file(self, number: int) -> Path:
        return self.out / "shards" / f"{number:06}.npy"

    def _missing_shards(self, numbers: range) -> list[int]:
        return [number for number in numbers if not self._shard_file(number).is_file()]

    def _score(self) -> None:
        mine = range(self.number, self.n_shards, self.workers)
        missing = self._missing_shards(mine)
        sizes = [end - start for start, end in map(self._shard, mine)]
        done = sum(sizes) - sum(end - start for start, end in map(self._shard, missing))
        blocks = [block for _, block in self.blocks]
        taps = Taps.of_blocks(self.model, blocks)
        scorer = Scorer(blocks, self._queries(), self.model.get_output_embeddings().weight)
        norms = GradientNorms(blocks) if self.request.normalise else None
        batch = self.manifest["layout"]["micro_batch"]
        with progress(f"scores of {len(self.units)} unit(s)", sum(sizes), done=done) as advance:
            for number in missing:
                start, end = self._shard(number)
                parts = []
                for low in range(start, end, batch):
                    index = slice(low, min(low + batch, end))
                    tapped = taps.run(rows_tensor(self.corpus, index, self.model.device))
                    check_finite(tapped, np.arange(index.start, index.stop))
                    rows = [scorer(tapped), *([] if norms is None else [norms(tapped)]), tapped.loss[None]]
                    parts.append(torch.cat(rows).cpu())
                    advance(index.stop - index.start)
                save_array(self._shard_file(number), torch.cat(parts, 1).numpy())

    def _assemble(self) -> None:
        n_blocks, n_samples = len(self.blocks), self.last - self.first
        dtype = np.float64 if self.request.dtype == "float64" else np.float32
        owners = [self.units.index(unit) for unit, _ in self.blocks]
        shapes = {
            "scores": (len(self.units), n_samples),
            "blocks": (n_blocks, n_samples),
            "losses": (n_samples,),
        }
        if self.request.normalise:
            shapes["norms"] = (n_blocks, n_samples)
        with ExitStack() as stack:
            arrays = {
                name: stack.enter_context(new_array(self.out / f"{name}.npy", shape, dtype))
                for name, shape in shapes.items()
            }
            for number in range(self.n_shards):
                start, end = (index - self.first for index in self._shard(number))
                part = load_array(self._shard_file(number))
                blocks = part[:n_blocks]
                if self.request.normalise:
                    arrays["norms"][:, start:end] = norms = part[n_blocks:-1]
                    blocks = normalised(blocks, norms, owners)
                arrays["blocks"][:, start:end], arrays["losses"][start:end] = blocks, part[-1]
                arrays["scores"][:, start:end] = 0
                for row, owner in enumerate(owners):
                    arrays["scores"][owner, start:end] += blocks[row]
            complete = sealed(self.manifest, **arrays)
        save_json(self.out / "manifest.json", complete)
        self._clear_up()

    def _clear_up(self) -> None:
        """Remove what a complete ranking does not need."""
        if self.number == 0:
            shutil.rmtree(self.out / "shards", ignore_errors=True)
            remove_temporaries(self.out)
            remove_free_locks(self.out, ".worker-*.tmp")


def check_width(model: PreTrainedModel, corpus: Corpus) -> None:
    """Refuse a corpus whose rows are wider than the model can take."""
    positions = model.config.max_position_embeddings
    if corpus.row_width - 1 > positions:
        raise CuratorError(
            f"{corpus.path}: rows have {corpus.row_width} tokens ({corpus.row_width - 1} inputs and the last label), "
            f"but the model has {positions} positions: give the corpus this model was trained on"
        )
