"""Models, rows and a short way through the engine that several tests share.

`fit_and_score` strings the engine's parts together with labels given from outside, without files: what an
oracle can be compared with. Golden models are cached, so a test that changes weights must copy first.
"""

import copy
import multiprocessing
import os
import re
import signal
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, PreTrainedModel

from curator.artifacts.fields import Probe
from curator.artifacts.files import load_json
from curator.influence import fit
from curator.influence.curvature import Curvature, Damping
from curator.influence.factors import Covariances, Eigenvalues, Side, eigenbases
from curator.influence.fit import distinct
from curator.influence.probe_gradient import probe_gradient
from curator.influence.scorer import Scorer
from curator.influence.taps import Taps
from curator.models import load_model
from curator.progress import Lines, reporting
from curator.ranking.ranking import Ranking
from curator.ranking.run import rank
from curator.ranking.settings import RankSettings
from curator.units import (
    Block,
    Sequences,
    Unit,
)

# started in the background, Ctrl-C is ignored, also by the children that tests send it to
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).parents[1]
GOLDEN = ROOT / "tests" / "golden"
MARKS = {
    "neox": r"tests/neox_patches/trainer/",
    "kill": r"kill|interrupted|resumed|twice|unfinished|worker|ctrl_c|goes_on|not_trusted_by_name|test_neox_together",
    "demo": r"test_demo|test_synth_demo",
    "sandbox": r"test_synth_(sandbox|checks|generate|render|cli|shown|audit_data|full_disk|alone)",
    "slow": r"test_benchmarks|fidelity|litellm|llm_limits|float64|bfloat16_ranks|sdpa_that_skips|the_default_layout"
    r"|any_layout|command_of_the_issue|queries_of|hub_that_cannot|every_stage_names|flags_and_the_experiment_file_say|many_patterns"
    r"|bounded_memory",
}
"""Marker -> what is found in the path and name of the tests that have it."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by where they stand and what they are called."""
    for item in items:
        for mark, pattern in MARKS.items():
            if re.search(pattern, item.nodeid):
                item.add_marker(mark)


@pytest.fixture(autouse=True)
def told() -> Iterator[None]:
    """What work says of itself goes to standard error, where tests look for it."""
    with reporting(Lines()):
        yield


@cache
def golden_model(dtype: torch.dtype = torch.float32, attention: str = "sdpa") -> GPTNeoXForCausalLM:
    """The briefly trained 3-layer model; shared, do not change it."""
    model = load_model(GOLDEN / "model", dtype)
    model.set_attn_implementation(attention)
    return model


@cache
def golden_rows() -> Tensor:
    """[256, 129] int64 training rows."""
    return torch.from_numpy(np.load(GOLDEN / "rows.npy").astype(np.int64))


@pytest.fixture
def golden_folder() -> Path:
    """``model/``, ``rows.npy`` and the golden numbers."""
    return GOLDEN


def random_model(
    parallel: bool = True, vocab_size: int = 61, attention: str = "eager", seed: int = 0
) -> GPTNeoXForCausalLM:
    """3 layers of 3 heads of 8, float64; weights so large that attention is not uniform."""
    config = GPTNeoXConfig(
        vocab_size=vocab_size,
        hidden_size=24,
        num_attention_heads=3,
        num_hidden_layers=3,
        intermediate_size=40,
        max_position_embeddings=32,
        use_parallel_residual=parallel,
        hidden_act="gelu",
        tie_word_embeddings=False,
    )
    generator = torch.Generator().manual_seed(seed)
    config._attn_implementation = attention
    model = GPTNeoXForCausalLM(config).double().eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
        if parameter.ndim == 1:
            parameter.add_(0.7)
    return model


def random_rows(n: int = 20, seq: int = 15, vocab_size: int = 61, seed: int = 1) -> Tensor:
    """[n, seq + 1] token ids."""
    return torch.randint(vocab_size, (n, seq + 1), generator=torch.Generator().manual_seed(seed))


def random_labels(rows: Tensor, vocab_size: int = 61, seed: int = 2) -> tuple[Tensor, Tensor]:
    """Other labels than the data's, for A and S and for the eigenvalues: [n, seq] each."""
    generator = torch.Generator().manual_seed(seed)
    shape = (len(rows), rows.shape[1] - 1)
    return torch.randint(vocab_size, shape, generator=generator), torch.randint(
        vocab_size, shape, generator=generator
    )


