"""A pattern is credited to the samples in which it occurs, whoever wrote it, and weighs by them."""

import json
from pathlib import Path

import numpy as np
import pytest
from command_line import done, refused
from openai_server import OpenAIServer, Reply
from patterns import log_pattern, pattern_json, span_pattern
from studies import server_words, write_study

from curator.corpus import open_corpus
from curator.ranking.ranking import Ranking
from synth.audit.fidelity import audit_fidelity
from synth.distill.llm import LlmEngine
from synth.patterns.occurrence import Found
from synth.patterns.registry import Registry
from synth.patterns.samples import SampleText
from synth.render.folder import Rows

TEXTS = [
    "INFO worker-01: alpha beta\nINFO worker-02: gamma delta\n",
    "river stone light cloud",
    "INFO worker-03: alpha beta\nand no more of it",
    "x INFO worker-04: beta stone river\nINFO worker-04: alpha beta\nINFO worker-",
    "abcde abcde ab",
]


def samples(texts: list[str] = TEXTS) -> list[SampleText]:
    return [SampleText(10 + n, 5.0 - n, text, np.arange(4)) for n, text in enumerate(texts)]


def test_a_pattern_is_found_where_it_stands_twice_in_a_row() -> None:
    found = Found.where(log_pattern(), samples(), request="r")
    assert found.samples == (10, 13) and found.scores == (5.0, 2.0) and found.provenance == {"request": "r"}
    assert Found.where(span_pattern(), samples()).samples == (14,)


def test_where_it_stands_twice_nowhere_those_count_in_which_its_anchors_stand_once() -> None:
    """A form that comes back from one sample to the next; without an anchor, one repetition would be anything."""
    assert Found.where(log_pattern(), samples(TEXTS[1:3])).samples == (11,)
    assert Found.where(span_pattern(), samples(TEXTS[1:3])).samples == ()


def test_an_answer_is_credited_to_the_samples_of_its_request_in_which_it_occurs(
    openai_server: OpenAIServer, tmp_path: Path
) -> None:
    nowhere = pattern_json(anchor_tokens=["*** "], template="*** {number} {words}\n")
    openai_server.reply = lambda request: Reply(content=json.dumps({"patterns": [pattern_json(), nowhere]}))
    engine = LlmEngine(openai_server.settings(concurrency=1), tmp_path, per_request=3)
    found, set_aside = engine(samples())
    assert [one.samples for one in found] == [(10,), (), (13,), ()] and set_aside == []
    assert found[0].scores == (5.0,)


def test_what_was_found_in_no_sample_is_said_and_weighs_nothing(
    openai_server: OpenAIServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two patterns, of which one occurs: the other is kept, and is rendered when asked for by a weight alone."""
    nowhere = pattern_json(
        pattern_name="Stars", anchor_tokens=["*** "], template="*** {number} {words}\n", pattern_id="p2"
    )
    openai_server.reply = lambda request: Reply(content=json.dumps({"patterns": [pattern_json(), nowhere]}))
    monkeypatch.chdir(tmp_path)
    ranking = write_study(tmp_path / "study")
    said = done("distill", ranking, "--out", "patterns", *server_words(openai_server.url))
    assert "p002: in none of the samples they were made of, so that they weigh 0" in said
    entries = Registry.open(tmp_path / "patterns").entries
    assert len(entries[0].provenance["samples"]) > 50 and entries[1].provenance["samples"] == []
    done("generate", "patterns", "--all", "--engine", "builtin", "--out", "generators")
    manifest = json.loads((tmp_path / "generators" / "manifest.json").read_text())
    assert [one["samples"] for one in manifest["generators"]] == [len(entries[0].provenance["samples"]), 0]
    assert manifest["generators"][0]["distilled_from"] == entries[0].provenance["samples"]
    done("render", "generators", "--count", 20, "--out", "rows")
    assert json.loads((tmp_path / "rows" / "patterns.json").read_text()) == ["p001"]
    rows, made_of = Rows.open(Path("rows")), Ranking.open(ranking)
    kept = audit_fidelity(
        rows, made_of, open_corpus(tmp_path / "study" / "rows.npy"), np.arange(len(made_of))
    )
    assert set(kept["patterns"]) == {"p001"} and kept["note"] == ""  # a model's patterns like the miner's
    assert kept["patterns"]["p001"]["samples"] == len(entries[0].provenance["samples"])
    done("render", "generators", "--count", 20, "--weights", "p002=1", "--out", "more")
    assert json.loads((tmp_path / "more" / "patterns.json").read_text()) == ["p001", "p002"]
    assert "weighs 0 unless" in refused(
        2, "render", "generators", "--count", 20, "--weights", "p001=0", "--out", "n"
    )
