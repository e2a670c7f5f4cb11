"""Answers good and bad over real HTTP: what is kept, what goes back, what is set aside with its reason."""

import json
from pathlib import Path

import pytest
from distill_engine import GOOD, answered, engine
from openai_server import OpenAIServer, Reply
from pattern_samples import pattern_json, samples

from synth.distill.llm import EXCERPT
from synth.distill.reading import MOST, MOST_READ
from synth.patterns.pattern import Pattern, PatternError


def test_an_invalid_answer_goes_back_with_the_validators_words(
    openai_server: OpenAIServer, tmp_path: Path
) -> None:
    bad = answered(pattern_json(), pattern_json(template="{other}"))
    openai_server.script = [Reply(content=bad), Reply(content=GOOD)]
    found, set_aside = engine(openai_server, tmp_path)(samples(5))
    assert len(found) == 1 and not set_aside
    first, second = openai_server.requests
    assert [m["role"] for m in second.body["messages"]] == ["system", "user", "assistant", "user"]
    assert second.texts[:3] == [*first.texts, bad]
    assert "patterns.1: template: no field 'other'" in second.texts[3] and "patterns.0" not in second.texts[3]


@pytest.mark.parametrize("tries", [0, 1, 3])
def test_it_goes_back_so_often_and_then_what_is_valid_is_kept(
    openai_server: OpenAIServer, tmp_path: Path, tries: int
) -> None:
    bad = pattern_json(pattern_id="../etc")
    openai_server.reply = lambda request: Reply(content=answered(pattern_json(), bad))
    found, set_aside = engine(openai_server, tmp_path, tries=tries)(samples(5))
    assert len(openai_server.requests) == tries + 1
    assert len(found) == 1
    (item,) = set_aside
    assert item["samples"] == [100, 101, 102, 103, 104]
    assert "pattern_id: '../etc' does not match" in item["reason"] and json.loads(item["answer"]) == bad


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("I cannot help with that.", "not one JSON object"),
        (GOOD[: len(GOOD) // 2], "not one JSON object"),
        ("[" * 100_000, "nested too deeply"),
        ('{"patterns": ' + "[" * 500 + "]" * 500 + "}", "nested"),
        (GOOD[:-1] + ', "patterns": []}', "twice"),
        (f"Sure! {GOOD}", "not one JSON object"),
        (f"```json\n{GOOD}\n```\nOr:\n```json\n{GOOD}\n```", "not one JSON object"),
        ("null", "not an object"),
        ('{"patterns": NaN}', "NaN"),
        ('{"patterns": {}}', "not of type 'array'"),
        ('{"pattern": []}', "'patterns' is a required property"),
        (answered(7), "not of type 'object'"),
        (answered(None), "not of type 'object'"),
        (answered(pattern_json(run="rm -rf /", fields=[])), "passed over: run"),
        (answered(pattern_json(pattern_id="../../p")), "does not match"),
        (answered(pattern_json(template="INFO worker-{number.__class__}: {words}")), "plain {name}"),
        (answered(pattern_json(template="INFO worker-{number!r:>1000000000}: {words}")), "plain {name}"),
        (answered(pattern_json(template="INFO worker-{number[0]}: {words}")), "plain {name}"),
        (answered(pattern_json(template="x" * 5000)), "too long"),
        (answered(pattern_json(fields="all")), "not of type 'array'"),
        (answered(pattern_json(anchor_tokens=["INFO \ud800"])), "half a character"),
        ("x" * 10_000_000, "too long"),
        ("x" * 500_000, "not one JSON object"),
    ],
    ids=lambda text: text[:30],
)
def test_a_bad_answer_is_set_aside_with_its_reason(
    openai_server: OpenAIServer, tmp_path: Path, content: str, reason: str
) -> None:
    openai_server.reply = lambda request: Reply(content=content)
    found, set_aside = engine(openai_server, tmp_path, tries=1)(samples(5))
    assert not found and len(set_aside) == 1
    assert reason in set_aside[0]["reason"]
    assert len(openai_server.requests) == 2
    assert reason in openai_server.requests[1].texts[3]
    assert len(openai_server.requests[1].texts[2]) < EXCERPT + 20  # of 10 MB no more goes back
    json.dumps(set_aside, ensure_ascii=False).encode()


TWO = answered(
    pattern_json(), pattern_json(pattern_name="Other", template="INFO worker-{number} = {words}\n")
)
PRETTY = json.dumps(json.loads(TWO), indent=1)


