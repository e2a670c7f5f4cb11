"""On a GPU: the same numbers as on the CPU, as close as float32 is anywhere; so close is float64 too.

transformers takes the softmax of eager attention in float32 whatever the model's dtype, and a GPU rounds it otherwise:
float64 queries differ by 3e-7 for that reason alone (H200, November 2026).
Labels of the data (empirical Fisher), since drawn ones may fall to a neighbour within rounding. Skipped without a GPU.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from engine_parts import GOLDEN, relative_error
from rank_runs import small_request

from curator.artifacts.files import load_array
from curator.corpus import build_embedded
from curator.corpus.embedded import EmbeddedSettings
from curator.ranking.ranking import Ranking
from curator.ranking.run import rank
from curator.scan.scan import scan_checkpoints
from curator.training import TrainingConfig, train

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU that PyTorch sees")

UNITS = ("induction:1.2", "induction:0.1", "previous-token:0.0")
FLOAT32 = 2e-5
"""Of the largest value; the query, which inverts the factors, is given 10 times as much."""


def ranking(out: Path, device: str, dtype: str) -> Ranking:
    request = small_request(units=UNITS, samples=(0, 64), fisher="empirical", dtype=dtype, micro_batch=16)
    return rank(request, out, device)


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Ranking:
    """float64 on the CPU, which the golden numbers and the oracle check."""
    return ranking(tmp_path_factory.mktemp("cuda") / "cpu", "cpu", "float64")


def queries(one: Ranking) -> list[np.ndarray]:
    return [load_array(path) for path in sorted((one.path / "queries").glob("????.npy"))]


def test_law_1_float64_on_the_gpu_is_that_of_the_cpu_up_to_the_softmax(
    truth: Ranking, tmp_path: Path
) -> None:
    ours = ranking(tmp_path / "gpu", "cuda", "float64")
    assert relative_error(ours.scores, truth.scores) < 1e-6  # stored as float32
    assert relative_error(ours.losses, truth.losses) < 1e-6
    for mine, theirs in zip(queries(ours), queries(truth), strict=True):
        assert relative_error(mine, theirs) < 3e-6


def test_law_1_float32_on_the_gpu_is_float32(truth: Ranking, tmp_path: Path) -> None:
    ours = ranking(tmp_path / "gpu", "cuda", "float32")
    for mine, theirs in zip(np.asarray(ours.scores), np.asarray(truth.scores)):
        assert relative_error(mine, theirs) < FLOAT32
    assert relative_error(ours.losses, truth.losses) < FLOAT32
    for mine, theirs in zip(queries(ours), queries(truth), strict=True):
        assert relative_error(mine, theirs) < 10 * FLOAT32


def test_bfloat16_on_the_gpu_keeps_the_order(truth: Ranking, tmp_path: Path) -> None:
    ours = ranking(tmp_path / "gpu", "cuda", "bfloat16")
    for mine, theirs in zip(np.asarray(ours.scores, np.float64), np.asarray(truth.scores, np.float64)):
        assert np.corrcoef(mine, theirs)[0, 1] > 0.98


def test_law_2_batches_change_nothing_beyond_rounding_on_the_gpu(truth: Ranking, tmp_path: Path) -> None:
    request = small_request(
        units=UNITS, samples=(0, 64), fisher="empirical", micro_batch=5, shard_size=20, dtype="float64"
    )
    ours = rank(request, tmp_path / "gpu", "cuda")
    assert relative_error(ours.scores, truth.scores) < 1e-6


def test_a_scan_on_the_gpu_finds_what_the_cpu_finds(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "step0").symlink_to(GOLDEN / "model")
    scans = [
        scan_checkpoints(tmp_path / "run", tmp_path / device, device=device) for device in ("cpu", "cuda")
    ]
    for unit in ("induction:1.2", "previous-token:0.0"):
        np.testing.assert_allclose(scans[1].curve(unit), scans[0].curve(unit), atol=1e-5)


def test_the_embedded_trainer_trains_on_the_gpu_as_on_the_cpu(tmp_path: Path) -> None:
    corpus = build_embedded(
        tmp_path / "corpus",
        EmbeddedSettings(n_samples=320, seq_length=32, vocab_size=512, drill_fraction=0.5, seed=0),
    )
    config = TrainingConfig(
        n_layers=2,
        d_model=32,
        n_heads=2,
        d_mlp=64,
        vocab_size=512,
        seq_length=32,
        steps=10,
        batch_size=32,
        learning_rate=1e-3,
        warmup_steps=2,
        seed=0,
    )
    losses = []
    for device in ("cpu", "cuda"):
        train(config, corpus, tmp_path / device, checkpoint_steps=[], device=device)
        losses.append(np.load(tmp_path / device / "losses.npy"))
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)