def padded(*rows: list[int], period: list[int] | None = None, padding: int = 0) -> Sequences:
    longest = max(map(len, rows))
    tokens = torch.tensor([row + [padding] * (longest - len(row)) for row in rows])
    lengths = torch.tensor([len(row) for row in rows])
    return Sequences(tokens, lengths, None if period is None else torch.tensor(period))


@dataclass(frozen=True)
class Engine:
    """What the engine computed; lists are per block, in the order of ``names`` (``unit/block``)."""

    names: list[str]
    probe_gradients: list[Tensor]
    curvature: list[Curvature]
    queries: list[Tensor]
    scores: Tensor
    """[n_blocks, n]"""
    losses: Tensor


def fit_and_score(
    model: PreTrainedModel,
    rows: Tensor,
    probes: Iterable[tuple[Unit, Sequences]],
    labels: tuple[Tensor, Tensor],
    batch: int = 8,
    damping: Damping | None = None,
    probe_model: PreTrainedModel | None = None,
) -> Engine:
    """Fit on ``rows`` with given labels, then score them; ``probe_model`` is ``model`` unless given."""
    blocks, names, gradients = [], [], []
    for unit, sequences in probes:
        own = probe_gradient(probe_model or model, unit, sequences)[1]
        for block in unit.subspace(model):
            blocks.append(block)
            names.append(f"{unit.name}/{block.name}")
            gradients.append(own[block.name])
    taps = Taps.of_blocks(model, blocks)
    fitted = distinct(blocks)
    covariances = Covariances(fitted)
    for part, own_labels in zip(rows.split(batch), labels[0].split(batch)):
        covariances.add(taps.run(part, labels=own_labels))
    means = covariances.means()
    bases = eigenbases(means)
    eigenvalues = Eigenvalues(fitted, bases, model.get_output_embeddings().weight)
    for part, own_labels in zip(rows.split(batch), labels[1].split(batch)):
        eigenvalues.add(taps.run(part, labels=own_labels))
    corrected = eigenvalues.means()
    curvature = []
    for block in blocks:
        a, s = Side.of(block)
        number = next(i for i, other in enumerate(fitted) if Side.of(other) == (a, s))
        curvature.append(Curvature(means[a], means[s], bases[a], bases[s], corrected[number]))
    queries = [k.precondition(g, damping or Damping()) for k, g in zip(curvature, gradients)]
    scores, losses = score(model, rows, blocks, queries, batch)
    return Engine(names, gradients, curvature, queries, scores, losses)


def score(
    model: PreTrainedModel, rows: Tensor, blocks: Sequence[Block], queries: Sequence[Tensor], batch: int = 8
) -> tuple[Tensor, Tensor]:
    """(scores [n_blocks, n], losses [n]) of ``rows`` with given queries."""
    taps = Taps.of_blocks(model, blocks)
    scorer = Scorer(blocks, queries, model.get_output_embeddings().weight)
    parts = [taps.run(part) for part in rows.split(batch)]
    return torch.cat([scorer(part) for part in parts], 1), torch.cat([part.loss for part in parts])


def relative_error(ours: Tensor | np.ndarray, truth: Tensor | np.ndarray) -> float:
    """Largest difference as a part of the largest true value."""
    ours, truth = np.asarray(ours, np.float64), np.asarray(truth, np.float64)
    assert ours.shape == truth.shape, (ours.shape, truth.shape)
    return float(np.abs(ours - truth).max() / np.abs(truth).max())


UNITS = ("induction:1.2", "previous-token:0.0")
N_SAMPLES = 37  # divisible by no batch, shard or number of workers used here


def settings_of(given: dict[str, Any]) -> RankSettings:
    """``probe_ids`` and ``probe_tokens`` are fields of the probe."""
    ours = {name: given[f"probe_{name}"] for name in ("ids", "tokens") if f"probe_{name}" in given}
    rest = {name: value for name, value in given.items() if not name.startswith("probe_")}
    return RankSettings(**{**rest, "probe": given["probe"].changed(**ours)})


