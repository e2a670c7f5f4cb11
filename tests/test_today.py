"""Folders of every kind that version 0.1 wrote open, with the numbers that stood in them (golden/README.md).

The numbers were read from the files with numpy alone. What has a writer that needs nothing but the opened folder is
written again, and is the same byte by byte.
"""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from engine_parts import GOLDEN

from curator.corpus import open_corpus
from curator.corpus.rendered import RenderedCorpus
from curator.influence.emission import Emission, load_sum, open_sums
from curator.models import load_model
from curator.neox.records import read_record, read_run
from curator.plan.plan import Plan
from curator.plan.rows import PlannedRows, open_sources
from curator.ranking.bases import Bases
from curator.ranking.queries import Queries
from curator.ranking.ranking import Ranking
from curator.ranking.selection import Selection
from curator.scan.scan import Scan
from curator.training.checkpoint import read_checkpoint, trained_checkpoints
from curator.training.checkpoint import read_run as read_training
from curator.units.block_json import block_of
from synth.generate.generators import Generators
from synth.patterns.registry import Registry
from synth.render.folder import Rows

TODAY = GOLDEN / "today"
PLANS = {  # slots, fingerprint, masked slots, sum of the chosen samples
    "mask-bottom": (800, "e6505da419510b7e", 9, 3118),
    "mask-epochs": (1600, "ff926a85c16a26b9", 32, 5078),
    "mask-in-category": (800, "808f6440a61e1003", 20, 5995),
    "mask-loss-matched": (800, "352d72a22ddea394", 20, 6450),
    "mask-random": (800, "33a3005b6a6fc70f", 20, 6543),
    "mask-renormalised": (800, "8d3b1f3694807b95", 26, 8162),
    "mask-top": (800, "0504334b88de0cb5", 32, 9800),
    "inject-after": (832, "bf7c6d705cb3f252", 0, 9800),
    "inject-rendered": (816, "c11c00971d40c7bd", 0, None),
    "inject-replace": (800, "f2e31a88b8212cb8", 32, 7447),
    "inject-rows": (832, "d291f1e67ac12ed3", 0, None),
    "inject-spread": (864, "b659543d1f3eba50", 0, 9800),
}


def same_files(written: Path, there: Path) -> None:
    """Every file of ``written`` is the one of that name in ``there``, byte by byte."""
    names = [path.name for path in written.iterdir()]
    assert names and all((written / name).read_bytes() == (there / name).read_bytes() for name in names)


def test_a_ranking_opens_with_its_queries_and_factors() -> None:
    ranking = Ranking.open(TODAY / "rank64")
    assert ranking.units == ["induction:1.0", "induction:1.1"] and len(ranking) == 320
    assert ranking.scores[:, 0].tolist() == [14.30767415669336, -0.5042122341586258]
    assert float(ranking.losses.sum()) == pytest.approx(46936.99612780809, rel=1e-14)
    assert float(ranking.blocks[0].sum()) == pytest.approx(86.01329855360716, rel=1e-14)
    ranking.check_corpus(open_corpus(TODAY / "corpus").fingerprint(), TODAY / "corpus")
    queries = Queries.open(TODAY / "rank64")
    assert float(queries.load(queries.entries[0]).sum()) == pytest.approx(46.36239231342432, rel=1e-12)
    bases = Bases.open(TODAY / "rank64")
    bases.check(queries.made_for, "the queries")
    assert [tuple(basis.shape) for basis in bases.of(block_of(queries.entries[1]))] == [(16, 16), (8, 8)]


def test_a_ranking_of_an_emission_and_one_with_given_queries_open() -> None:
    emitted = Ranking.open(TODAY / "rank-emitted-HEAD")
    assert (emitted.first_sample, emitted.end) == (20, 28)
    assert emitted.scores[0, :2].tolist() == pytest.approx([1.8076788, 1.1377074], rel=1e-6)
    given = Ranking.open(TODAY / "audit" / "ranking")
    assert len(given) == 48 and float(given.scores[0, 0]) == pytest.approx(0.7342689, rel=1e-6)


