"""`curator rank --preconditioner` and `--normalise`: whole rankings, killed, resumed, continued from older versions."""

import copy
import shutil
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np
import oracle
import pytest
import torch
from commands import done, refused
from engine_parts import golden_model, golden_rows, relative_error
from rank_runs import finish, request, results, run_until_complete, start
from safetensors.torch import load_file, save_file

from curator.artifacts.fields import PreconditionerName
from curator.artifacts.files import load_json, save_json
from curator.artifacts.fingerprints import fingerprint
from curator.artifacts.schema import load_strict
from curator.errors import CuratorError, UsageError
from curator.influence.taps import Taps
from curator.models import load_model
from curator.ranking.given_queries import GivenQueries
from curator.ranking.queries import Queries
from curator.ranking.ranking import Ranking, identity_of, normalised
from curator.ranking.run import prepare_queries, rank
from curator.ranking.settings import RankSettings
from curator.training.checkpoint import write_checkpoint
from curator.units.block_json import block_of

EVERY = get_args(PreconditionerName)
BETAS, EPS = (0.9, 0.95), 1e-7


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The golden model as a checkpoint of the embedded trainer, after two updates; with Adam's moments."""
    model = copy.deepcopy(golden_model()).requires_grad_(True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=BETAS, eps=EPS)
    for rows in golden_rows()[200:204].split(2):
        optimizer.zero_grad()
        torch.stack([oracle.sample_loss(model, row) for row in rows]).mean().backward()
        optimizer.step()
    config = {"adam_betas": list(BETAS), "adam_eps": EPS}
    return write_checkpoint(tmp_path_factory.mktemp("trained"), 2, model, optimizer, {"config": config})


@pytest.fixture(scope="session")
def ranked(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Ranking]:
    """A ranking with this preconditioner, made once; do not change it."""
    made: dict[str, Ranking] = {}

    def of(name: str, normalise: bool = False) -> Ranking:
        key = f"{name}-{normalise}"
        if key not in made:
            made[key] = rank(asked(trained, name, normalise), tmp_path_factory.mktemp(key) / "ranking")
        return made[key]

    return of


def asked(trained: Path, name: str, normalise: bool = True, **changes: Any) -> RankSettings:
    given = {"model": str(trained), "samples": (3, 20), "preconditioner": name, "normalise": normalise}
    return request(**{**given, **changes})


def queries_of(ranking: Ranking) -> list[tuple[np.ndarray, np.ndarray, dict[str, Any]]]:
    """(∇f, P, entry) per block."""
    opened = Queries.open(ranking.path)
    folder = ranking.path / "queries"
    return [
        (np.load(folder / entry["file"].replace(".npy", "-gradient.npy")), opened.load(entry).numpy(), entry)
        for entry in opened.entries
    ]


# -- what is computed -----------------------------------------------------------------------------------------------