@pytest.mark.parametrize(
    ("content", "names", "ignored"),
    [
        (GOOD[:-1] + ', "reasoning": "as seen", "count": 1}', ["Log lines"], ["reasoning", "count"]),
        ('{"reasoning": "first I look", ' + GOOD[1:], ["Log lines"], ["reasoning"]),
        ('{"\\ud800": 1, ' + GOOD[1:], ["Log lines"], ["\\ud800"]),
        (f"Sure!\n```json\n{GOOD}\n```\nI hope this helps.", ["Log lines"], None),
        (f"I see two.\n</think>\n\n{TWO}", ["Log lines", "Other"], None),
    ],
)
def test_what_stands_beside_the_patterns_throws_none_of_them_away(
    openai_server: OpenAIServer, tmp_path: Path, content: str, names: list[str], ignored: list[str] | None
) -> None:
    openai_server.reply = lambda request: Reply(content=content)
    found, set_aside = engine(openai_server, tmp_path)(samples(5))
    assert [one.pattern.pattern_name for one in found] == names and not set_aside
    assert len(openai_server.requests) == 1
    assert all(one.provenance.get("ignored_keys") == ignored for one in found)


FIELD = pattern_json()["fields"][0]
SURE = pattern_json(confidence=0.9)


@pytest.mark.parametrize(
    ("content", "ignored"),
    [
        (answered(SURE), ["patterns.confidence"]),
        (answered(SURE, SURE), ["patterns.confidence"]),
        (answered(SURE).replace("0.9", "NaN"), ["patterns.confidence"]),
        (answered(SURE).replace("0.9", "[" * 60 + "]" * 60), ["patterns.confidence"]),
        (
            answered(pattern_json(fields=[{**FIELD, "description": "n"}, pattern_json()["fields"][1]])),
            ["patterns.fields.description"],
        ),
        (
            answered(pattern_json(recurrence="often", examples=["INFO"])),
            ["patterns.recurrence", "patterns.examples"],
        ),
        (answered(SURE)[:-1] + ', "notes": 1}', ["notes", "patterns.confidence"]),
        (answered(SURE, pattern_json(template=""))[:-30], ["patterns.confidence"]),
    ],
    ids=lambda value: str(value)[:0],
)
def test_keys_of_no_pattern_are_passed_over_and_cost_nothing(
    openai_server: OpenAIServer, tmp_path: Path, content: str, ignored: list[str]
) -> None:
    """In a registry on disk, which is read strictly, a hand wrote such a key."""
    openai_server.reply = lambda request: Reply(content=content)
    found, set_aside = engine(openai_server, tmp_path, tries=0)(samples(5))
    assert [one.pattern for one in found] == [Pattern.from_json(pattern_json())]
    assert found[0].provenance["ignored_keys"] == ignored
    assert bool(set_aside) == (not content.endswith("}")) and len(openai_server.requests) == 1
    json.dumps([one.provenance for one in found], ensure_ascii=False).encode()
    with pytest.raises(PatternError, match="Additional properties"):
        Pattern.from_json(SURE)


def test_a_key_that_was_misspelt_is_named_where_it_is_missed(
    openai_server: OpenAIServer, tmp_path: Path
) -> None:
    misspelt = pattern_json(lenght_control="repeat")
    del misspelt["length_control"]
    openai_server.script = [Reply(content=answered(misspelt)), Reply(content=GOOD)]
    found, set_aside = engine(openai_server, tmp_path)(samples(5))
    assert len(found) == 1 and not set_aside
    for said in ("'length_control' is a required property", "were passed over: lenght_control"):
        assert f"patterns.0: {said}" in openai_server.requests[1].texts[3].replace(
            "keys that no pattern has ", ""
        )


@pytest.mark.parametrize("extra", [1, 5, MOST_READ - MOST])
def test_more_patterns_than_were_wanted_are_kept(
    openai_server: OpenAIServer, tmp_path: Path, extra: int
) -> None:
    many = [pattern_json(pattern_name=f"Number {n}") for n in range(MOST + extra)]
    openai_server.reply = lambda request: Reply(content=answered(*many))
    found, set_aside = engine(openai_server, tmp_path)(samples(5))
    assert len(found) == MOST + extra and not set_aside and len(openai_server.requests) == 1


def test_of_a_flood_of_patterns_the_first_are_kept_and_the_rest_is_told(
    openai_server: OpenAIServer, tmp_path: Path
) -> None:
    many = [pattern_json(pattern_name=f"Number {n}") for n in range(MOST_READ)] + [7] * 5000
    openai_server.reply = lambda request: Reply(content=answered(*many))
    found, set_aside = engine(openai_server, tmp_path, tries=0)(samples(5))
    assert len(found) == MOST_READ and len(set_aside) == 1
    assert f"{MOST_READ + 5000:,} are too many, at most {MOST} are wanted" in set_aside[0]["reason"]