@pytest.mark.parametrize("name", PLANS)
def test_a_plan_opens_and_is_written_again_as_it_was(name: str, tmp_path: Path) -> None:
    slots, fingerprint, masked, samples = PLANS[name]
    plan = Plan.load(TODAY / name)
    assert (plan.n_slots, plan.fingerprint(), len(plan.masked_slots())) == (slots, fingerprint, masked)
    if plan.sources:
        corpus = open_corpus(TODAY / "corpus")
        rows = PlannedRows(plan, corpus, open_sources(plan, corpus))
        assert rows.rows(np.arange(slots)).shape == (slots, 33)
    else:
        plan.save(tmp_path / "plan")
        same_files(tmp_path / "plan", TODAY / name)
    if samples is not None:
        selection = Selection.open(TODAY / name)
        assert int(selection.samples.sum()) == samples
        selection.save(tmp_path / "selection")
        same_files(tmp_path / "selection", TODAY / name)


def test_an_emission_opens_with_its_sums() -> None:
    emission = Emission.open(TODAY / "emission")
    assert emission.steps_written == (3, 3)
    assert emission.samples.tolist() == [8, 9, 11, *range(20, 28)]  # and sample 1 of the injected set
    assert float(emission.ranks[0].array("losses").sum()) == pytest.approx(2345.6118, rel=1e-6)
    sums = emission.ranks[0].path / "sums" / "8"
    state = open_sums(sums)
    assert all(np.isfinite(load_sum(sums, state, number)).all() for number in range(state["arrays"]))
    run, record = read_run(TODAY / "save"), read_record(TODAY / "save" / "global_step8")
    assert run is not None and record is not None and record.step == 8
    assert run.run == record.run == emission.manifest["run"]
    assert record.stretches[0].plan_fingerprint == emission.manifest["fingerprints"]["plan"]


def test_a_scan_opens_and_is_written_again_as_it_was(tmp_path: Path) -> None:
    scan = Scan.open(TODAY / "scan")
    assert scan.steps.tolist() == [0, 10, 20, 40]
    assert float(scan.curve("induction:0.1")[-1]) == pytest.approx(0.13828404, rel=1e-6)
    scan.save(tmp_path)
    same_files(tmp_path, TODAY / "scan")


def test_a_checkpoint_of_the_embedded_trainer_opens() -> None:
    folder = trained_checkpoints(TODAY / "base")[20]
    assert read_training(folder)["plan_fingerprint"] == "146a9a50e8262a87"
    model = load_model(folder, torch.float32)
    optimizer = torch.optim.Adam(model.parameters())
    read_checkpoint(folder, model, optimizer)
    assert {int(state["step"]) for state in optimizer.state.values()} == {20}
    assert np.load(TODAY / "base" / "losses.npy")[[0, -1]].tolist() == pytest.approx([5.906718, 4.5159974])


def test_patterns_generators_rows_and_audits_open() -> None:
    registry = Registry.open(TODAY / "patterns")
    generators = Generators.open(TODAY / "generators")
    rows = Rows.open(TODAY / "rows")
    assert [entry.pattern.pattern_id for entry in registry.entries] == ["p001"] == rows.patterns
    assert [one.pattern for one in generators.generators] == [entry.pattern for entry in registry.entries]
    assert rows.manifest["identity"]["generators"] == generators.fingerprint()
    corpus = open_corpus(TODAY / "rows")
    assert isinstance(corpus, RenderedCorpus) and corpus.fingerprint() == "b12b64b1c0223574"
    assert corpus.rows(np.array([0]))[0, :6].tolist() == [13, 266, 8, 72, 198, 256]
    assert rows.row_candidates[:4].tolist() == [18, 4, 21, 10]
    scored = open_corpus(TODAY / "audit" / "scored.npy")
    told = scored.provenance(0)
    assert len(scored) == 48 and told is not None and told["pattern"] == "p001"


def test_the_folders_name_no_place_of_the_machine_that_made_them() -> None:
    def strings(value: object) -> list[str]:
        if isinstance(value, dict):
            return [text for item in value.values() for text in strings(item)]
        if isinstance(value, list):
            return [text for item in value for text in strings(item)]
        return [value] if isinstance(value, str) else []

    for file in TODAY.rglob("*.json"):
        found = [
            text
            for text in strings(json.loads(file.read_text()))
            if re.match(r"/(tmp|root|home|work)\b", text)
        ]
        assert not found, (file, found)
