"""Law 8: every reader of rankings, queries, factors, plans and rows checks what it reads, and says both sides.

The file that was changed keeps its type and shape: only its content gives it away.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from commands import done, refused
from engine_parts import GOLDEN
from forked import finish
from mmap_ninja import numpy as ninja
from rank_runs import CORPUS, UNITS, request, start

from curator.artifacts.files import load_json, save_array, save_json
from curator.artifacts.fingerprints import fingerprint
from curator.corpus import base, open_corpus
from curator.corpus.ninja import NinjaCorpus
from curator.errors import CuratorError
from curator.influence.emission import load_sum
from curator.models import load_config
from curator.plan.plan import Plan
from curator.plan.rows import open_sources
from curator.ranking.bases import Bases
from curator.ranking.queries import Queries
from curator.ranking.ranking import Ranking
from curator.ranking.run import prepare_queries, rank
from curator.units import parse_units
from curator.units.base import Architecture
from neox_patches.adapters.base import Adapter
from neox_patches.adapters.maps import linear_maps
from neox_patches.clock import Layout
from neox_patches.emit.blocks import TrainedModel, load_queries
from neox_patches.emit.store import RankStore


def negate(path: Path) -> None:
    """The same file with every number negated."""
    save_array(path, -np.load(path))


def edit(path: Path, change: Callable[[Any], None]) -> None:
    content = load_json(path)
    change(content)
    save_json(path, content)


def without(path: Path, *keys: str) -> None:
    """The JSON file as an older version wrote it."""
    edit(path, lambda content: [content.pop(key) for key in keys])


@pytest.fixture
def copied(whole: Ranking, tmp_path: Path) -> Path:
    return shutil.copytree(whole.path, tmp_path / "copied")


# -- rankings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["scores", "blocks", "losses"])
def test_law_8_a_ranking_whose_numbers_were_replaced_is_refused(copied: Path, name: str) -> None:
    negate(copied / f"{name}.npy")
    with pytest.raises(
        CuratorError, match=rf"{name}\.npy: has fingerprint \w+, but \w+ was written.*rank again"
    ):
        Ranking.open(copied)


def test_law_8_every_command_that_takes_a_ranking_refuses_it(copied: Path, tmp_path: Path) -> None:
    negate(copied / "scores.npy")
    out = tmp_path / "out"
    words: list[tuple[Any, ...]] = [
        ("show", copied),
        ("mask", "--ranking", copied, "--select", "random", "--count", 2, "--batch-size", 1, "--out", out),
        ("inject", "--ranking", copied, "--count", 2, "--batch-size", 1, "--after", 1, "--out", out),
    ]
    for command in words:
        assert "scores.npy: has fingerprint" in refused(1, *command)
    assert not out.exists()


def shift_samples(manifest: dict[str, Any]) -> None:
    manifest["samples"] = [manifest["samples"][0] + 1, manifest["samples"][1] + 1]


def swap_units(manifest: dict[str, Any]) -> None:
    manifest["units"].reverse()


@pytest.mark.parametrize("change", [shift_samples, swap_units])
def test_law_8_a_manifest_that_was_edited_is_refused(
    copied: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    """The arrays fit it still, but would be of other samples, or of other units."""
    edit(copied / "manifest.json", change)
    with pytest.raises(CuratorError, match=r"manifest\.json: what it says has fingerprint .* was written"):
        Ranking.open(copied)


def test_law_8_the_arrays_of_another_ranking_are_refused_even_with_their_fingerprints(
    copied: Path, tmp_path: Path
) -> None:
    other = rank(request(alpha=0.2), tmp_path / "other")
    shutil.copy(other.path / "scores.npy", copied / "scores.npy")
    edit(
        copied / "manifest.json",
        lambda manifest: manifest["content"].update(scores=other.manifest["content"]["scores"]),
    )
    with pytest.raises(CuratorError, match="it was edited, or is of another ranking"):
        Ranking.open(copied)


def test_a_ranking_of_a_version_before_the_fingerprints_opens(whole: Ranking, copied: Path) -> None:
    without(copied / "manifest.json", "content", "fingerprint")
    without(copied / "factors" / "index.json", "content")
    edit(
        copied / "queries" / "index.json",
        lambda index: [entry.pop("fingerprint") for entry in index["blocks"]],
    )
    np.testing.assert_array_equal(Ranking.open(copied).scores, whole.scores)
    queries = Queries.open(copied)
    assert [queries.load(entry).shape for entry in queries.entries]
    Bases.open(copied).of(blocks_of_golden()[0])


# -- queries --------------------------------------------------------------------------------------------------------


def blocks_of_golden() -> list[Any]:
    model: Any = SimpleNamespace(config=load_config(GOLDEN / "model"), base_model_prefix="gpt_neox")
    return [block for unit in parse_units(UNITS, model, "paper") for block in unit.subspace(model)]


def golden_trained() -> TrainedModel:
    """The golden model as a trainer has it."""
    config = load_config(GOLDEN / "model")
    return TrainedModel(
        Architecture(config), linear_maps(config.hidden_size, config.intermediate_size, Adapter.mlp_maps), {}
    )


def test_law_8_negated_queries_are_refused_by_all_who_read_queries(
    copied: Path, tmp_path: Path, no_pass: None
) -> None:
    assert len(load_queries([copied], golden_trained())) == len(blocks_of_golden())
    negate(copied / "queries" / "0001.npy")
    said = r"queries/0001\.npy: has fingerprint \w+, but \w+ was written"
    with pytest.raises(CuratorError, match=said):
        load_queries([copied], golden_trained())
    words = ("rank", "--queries-of", copied, "--corpus", CORPUS, "--out", tmp_path / "again")
    assert "0001.npy: has fingerprint" in refused(1, *words)


def test_law_8_a_resumed_ranking_reads_its_own_queries_no_less_carefully(tmp_path: Path) -> None:
    prepare_queries(request(), tmp_path / "ranking")
    negate(tmp_path / "ranking" / "queries" / "0000.npy")
    with pytest.raises(CuratorError, match=r"0000\.npy: has fingerprint"):
        rank(request(), tmp_path / "ranking")


def test_law_8_queries_of_another_run_than_their_manifests_are_refused_by_the_trainer(tmp_path: Path) -> None:
    """Ranked with another damping, and put beside the manifest of the first."""
    for name, alpha in (("one", 0.1), ("two", 0.2)):
        prepare_queries(request(alpha=alpha), tmp_path / name)
    shutil.rmtree(tmp_path / "one" / "queries")
    shutil.copytree(tmp_path / "two" / "queries", tmp_path / "one" / "queries")
    with pytest.raises(CuratorError, match=r"queries/index\.json: made for another run"):
        load_queries([tmp_path / "one"], golden_trained())


def test_a_query_that_does_not_fit_its_block_is_refused(copied: Path) -> None:
    index = load_json(copied / "queries" / "index.json")
    cut = np.load(copied / "queries" / "0000.npy")[:-1]
    index["blocks"][0]["fingerprint"] = fingerprint(cut)
    save_json(copied / "queries" / "index.json", index)
    save_array(copied / "queries" / "0000.npy", cut)
    with pytest.raises(CuratorError, match=r"0000\.npy: holds \(\d+, \d+\), but block induction:1\.2/qk has"):
        load_queries([copied], golden_trained())


def test_a_cut_index_of_queries_is_refused_in_one_line(copied: Path) -> None:
    edit(copied / "queries" / "index.json", lambda index: index["blocks"][0].pop("module"))
    with pytest.raises(CuratorError, match=r"index\.json: was edited or cut short"):
        Queries.open(copied)


# -- factors --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["sides", "bases", "eigenvalues"])
def test_law_8_factors_that_were_changed_make_no_query(tmp_path: Path, kind: str) -> None:
    """The queries are lost, the factors are there, and one of their files holds other numbers."""
    out = tmp_path / "ranking"
    prepare_queries(request(), out)
    shutil.rmtree(out / "queries")
    negate(out / "factors" / kind / "0000.npy")
    with pytest.raises(CuratorError, match=rf"{kind}/0000\.npy: has fingerprint .* was written"):
        rank(request(), out)


@pytest.mark.parametrize(
    ("place", "file"),
    [
        ("factors/sweeps/1/12", "factors/sweeps/1/12/0000.npy"),
        ("factors/sides.json", "factors/bases/0000.npy"),
    ],
)
def test_law_8_half_a_fit_that_was_changed_is_not_gone_on_with(tmp_path: Path, place: str, file: str) -> None:
    out = tmp_path / "ranking"
    assert finish(start(request(), out, die_at=(place, "after"))) == -9
    negate(out / file)
    with pytest.raises(CuratorError, match=r"0000\.npy: has fingerprint .* was written.*remove"):
        rank(request(), out)


def test_law_8_bases_that_were_changed_or_are_of_another_ranking_are_refused(
    copied: Path, tmp_path: Path
) -> None:
    block = blocks_of_golden()[0]
    Bases.open(copied).of(block)
    negate(copied / "factors" / "bases" / "0000.npy")
    with pytest.raises(CuratorError, match=r"bases/0000\.npy: has fingerprint"):
        Bases.open(copied).of(block)
    edit(copied / "factors" / "index.json", lambda index: index.update(made_for="0123456789abcdef"))
    for given in (copied, copied / "factors"):
        with pytest.raises(CuratorError, match=r"factors/index\.json: made for another run"):
            Bases.open(given)


def test_law_8_sums_of_an_emission_that_were_changed_are_refused(tmp_path: Path) -> None:
    """By the trainer that goes on, and by the ranking that is made of them."""
    layout = Layout(2, 1, 1, 0, 1, 0, 1, 0)
    store = RankStore(tmp_path / "rank-00000", layout, [0, 1], None, [], 1, {})
    store.save_sums(1, [np.arange(4.0)], {"arrays": 1, "parts": {}})
    found = store.load_sums(1)
    assert found is not None
    np.testing.assert_array_equal(found[0][0], np.arange(4.0))
    folder = tmp_path / "rank-00000" / "sums" / "1"
    negate(folder / "0000.npy")
    for read in (
        lambda: store.load_sums(1),
        lambda: load_sum(folder, load_json(folder / "state.json"), 0),
    ):
        with pytest.raises(CuratorError, match=r"sums/1/0000\.npy: has fingerprint"):
            read()


# -- rows, plans, scans ---------------------------------------------------------------------------------------------


@pytest.fixture
def rendered(tmp_path: Path) -> Path:
    """A folder of rows as `synth render` leaves it, as far as the corpus reader looks."""
    folder = tmp_path / "rows"
    rows = np.load(CORPUS)[:8]
    ninja.from_ndarray(folder, rows)
    per_row = {"row_patterns": np.repeat(np.arange(2), 4), "row_candidates": np.arange(8)}
    for name, values in per_row.items():
        save_array(folder / f"{name}.npy", values)
    save_json(folder / "patterns.json", ["p001", "p002"])
    manifest = {
        "format": "synth-rows-1",
        "fingerprint": open_corpus(folder).fingerprint(),
        "content": open_corpus(folder).whole_fingerprint(),
        "fingerprints": {
            "patterns": fingerprint(["p001", "p002"]),
            **{name: fingerprint(values) for name, values in per_row.items()},
        },
    }
    save_json(folder / "manifest.json", manifest)
    return folder


def change_a_token(folder: Path) -> None:
    data = bytearray((folder / "data.ninja").read_bytes())
    data[10] ^= 1
    (folder / "data.ninja").write_bytes(data)


INJECT = ("inject", "--corpus", CORPUS, "--count", 4, "--batch-size", 4, "--after", 1)


def test_law_8_rendered_rows_that_were_changed_are_not_injected(rendered: Path, tmp_path: Path) -> None:
    done(*INJECT, "--rows", rendered, "--out", tmp_path / "plan")
    plan = Plan.load(tmp_path / "plan")
    change_a_token(rendered)
    said = refused(1, *INJECT, "--rows", rendered, "--out", tmp_path / "other")
    assert "data.ninja: the rows have fingerprint" in said and "they were changed" in said
    assert not (tmp_path / "other").exists()
    with pytest.raises(CuratorError, match="fingerprint"):
        open_sources(plan, open_corpus(CORPUS))


def test_law_8_one_token_of_many_rendered_rows_is_seen_where_a_fingerprint_reads_blocks(
    rendered: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("WHOLE_FINGERPRINT_TOKENS", 0), ("SAMPLED_BLOCKS", 2), ("BLOCK_ROWS", 1)):
        monkeypatch.setattr(base, name, value)  # the first and the last row
    blocks = NinjaCorpus(rendered).fingerprint()
    edit(rendered / "manifest.json", lambda manifest: manifest.update(fingerprint=blocks))
    open_corpus(rendered)
    data = np.fromfile(rendered / "data.ninja", np.uint8)
    data[len(data) // 2] ^= 1
    data.tofile(rendered / "data.ninja")
    assert NinjaCorpus(rendered).fingerprint() == blocks
    with pytest.raises(CuratorError, match="they were changed"):
        open_corpus(rendered)


def test_law_8_rendered_rows_that_were_changed_are_not_ranked(
    rendered: Path, tmp_path: Path, no_pass: None
) -> None:
    change_a_token(rendered)
    with pytest.raises(CuratorError, match="they were changed"):
        rank(request(corpus=rendered, samples=None), tmp_path / "ranking")


@pytest.mark.parametrize("name", ["row_patterns", "row_candidates", "patterns"])
def test_law_8_the_provenance_of_rendered_rows_is_what_was_written(rendered: Path, name: str) -> None:
    if name == "patterns":
        save_json(rendered / "patterns.json", ["p002", "p001"])
    else:
        save_array(rendered / f"{name}.npy", np.load(rendered / f"{name}.npy")[::-1])
    with pytest.raises(CuratorError, match=rf"{name}\.(npy|json): has fingerprint .* was written"):
        open_corpus(rendered)


def test_law_8_a_plan_whose_weights_were_changed_is_refused(tmp_path: Path) -> None:
    Plan.identity(16, 4, "corpus").mask(np.array([3])).save(tmp_path)
    save_array(tmp_path / "weight_slots.npy", np.array([4]))
    with pytest.raises(CuratorError, match="the arrays have fingerprint"):
        Plan.load(tmp_path)