def test_identity_and_adam_fit_nothing(
    ranked: Callable[..., Ranking], trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P is ∇f, and ∇f / (√v̂ + ε); one pass over the samples, no factors, and none of their settings is recorded."""
    state = load_file(trained / "optimizer.safetensors")
    for name in ("identity", "adam"):
        ranking = ranked(name)
        assert not (ranking.path / "factors").exists()
        for gradient, query, entry in queries_of(ranking):
            v = state[f"{entry['module']}.weight.exp_avg_sq"].double() / (1 - BETAS[1] ** 2)
            part = part_of(entry)
            expected = gradient / (part.of(v).sqrt() + EPS).numpy() if name == "adam" else gradient
            np.testing.assert_allclose(query, expected, rtol=1e-12)
        settings = ranking.manifest["settings"]
        assert set(settings) == {"preconditioner", "normalise", "dtype", "probe"}
        assert ("optimizer" in ranking.manifest["fingerprints"]) == (name == "adam")
        assert "--factor-samples" not in ranking.manifest["request"]["command"]
    passed = []
    run = Taps.run
    monkeypatch.setattr(
        Taps, "run", lambda self, rows, **labels: passed.append(len(rows)) or run(self, rows, **labels)
    )
    again = rank(
        asked(trained, "identity", False).resolved(factor_samples=5, fisher="empirical"), tmp_path / "again"
    )
    assert sum(passed) == len(again)
    assert again.manifest["fingerprint"] == ranked("identity").manifest["fingerprint"]


def part_of(entry: dict[str, Any]) -> oracle.Part:
    block = block_of(entry)
    return oracle.Part(block.module, tuple(block.inputs), tuple(block.outputs))


def test_kfac_is_dense_kronecker_algebra_and_needs_one_sweep(
    ranked: Callable[..., Ranking], trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the block with the fewest entries: (32 A ⊗ S + damping) vec P = vec ∇f, with what lies in its factors."""
    ranking = ranked("kfac")
    folder = ranking.path / "factors"
    assert not (folder / "eigenvalues").exists() and (folder / "sides.json").is_file()
    entries = load_json(folder / "index.json")["blocks"]
    gradient, query, entry = queries_of(ranking)[1]  # v
    (sides,) = [
        one for one in entries if one["module"] == entry["module"] and one["outputs"] == entry["outputs"]
    ]
    a, s = (torch.tensor(np.load(folder / "sides" / f"{sides[side]:04}.npy")) for side in "AS")
    p = torch.tensor(query)
    mean = 32 * a.trace() * s.trace() / p.numel()
    product = 32 * a @ p @ s + 0.1 * mean * p  # of symmetric A and S: (A ⊗ S) vec P = vec(A P S)
    assert relative_error(product, gradient) < 1e-9
    sweeps = []
    run = Taps.run
    monkeypatch.setattr(
        Taps,
        "run",
        lambda self, rows, **labels: sweeps.append((len(rows), bool(labels))) or run(self, rows, **labels),
    )
    rank(asked(trained, "kfac", False), tmp_path / "again")
    assert sum(n for n, fitted in sweeps if fitted) == 17  # all 17 samples once


@pytest.mark.parametrize("name", ["ekfac", "adam"])
def test_law_1_normalised_scores_equal_a_loop_of_gradients(
    name: str, ranked: Callable[..., Ranking], trained: Path
) -> None:
    """Score and norm of each sample by autograd at the weights; raw ones are those of the other ranking."""
    raw, ours = ranked(name), ranked(name, True)
    model = load_model(trained, torch.float64)
    model.set_attn_implementation("eager")
    for sample in (3, 11, 19):
        row = golden_rows()[sample, :33]
        modules = {entry["module"] for _, _, entry in queries_of(ours)}
        whole = oracle.weight_gradients(model, modules, partial(oracle.sample_loss, model, row))
        own: dict[str, list[tuple[float, float]]] = {}
        for _, query, entry in queries_of(ours):
            part = part_of(entry)
            gradient = part.of(whole[part.module]).numpy()
            own.setdefault(entry["unit"], []).append((-(gradient * query).sum(), (gradient**2).sum()))
        (column,) = ours.columns_of([sample])
        for unit, blocks in own.items():
            norm = sum(square for _, square in blocks) ** 0.5
            assert ours.unit_norms(unit)[column] == pytest.approx(norm, rel=1e-8)
            assert ours.unit_scores(unit)[column] == pytest.approx(
                sum(score for score, _ in blocks) / norm, rel=1e-6
            )
    for unit in ours.units:
        np.testing.assert_allclose(
            ours.unit_scores(unit) * ours.unit_norms(unit), raw.unit_scores(unit), rtol=1e-10
        )
    np.testing.assert_allclose(ours.scores[0], ours.blocks[:3].sum(0), rtol=1e-12)
    assert (
        "divided by the norm" in ours.manifest["sign_convention"] and ours.manifest["settings"]["normalise"]
    )
    assert "divided" not in raw.manifest["sign_convention"] and not raw.manifest["settings"]["normalise"]
    with pytest.raises(UsageError, match=r"not divided by norms.*rank with --normalise"):
        raw.unit_norms(raw.units[0])


def test_a_sample_without_gradient_scores_zero() -> None:
    """And norms of two blocks of one unit add up as squares do."""
    blocks = np.array([[2.0, 0.0, 1.0], [4.0, 0.0, 1.0], [5.0, 5.0, 0.0]], np.float32)
    norms = np.array([[3.0, 0.0, 1.0], [4.0, 0.0, 0.0], [2.0, 4.0, 0.0]], np.float32)
    found = normalised(blocks, norms, [0, 0, 1])
    np.testing.assert_allclose(found, [[0.4, 0, 1], [0.8, 0, 1], [2.5, 1.25, 0]], rtol=1e-6)
    assert found.dtype == np.float32


# -- law 2 ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["kfac", "adam", "identity"])
def test_law_2_another_batch_changes_scores_by_rounding_alone(
    name: str, ranked: Callable[..., Ranking], trained: Path, tmp_path: Path
) -> None:
    whole = ranked(name, True)
    again = rank(asked(trained, name, micro_batch=7, shard_size=14), tmp_path / "again")
    for array in ("scores", "blocks", "norms"):
        assert relative_error(getattr(again, array), getattr(whole, array)) < 1e-9
    alone = rank(asked(trained, name, units=("induction:1.2",)), tmp_path / "alone")
    assert relative_error(alone.scores[0], whole.scores[0]) < 1e-9


@pytest.mark.parametrize(
    ("name", "places"),
    [
        ("kfac", ["sweeps/1/8", "factors/index.json", "shards/000001", "norms.npy"]),
        ("adam", ["queries/0001.npy", "shards/000000"]),
    ],
)
def test_law_2_a_killed_run_goes_on_to_the_same_bits(
    name: str, places: list[str], ranked: Callable[..., Ranking], trained: Path, tmp_path: Path
) -> None:
    out = tmp_path / "ranking"
    for place in places:
        assert finish(start(asked(trained, name), out, die_at=(place, "after"))) == -signal.SIGKILL, place
    run_until_complete(asked(trained, name), out)
    assert results(out) == results(ranked(name, True).path)


def test_law_2_two_workers_change_no_bit(
    ranked: Callable[..., Ranking], trained: Path, tmp_path: Path
) -> None:
    out = tmp_path / "ranking"
    processes = [start(asked(trained, "adam"), out, worker) for worker in ((1, 2), (0, 2))]
    assert [finish(process) for process in processes] == [0, 0]
    assert results(out) == results(ranked("adam", True).path)


# -- law 8 ----------------------------------------------------------------------------------------------------------


def test_law_8_another_preconditioner_or_optimizer_is_another_ranking(
    ranked: Callable[..., Ranking], trained: Path, tmp_path: Path
) -> None:
    marks = {ranked(name).manifest["fingerprint"] for name in EVERY} | {
        ranked("adam", True).manifest["fingerprint"]
    }
    assert len(marks) == 5
    out = shutil.copytree(ranked("adam").path, tmp_path / "ranking")
    with pytest.raises(CuratorError, match=r"settings\.preconditioner: there 'adam', asked for 'identity'"):
        rank(asked(trained, "identity", False), out)
    with pytest.raises(CuratorError, match=r"settings\.normalise: there False, asked for True"):
        rank(asked(trained, "adam"), out)
    other = shutil.copytree(trained, tmp_path / "step2")
    state = load_file(other / "optimizer.safetensors")
    state["gpt_neox.layers.1.attention.dense.weight.exp_avg_sq"][0, 0] *= 2
    save_file(state, other / "optimizer.safetensors")
    with pytest.raises(CuratorError, match=r"fingerprints\.optimizer: there '[0-9a-f]{16}', asked for"):
        rank(asked(other, "adam", False), out)


def test_law_8_changed_norms_are_refused(ranked: Callable[..., Ranking], tmp_path: Path) -> None:
    out = shutil.copytree(ranked("adam", True).path, tmp_path / "ranking")
    norms = np.load(out / "norms.npy")
    np.save(out / "norms.npy", norms * 2)
    with pytest.raises(CuratorError, match=r"norms\.npy: has fingerprint .* was written"):
        Ranking.open(out)
    (out / "norms.npy").unlink()
    with pytest.raises(CuratorError, match=r"norms\.npy.*damaged"):
        Ranking.open(out)


# -- rankings of older versions -------------------------------------------------------------------------------------


def as_before(out: Path, identity: bool) -> None:
    """The folder as a version without preconditioners left it: its manifest and what was made for it."""
    manifest = {
        k: v for k, v in load_json(out / "manifest.json").items() if k not in ("fingerprint", "content")
    }
    settings = manifest["settings"]
    del settings["preconditioner"], settings["normalise"]
    if identity:
        settings |= {"fisher": "sampled", "factor_samples": 18, "factor_seed": 0}
        settings["damping"] = {"mode": "identity", "alpha": 0.1, "floor": 1e-5}
    save_json(out / "manifest.json", manifest)
    for index in (*out.glob("*/index.json"), *out.glob("*/sides.json")):
        save_json(index, {**load_json(index), "made_for": identity_of(manifest)})


@pytest.mark.parametrize("name", ["ekfac", "identity"])
def test_what_an_older_version_began_goes_on_and_opens(
    name: str, ranked: Callable[..., Ranking], trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is done again; other settings are refused; its queries can be given."""
    out = tmp_path / "ranking"
    shutil.copytree(ranked(name).path, out)
    monkeypatch.setattr(Taps, "run", None)
    as_before(out, name == "identity")
    before = load_json(out / "manifest.json")["settings"]
    with pytest.raises(CuratorError, match=rf"settings\.preconditioner: there '{name}', asked for 'kfac'"):
        rank(asked(trained, "kfac", False), out)
    again = rank(asked(trained, name, False), out)
    assert again.manifest["settings"] == before
    np.testing.assert_array_equal(again.scores, ranked(name).scores)
    given = GivenQueries.open(out).request(again.manifest["request"]["corpus"])
    assert given.preconditioner == name and not given.normalise


@pytest.mark.parametrize("name", ["ekfac", "identity"])
def test_an_unfinished_one_of_an_older_version_is_finished(
    name: str, ranked: Callable[..., Ranking], trained: Path, tmp_path: Path
) -> None:
    out = tmp_path / "ranking"
    prepare_queries(asked(trained, name, False), out)
    as_before(out, name == "identity")
    queries = (out / "queries" / "index.json").read_bytes()
    again = rank(asked(trained, name, False), out)
    assert (out / "queries" / "index.json").read_bytes() == queries
    np.testing.assert_array_equal(again.scores, ranked(name).scores)
    scored = rank(
        GivenQueries.open(out).request(again.manifest["request"]["corpus"], samples=(3, 20)), tmp_path / "of"
    )
    assert scored.manifest["settings"]["preconditioner"] == name
    assert relative_error(scored.scores, again.scores) < 1e-9


def test_given_queries_normalise_as_their_ranking_or_where_asked(
    ranked: Callable[..., Ranking], tmp_path: Path
) -> None:
    corpus = ranked("adam").manifest["request"]["corpus"]
    for theirs, ours in ((True, False), (False, True)):
        given = GivenQueries.open(ranked("adam", theirs).path)
        again = rank(given.request(corpus, samples=(3, 20), normalise=ours), tmp_path / f"{theirs}")
        assert relative_error(again.scores, ranked("adam", True).scores) < 1e-9
        assert relative_error(again.norms, ranked("adam", True).norms) < 1e-9  # type: ignore[arg-type]


# -- refusals -------------------------------------------------------------------------------------------------------


def test_the_old_word_for_no_curvature_is_refused_with_the_new_one(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"damping: 'identity' is no damping: write preconditioner: identity \(--prec"
    ):
        RankSettings(damping="identity")
    said = refused(2, "rank", "--damping", "identity", "--out", tmp_path / "a")
    assert (
        "--damping: 'identity' is no damping: write preconditioner: identity (--preconditioner identity)"
        in said
    )
    (tmp_path / "rank.yml").write_text("corpus: rows.npy\ndamping: identity\n")
    with pytest.raises(
        UsageError, match=r"rank\.yml:2: damping: 'identity' is no damping: write preconditioner"
    ):
        load_strict(tmp_path / "rank.yml", RankSettings)


def test_a_checkpoint_without_the_optimizers_state_is_refused_before_any_work(
    tmp_path: Path, no_pass: None
) -> None:
    with pytest.raises(
        CuratorError, match=r"model: no state of an optimizer, there is no optimizer\.safetensors"
    ):
        rank(request(preconditioner="adam"), tmp_path / "ranking")
    assert not (tmp_path / "ranking" / "manifest.json").exists()


def test_factors_are_asked_of_a_ranking_that_has_none(ranked: Callable[..., Ranking]) -> None:
    from curator.ranking.bases import Bases

    with pytest.raises(CuratorError, match=r"no factors .*--preconditioner ekfac or kfac"):
        Bases.open(ranked("adam").path)
    assert Bases.open(ranked("kfac").path).entries


def test_the_flags_say_it_and_the_command_asks_for_the_same_again(
    ranked: Callable[..., Ranking], tmp_path: Path
) -> None:
    command = ranked("identity", True).manifest["request"]["command"]
    assert "--preconditioner identity" in command and "--normalise" in command and "--damping" not in command
    done(*_words(command), "--out", str(tmp_path / "again"))
    again = Ranking.open(tmp_path / "again")
    assert again.manifest["fingerprint"] == ranked("identity", True).manifest["fingerprint"]
    assert fingerprint(np.asarray(again.norms)) == again.manifest["content"]["norms"]


def _words(command: str) -> list[str]:
    import shlex

    return shlex.split(command)[1:]
