"""What a ranking run was asked to do: everything its scores depend on, as one manifest (DESIGN law 8)."""

import shlex
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, get_args

import torch

from curator.errors import UsageError
from curator.influence.curvature import Damping
from curator.influence.labels import FISHER_LABELS
from curator.units.sequences import IdsFrom, ProbeSettings

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float64": torch.float64}


@dataclass(frozen=True, kw_only=True)
class RankRequest:
    """Settings of one ranking.

    Attributes:
        model: checkpoint folder, or hub id with optional ``@revision``.
        corpus: path of the training tokens.
        units: specs such as ``induction:1.2``, ``previous-token:0.0``, ``induction:*``.
        samples: [first, last) sample indices to score; None means the whole corpus.
        probe: how probe sequences are drawn.
        probe_tokens: a [n, length] ``.npy`` of token ids used instead of drawn ones.
        probe_ids: what ids they are drawn from, see `IdsFrom`.
        tokenizer: ``tokenizer.json`` of the model, or its folder; None looks beside the model, then beside the corpus.
        fisher: ``sampled`` (labels from the model's predictions) or ``empirical`` (the data's).
        factor_samples: curvature is fitted on at most this many samples, drawn without repetition.
        factor_seed: of that draw and of the sampled labels.
        damping: see `Damping`.
        dtype: of the model: float32, bfloat16 or float64. float64 is the reference mode: it runs the model's
            eager attention, as every oracle does.
        micro_batch: samples per pass through the model; None chooses from the free memory.
        shard_size: samples per shard, the unit of resumption; None chooses.
        unit_modules: Python files that register further kinds of unit.
        batch_size: samples per training step, where it is known; no score depends on it.
        queries_of: a ranking whose queries score this corpus; nothing is fitted, and every setting above that the
            queries depend on is that ranking's (`GivenQueries.request` fills them in).
        window: the steps, batch size and epochs that ``samples`` were asked for by, for the manifest.
    """

    model: str
    corpus: Path
    units: tuple[str, ...]
    samples: tuple[int, int] | None = None
    probe: ProbeSettings = field(default_factory=ProbeSettings)
    probe_tokens: Path | None = None
    probe_ids: IdsFrom = "auto"
    tokenizer: Path | None = None
    fisher: str = "sampled"
    factor_samples: int = 100_000
    factor_seed: int = 0
    damping: Damping = field(default_factory=Damping)
    dtype: str = "float32"
    micro_batch: int | None = None
    shard_size: int | None = None
    unit_modules: tuple[Path, ...] = ()
    queries_of: Path | None = None
    batch_size: int | None = None
    window: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.fisher not in FISHER_LABELS:
            raise UsageError(f"unknown fisher labels '{self.fisher}'; they are: {', '.join(FISHER_LABELS)}")
        if self.probe_ids not in get_args(IdsFrom):
            raise UsageError(
                f"unknown probe ids '{self.probe_ids}'; they are: {', '.join(get_args(IdsFrom))}"
            )
        if self.dtype not in DTYPES:
            raise UsageError(f"unknown dtype '{self.dtype}'; dtypes are: {', '.join(DTYPES)}")
        for name in ("factor_samples", "micro_batch", "shard_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"{name} must be at least 1, not {value}")
        if self.factor_seed < 0:
            raise UsageError(f"factor_seed must be at least 0, not {self.factor_seed}")

    def settings(self) -> dict[str, Any]:
        """The settings as JSON; paths are left out where a fingerprint stands for their content."""
        return {
            "fisher": self.fisher,
            "factor_samples": self.factor_samples,
            "factor_seed": self.factor_seed,
            "damping": asdict(self.damping),
            "dtype": self.dtype,
        }

    def command(self) -> str:
        """The `curator rank` command that asks for the same again (all but ``--out``)."""
        words = ["curator", "rank", "--model", str(self.model), "--corpus", str(self.corpus)]
        for unit in self.units:
            words += ["--unit", unit]
        if self.samples is not None:
            words += ["--samples", "{}:{}".format(*self.samples)]
        words += self._flags() if self.queries_of is None else ["--queries-of", str(self.queries_of)]
        for path in self.unit_modules:
            words += ["--unit-module", str(path)]
        if self.micro_batch is not None:
            words += ["--micro-batch", str(self.micro_batch)]
        if self.shard_size is not None:
            words += ["--shard-size", str(self.shard_size)]
        return shlex.join(words)

    def _flags(self) -> list[str]:
        """The flags of what the queries depend on."""
        if self.probe_tokens is not None:
            words = ["--probe-tokens", str(self.probe_tokens)]
        else:
            words = ["--probe-sequences", str(self.probe.sequences), "--probe-seed", str(self.probe.seed)]
            words += ["--probe-lengths", f"{self.probe.min_length}:{self.probe.max_length}"]
            words += ["--probe-ids", self.probe_ids] if self.probe_ids != "auto" else []
            words += ["--tokenizer", str(self.tokenizer)] if self.tokenizer is not None else []
        words += ["--fisher", self.fisher, "--factor-samples", str(self.factor_samples)]
        words += ["--factor-seed", str(self.factor_seed), "--damping", self.damping.mode]
        words += ["--alpha", repr(self.damping.alpha), "--floor", repr(self.damping.floor)]
        return [*words, "--dtype", self.dtype]
