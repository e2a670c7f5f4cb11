"""Several rankings as one: means and errors against numpy, each sample at its checkpoint by a loop, and refusals."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import done
from hypothesis import given, settings
from hypothesis import strategies as st
from rank_runs import UNITS, request

from curator.artifacts.files import save_array, save_json
from curator.corpus import open_corpus
from curator.errors import CuratorError, UsageError
from curator.planning.mask import mask
from curator.planning.settings import MaskSettings
from curator.ranking.combine import combine
from curator.ranking.queries import Queries
from curator.ranking.ranking import FORMAT, SIGN, Ranking
from curator.ranking.run import rank
from curator.ranking.selection import select
from curator.ranking.settings import CombineSettings

UNIT = "induction:1.0"


def written(folder: Path, scores: Any, step: int = 0, **changes: Any) -> Path:
    """A ranking of one unit, at the checkpoint ``step``."""
    scores = np.asarray(scores, np.float32)[None]
    corpus = folder.parent / "rows.npy"
    if not corpus.exists():
        np.save(corpus, np.arange(scores.shape[1] * 5, dtype=np.uint16).reshape(-1, 5))
    save_array(folder / "scores.npy", scores)
    save_array(folder / "blocks.npy", scores)
    save_array(folder / "losses.npy", scores[0] + 100)
    manifest = {
        "format": FORMAT,
        "status": "complete",
        "sign_convention": SIGN,
        "samples": [0, scores.shape[1]],
        "units": [UNIT],
        "blocks": [f"{UNIT}/qk"],
        "settings": {},
        "fingerprints": {"corpus": open_corpus(corpus).fingerprint()},
        "layout": {},
        "request": {"corpus": str(corpus), "model": str(folder.parent / f"step{step}"), "batch_size": 2},
    }
    save_json(folder / "manifest.json", manifest | changes)
    return folder


def test_the_mean_of_seeds_is_theirs_and_its_error_falls_with_their_number(tmp_path: Path) -> None:
    """Real rankings, of two units with several blocks."""
    seeds = [
        rank(request(probe=request().probe.changed(seed=seed)), tmp_path / f"seed{seed}") for seed in range(3)
    ]
    whole = combine(CombineSettings(ranking=[one.path for one in seeds], out=tmp_path / "whole"))
    stack = np.stack([one.scores for one in seeds])
    assert np.ptp(stack, axis=0).min() > 0  # other sequences give every sample another score
    np.testing.assert_allclose(whole.scores, stack.mean(0), rtol=1e-12)
    np.testing.assert_allclose(whole.blocks, np.stack([one.blocks for one in seeds]).mean(0), rtol=1e-12)
    np.testing.assert_allclose(whole.losses, seeds[0].losses, rtol=1e-12)
    for number, unit in enumerate(UNITS):
        by_hand = np.sqrt(((stack[:, number] - stack[:, number].mean(0)) ** 2).sum(0) / 6)
        np.testing.assert_allclose(whole.unit_errors(unit), by_hand, rtol=1e-10)
    again = combine(CombineSettings(ranking=[one.path for one in seeds], out=tmp_path / "whole"))
    assert again.manifest == whole.manifest
    with pytest.raises(CuratorError, match=r"combined of several rankings.*seed0"):
        Queries.open(whole.path)
    with pytest.raises(CuratorError, match="holds other scores"):
        combine(CombineSettings(ranking=[one.path for one in seeds[:2]], out=tmp_path / "whole"))


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 12), min_size=2, max_size=5, unique=True), st.integers(1, 4), st.data())
def test_a_sample_has_the_score_of_the_last_checkpoint_that_has_not_seen_it(
    tmp_path_factory: pytest.TempPathFactory, steps: list[int], batch_size: int, data: st.DataObject
) -> None:
    folder, n = tmp_path_factory.mktemp("before"), data.draw(st.integers(1, 30))
    steps[data.draw(st.integers(0, len(steps) - 1))] = 0  # so that every sample has one
    steps = list(dict.fromkeys(steps))
    if len(steps) < 2:
        steps.append(3)
    paths = [written(folder / str(k), 1000 * step + np.arange(n), step) for k, step in enumerate(steps)]
    asked = CombineSettings(ranking=paths, how="before", batch_size=batch_size, out=folder / "out")
    found = combine(asked)
    for sample in range(n):
        last = max(step for step in steps if step <= sample // batch_size)
        assert found.scores[0, sample] == 1000 * last + sample == found.losses[sample] - 100
    assert found.errors is None


def test_only_what_is_clear_of_its_error_is_chosen_and_controls_are_as_many(tmp_path: Path) -> None:
    means = np.array([9.0, 8, 7, 6, 5, 4, 3, 2, 1, -9])
    spread = np.array([0.1, 9, 0.1, 9, 0.1, 9, 0.1, 9, 0.1, 0.1])
    paths = [written(tmp_path / name, means + sign * spread) for name, sign in (("a", -1), ("b", 1))]
    whole = combine(CombineSettings(ranking=paths, out=tmp_path / "whole"))
    np.testing.assert_allclose(whole.unit_errors(), spread, rtol=1e-5)
    assert select(whole, "top", count=4).samples.tolist() == [0, 1, 2, 3]
    assert select(whole, "top", count=4, significant=2).samples.tolist() == [0, 2, 4, 6]
    assert select(whole, "top", count=9, significant=2).samples.tolist() == [0, 2, 4, 6, 8]
    assert select(whole, "bottom", count=4, significant=2).samples.tolist() == [9]
    control = select(whole, "random", count=9, significant=2).samples
    assert len(control) == 5 and not np.isin(control, [0, 2, 4, 6, 8]).any()
    with pytest.raises(UsageError, match="no score lies 1000 standard errors above 0"):
        select(whole, "top", count=4, significant=1000)
    with pytest.raises(UsageError, match="needs standard errors"):
        select(Ranking.open(paths[0]), "top", count=4, significant=2)
    plan = mask(
        MaskSettings(ranking=[whole.path], count=4, significant=2, batch_size=2, out=tmp_path / "plan")
    )
    assert plan.masked_slots().tolist() == [0, 2, 4, 6]


def test_the_command_tells_scores_with_their_errors(tmp_path: Path) -> None:
    paths = [written(tmp_path / name, values) for name, values in (("a", [1.0, 5, 2]), ("b", [3.0, 5.5, 2]))]
    words = [word for path in paths for word in ("--ranking", path)]
    assert "5.25" in done("combine", *words, "--out", tmp_path / "whole").replace("+", "")
    assert "+5.25 ± 0.25" in done("show", tmp_path / "whole", "--top", 1)


def test_what_cannot_be_combined_is_told(tmp_path: Path) -> None:
    one = written(tmp_path / "one", [1, 2, 3], step=4)
    nameless = {"corpus": str(tmp_path / "rows.npy"), "model": "final", "batch_size": 2}
    for name, problem, changes, asked in (
        ("alone", "nothing to combine", None, {}),
        ("same", "given twice", {}, {}),
        ("blocks", "not of the same: blocks", {"blocks": [f"{UNIT}/v"]}, {}),
        ("nameless", "does not say its step", {"request": nameless}, {"how": "before"}),
        (
            "late",
            r"sample 0 is of step 0, before the first checkpoint \(4\)",
            {"layout": {"a": 1}},
            {"how": "before"},
        ),
    ):
        others = [] if changes is None else [written(tmp_path / name, [1, 2, 4], 5, **changes)]
        if name == "same":
            others = [one]
        with pytest.raises(CuratorError, match=problem):
            combine(CombineSettings(ranking=[one, *others], out=tmp_path / f"{name}-out", **asked))
        assert not (tmp_path / f"{name}-out").exists()