@pytest.mark.parametrize(
    "broken",
    [
        '{"pattern_id": NaN}',
        '{"pattern_id": "p1", "pattern_id": "p2"}',
        '{"pattern_id": "\\ud800"}',
        '{"count": 1e999}',
        "9" * 5000,
        "[" * 60 + "]" * 60,
        "null",
    ],
    ids=lambda text: text[:24],
)
def test_one_pattern_that_is_no_json_throws_no_other_away(
    openai_server: OpenAIServer, tmp_path: Path, broken: str
) -> None:
    content = TWO[:-2] + f", {broken}]}}"
    openai_server.reply = lambda request: Reply(content=content)
    found, set_aside = engine(openai_server, tmp_path, tries=1)(samples(5))
    assert [one.pattern.pattern_name for one in found] == ["Log lines", "Other"] and len(set_aside) == 1
    assert set_aside[0]["reason"].startswith("patterns.2: ")
    assert "patterns.2: " in openai_server.requests[1].texts[3]
    json.dumps(set_aside, ensure_ascii=False).encode()


@pytest.mark.parametrize("text", [TWO, PRETTY, f"```json\n{TWO}", f"<think>Two.</think>\n{PRETTY}"])
@pytest.mark.parametrize("reason", ["length", "stop"])
def test_of_an_answer_that_was_cut_off_the_whole_patterns_are_kept(
    openai_server: OpenAIServer, tmp_path: Path, text: str, reason: str
) -> None:
    openai_server.reply = lambda request: Reply(content=text[: text.index("Other") + 3], finish_reason=reason)
    found, set_aside = engine(openai_server, tmp_path, tries=1)(samples(5))
    assert [one.pattern for one in found] == [Pattern.from_json(pattern_json())]
    assert ("cut off" if reason == "length" else "not one JSON object") in set_aside[0]["reason"]
    assert len(set_aside) == 1 and len(openai_server.requests) == 2


def test_a_whole_answer_that_ends_with_blanks_to_the_limit_is_whole(
    openai_server: OpenAIServer, tmp_path: Path
) -> None:
    openai_server.reply = lambda request: Reply(content=TWO + "\n" * 200, finish_reason="length")
    found, set_aside = engine(openai_server, tmp_path)(samples(5))
    assert len(found) == 2 and not set_aside and len(openai_server.requests) == 1


BAD = pattern_json(pattern_name="Bad", template="{other}")
OTHER = pattern_json(pattern_name="Other", template="INFO worker-{number} = {words}\n")


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        (Reply(content=answered(OTHER)[:-40], finish_reason="length"), "cut off"),
        (Reply(content="I cannot."), "not one JSON object"),
        (Reply(content="", finish_reason="content_filter"), "would not answer"),
        (Reply(status=400, error="Content Exists Risk"), "would not answer"),
        (
            Reply(status=400, error="This model's maximum context length is 4096 tokens"),
            "too long for the model",
        ),
        (Reply(status=413, error="Request Entity Too Large"), "too long for the model"),
    ],
    ids=lambda value: str(getattr(value, "status", value)),
)
def test_a_correction_that_fails_throws_nothing_of_the_first_answer_away(
    openai_server: OpenAIServer, tmp_path: Path, second: Reply, reason: str
) -> None:
    openai_server.script = [Reply(content=answered(pattern_json(), BAD)), second]
    found, set_aside = engine(openai_server, tmp_path, tries=1)(samples(5))
    assert [one.pattern for one in found] == [Pattern.from_json(pattern_json())]
    assert reason in set_aside[0]["reason"] and "no field 'other'" in set_aside[1]["reason"]
    assert len(openai_server.requests) == 2
    again, _ = engine(openai_server, tmp_path, tries=1)(samples(5))
    assert again == found and len(openai_server.requests) == 2


def test_what_a_correction_leaves_out_is_kept_once_and_with_the_answer_it_stood_in(
    openai_server: OpenAIServer, tmp_path: Path
) -> None:
    mended = pattern_json(pattern_name="Bad", pattern_id="mended")
    openai_server.script = [
        Reply(content=answered(pattern_json(), OTHER, BAD)),
        Reply(content=answered({**OTHER, "pattern_id": "p9"}, mended)),
    ]
    found, set_aside = engine(openai_server, tmp_path)(samples(5))
    assert [one.pattern.pattern_name for one in found] == ["Log lines", "Other", "Bad"] and not set_aside
    requests = [one.provenance["request"] for one in found]
    assert requests[0] == requests[1] != requests[2]