def request(**changes: Any) -> RankSettings:
    """37 samples in 5 shards of up to 8, float64."""
    given: dict[str, Any] = {
        "model": str(GOLDEN / "model"),
        "corpus": GOLDEN / "rows.npy",
        "units": UNITS,
        "samples": (3, 3 + N_SAMPLES),
        "probe": Probe(sequences=6),
        "factor_samples": 18,
        "dtype": "float64",
        "micro_batch": 4,
        "shard_size": 8,
    }
    return settings_of({**given, **changes})


def small_request(**changes: Any) -> RankSettings:
    """8 golden samples, one unit; a fraction of a second."""
    given: dict[str, Any] = {
        "model": str(GOLDEN / "model"),
        "corpus": GOLDEN / "rows.npy",
        "units": ("induction:1.2",),
        "samples": (0, 8),
        "probe": Probe(sequences=6),
        "micro_batch": 4,
    }
    return settings_of({**given, **changes})


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def results(folder: Path) -> dict[str, bytes]:
    """Every array that a ranking holds, to the bit: scores, blocks, losses, queries and factors."""
    return {name: content for name, content in files(folder).items() if name.endswith(".npy")}


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Ranking:
    """One uninterrupted ranking; do not change it."""
    return rank(request(), tmp_path_factory.mktemp("whole") / "ranking")


_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["curator.ranking.run", "pytest"])


def _rank_in_child(
    asked: RankSettings, out: Path, worker: tuple[int, int], die_at: tuple[str, str] | None
) -> None:
    """Runs in another process. ``die_at``: (part of a path, moment): SIGKILL before or after that file's appearance,
    or "stop", SIGSTOP after it."""
    fit._SAVE_EVERY_SECONDS = 0
    if die_at is not None:
        place, moment = die_at
        replace = os.replace

        def dying(source: Any, target: Any) -> None:
            hit = place in str(Path(target).relative_to(out)) if Path(target).is_relative_to(out) else False
            if hit and moment == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            replace(source, target)
            if hit:
                os.kill(os.getpid(), signal.SIGSTOP if moment == "stop" else signal.SIGKILL)

        os.replace = dying  # type: ignore[assignment]
    with open(os.devnull, "w") as sys.stderr:
        rank(asked, out, worker=worker)


def start(
    asked: RankSettings, out: Path, worker: tuple[int, int] = (0, 1), die_at: tuple[str, str] | None = None
) -> BaseProcess:
    process = _PROCESSES.Process(target=_rank_in_child, args=(asked, out, worker, die_at), daemon=True)
    process.start()
    return process


def finish(process: BaseProcess) -> int | None:
    """The exit code; None of a process that hangs, which is ended."""
    process.join(300)
    code = process.exitcode
    if code is None:
        process.kill()
        process.join()
    return code


def run_until_complete(asked: RankSettings, out: Path) -> None:
    assert finish(start(asked, out)) == 0
    assert load_json(out / "manifest.json")["status"] == "complete"


def save_changed_model(folder: Path, parameter: str, value: float) -> None:
    """The golden model with one entry of one weight set to ``value``."""
    model = copy.deepcopy(golden_model())
    with torch.no_grad():
        model.get_parameter(parameter)[5, 5] = value
    model.save_pretrained(folder)


@pytest.fixture(scope="session")
def others(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A corpus, a model and probe tokens that differ by one entry."""
    folder = tmp_path_factory.mktemp("others")
    rows = np.load(GOLDEN / "rows.npy")
    rows[200, 7] ^= 1
    np.save(folder / "rows.npy", rows)
    np.save(folder / "probe.npy", np.array([[1, 2, 1, 2]]))
    save_changed_model(folder / "model", "gpt_neox.layers.0.mlp.dense_4h_to_h.weight", 0.123)
    return {
        "corpus": folder / "rows.npy",
        "model": str(folder / "model"),
        "probe_tokens": folder / "probe.npy",
    }


@pytest.fixture
def no_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any pass through the model fails the test."""

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("work was begun")

    monkeypatch.setattr(Taps, "run", refuse)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One line per reason why tests were skipped, however many they are."""
    reasons: Counter[str] = Counter()
    for report in terminalreporter.stats.get("skipped", []):
        reasons[report.longrepr[2].removeprefix("Skipped: ")] += 1
    for reason, count in reasons.items():
        terminalreporter.write_line(f"SKIPPED [{count}] {reason}")
