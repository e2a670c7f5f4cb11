"""A pattern is credited to the samples in which it occurs, whoever wrote it, and weighs by them."""

import json
import random
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from command_line import done, refused
from engine_parts import GOLDEN
from openai_server import OpenAIServer, Reply
from pattern_samples import log_pattern, log_text, pattern_json, samples_of, span_pattern
from studies import server_words, write_study
from tokenizers import Tokenizer

from curator.corpus import open_corpus
from curator.ranking.ranking import Ranking
from synth.audit.fidelity import audit_fidelity
from synth.distill.llm import LlmEngine
from synth.distill.miner import literal, mine, structural
from synth.distill.settings import DistillSettings
from synth.patterns import occurrence
from synth.patterns.matcher import Matcher
from synth.patterns.occurrence import Found
from synth.patterns.pattern import Pattern
from synth.patterns.registry import Registry, merge
from synth.patterns.samples import SampleText
from synth.render.folder import Rows

TEXTS = [
    "INFO worker-01: alpha beta\nINFO worker-02: gamma delta\n",
    "river stone light cloud",
    "INFO worker-03: alpha beta\nand no more of it",
    "x INFO worker-04: beta stone river\nINFO worker-04: alpha beta\nINFO worker-",
    "abcde abcde ab",
]
TOKENIZER = GOLDEN / "model" / "tokenizer.json"


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
    chat = openai_server.settings(concurrency=1)
    engine = LlmEngine(DistillSettings(ranking="r", out="o", chat=chat, per_request=3), tmp_path)
    found, set_aside = engine(samples())
    assert [one.samples for one in found] == [(10,), (), (13,), ()] and set_aside == []
    assert found[0].scores == (5.0,)


TILED = "".join(random.Random(0).choices("abcdefghij", k=400))


def letters(name: str) -> Pattern:
    """Four to sixty letters, repeated: in `TILED` a search of some work."""
    field = {"name": "span", "type": "characters", "values_or_rules": "lowercase", "count": [4, 60]}
    fields = [{**field, "scope": "text"}]
    return log_pattern(pattern_name=name, anchor_tokens=[], fields=fields, template="{span}")


def test_a_sample_whose_search_was_given_up_is_neither_found_nor_absent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    some = samples([TILED, "abcde" * 9, "no"])
    assert Found.where(letters("L"), some).undecided == ()
    monkeypatch.setattr(occurrence, "Matcher", partial(Matcher, work=100_000))
    found, none = (
        Found.where(letters("L"), some),
        Found.where(letters("Letters"), samples([TILED, TILED[1:]])),
    )
    assert (found.samples, found.undecided, none.samples, none.undecided) == ((11,), (10,), (), (10, 11))
    merged = merge([found, Found.where(letters("L"), samples([TILED]))])
    assert [one.provenance for one in merged] == [
        {"samples": [11], "scores": [4.0], "merged": 2, "undecided": 1}
    ]
    decided = Found(letters("L"), (10,), (5.0,))  # by another search, of a pattern that is nearly the same
    assert "undecided" not in merge([found, decided])[0].provenance


def test_with_anchors_one_that_stands_there_once_is_decided(monkeypatch: pytest.MonkeyPatch) -> None:
    class TwiceIsTooMuch(Matcher):
        def occurs(self, text: str) -> bool | None:
            return None if self.least == 2 else super().occurs(text)

    monkeypatch.setattr(occurrence, "Matcher", TwiceIsTooMuch)
    found = Found.where(log_pattern(), samples(TEXTS[1:3]))
    assert found.samples == (11,) and found.undecided == ()


@pytest.mark.parametrize("given_up", ["INFO worker-", "QQ"])
def test_the_miner_sets_nothing_aside_that_it_could_not_look_for(
    given_up: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class GivesUp(Matcher):
        def occurs(self, text: str) -> bool | None:
            return None if given_up in text else super().occurs(text)

    rng, tokenizer = random.Random(1), Tokenizer.from_file(str(TOKENIZER))
    spans = ["".join(rng.choices("abcdefghij klm", k=40)) + ("QQ" if n % 2 else "") for n in range(8)]
    some = samples_of([log_text(rng, 20) for _ in range(8)] + [span * 8 for span in spans], tokenizer)
    before, aside = mine(some, tokenizer)
    for module in (literal, structural):
        monkeypatch.setattr(module, "Matcher", GivesUp)
    after, still_aside = mine(some, tokenizer)
    assert {one.pattern for one in before} <= {one.pattern for one in after} and still_aside == aside
    for one in before:
        again = next(other for other in after if other.pattern == one.pattern)
        given = {s.sample for s in some if given_up in s.text}
        assert set(again.samples) == set(one.samples) - given
        assert set(again.undecided) & set(one.samples) == set(one.samples) & given
    assert any(one.undecided and not one.samples for one in after) == (given_up != "QQ")


def test_a_pattern_that_could_be_looked_for_in_no_sample_is_named_so(
    openai_server: OpenAIServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class GivesUp(Matcher):
        def occurs(self, text: str) -> bool | None:
            return None

    monkeypatch.setattr(occurrence, "Matcher", GivesUp)
    openai_server.reply = lambda request: Reply(content=json.dumps({"patterns": [pattern_json()]}))
    monkeypatch.chdir(tmp_path)
    ranking = write_study(tmp_path / "study")
    said = done("distill", ranking, "--out", "patterns", *server_words(openai_server.url))
    assert "p001: undecided" in said and "in none of" not in said
    provenance = Registry.open(tmp_path / "patterns").entries[0].provenance
    assert provenance["samples"] == [] and provenance["undecided"] > 50


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
