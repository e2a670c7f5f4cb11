"""Settings, prompt files, strict reading of answers, schemas for structured output."""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from curator.errors import CuratorError, UsageError
from synth.distill.llm import ANSWER_SCHEMA, LlmEngine
from synth.distill.reading import read_patterns
from synth.distill.settings import DistillSettings
from synth.llm.answers import InvalidAnswer, complaint, fenced, first_items, json_object, json_parts
from synth.llm.prompts import delimited, load_prompt, printable
from synth.llm.schemas import strict_schema, without_nulls
from synth.llm.settings import NO_KEY, ChatSettings
from synth.patterns.membership import Follower
from synth.patterns.samples import SampleText


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"base_url": "api.deepseek.com"}, "expected a URL"),
        ({"base_url": "http://ex ample/v1"}, "base_url: 'http://ex ample/v1' .* without blanks"),
        ({"base_url": "http://h/v1\n"}, "base_url: .* without blanks or unprintable"),
        ({"base_url": "http://h\x00/v1"}, r"base_url: 'http://h\\x00/v1' .* unprintable"),
        ({"base_url": "http://h\u200b/v1"}, r"base_url: 'http://h\\u200b/v1' .* unprintable"),
        ({"base_url": "http://h/v1\ud800"}, "base_url: .* unprintable"),
        ({"base_url": "http://h..x/v1"}, "base_url: 'http://h..x/v1' is not allowed; expected a URL"),
        ({"base_url": f"http://{'a' * 70}/v1"}, "base_url: .* expected a URL"),
        ({"base_url": "https://user:secret@host/v1"}, "no user, password"),
        ({"base_url": "https://host/v1?key=secret"}, "no user, password"),
        ({"json_mode": "yaml"}, "unknown value 'yaml'; known: auto, object, schema, text"),
        ({"model": " "}, "model: ' ' is not allowed; expected the model's name"),
        ({"max_tokens": 0}, "max_tokens: 0 is not allowed; expected a whole number of at least 1"),
        ({"concurrency": 0}, "concurrency: 0 is"),
        ({"temperature": float("nan")}, "temperature: nan is not allowed; expected a number"),
        ({"budget": -1.0}, "budget: -1.0 is"),
        ({"timeout_s": 0.0}, "timeout_s: 0.0 is"),
        ({"budget": 1.0, "model": "another"}, "--price-in and --price-out"),
        ({"budget": 1.0, "base_url": "https://else.where/v1"}, "--price-in and --price-out"),
        ({"budget": 1.0, "model": "another", "price_in": 1.0}, "--price-in and --price-out"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        ChatSettings(**changes)
    assert "secret" not in str(caught.value) and "\n" not in str(caught.value)


def test_prices_are_known_for_the_default_model_alone() -> None:
    assert ChatSettings(budget=1.0).cost(1_000_000, 1_000_000) == pytest.approx(1.5)
    assert ChatSettings(model="another").cost(1, 1) is None
    assert ChatSettings(model="another", price_in=2.0, price_out=3.0).cost(
        500_000, 1_000_000
    ) == pytest.approx(4.0)


@pytest.mark.parametrize(
    ("base_url", "environment", "key"),
    [
        ("https://api.deepseek.com", {"DEEPSEEK_API_KEY": " d ", "OPENAI_API_KEY": "o"}, "d"),
        ("https://api.deepseek.com", {"OPENAI_API_KEY": "o"}, None),
        ("https://api.openai.com/v1", {"DEEPSEEK_API_KEY": "d", "OPENAI_API_KEY": "o"}, "o"),
        ("https://api.openai.com/v1", {"DEEPSEEK_API_KEY": "d"}, None),
        ("https://deepseek.com.evil.example/v1", {"DEEPSEEK_API_KEY": "d"}, None),
        ("http://localhost:8000/v1", {}, NO_KEY),
        ("http://127.0.0.1:8000/v1", {"OPENAI_API_KEY": "o"}, "o"),
        ("http://node7:8000/v1", {}, None),
    ],
)
def test_a_key_goes_only_where_it_belongs(
    monkeypatch: pytest.MonkeyPatch, base_url: str, environment: dict[str, str], key: str | None
) -> None:
    for name in ("DEEPSEEK_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    chosen = ChatSettings(base_url=base_url)
    if key is not None:
        assert chosen.key() == key
        return
    with pytest.raises(CuratorError, match=r"set the environment variable .*_API_KEY"):
        chosen.key()


def test_without_a_key_both_names_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(CuratorError, match="MY_KEY or OPENAI_API_KEY"):
        ChatSettings(base_url="https://host/v1", api_key_env="MY_KEY").key()


def test_a_key_that_is_none_is_not_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "se\ncret")
    with pytest.raises(CuratorError, match="MY_KEY") as caught:
        ChatSettings(api_key_env="MY_KEY").key()
    assert "cret" not in str(caught.value)


PROMPT = "for readers <<nothing>>\n# System\n\nBe good.\n# User\n\nHere: <<samples>> of <<count>>.\n"


def test_a_users_prompt_is_filled_in_one_pass(tmp_path: Path) -> None:
    (tmp_path / "mine.md").write_text(PROMPT)
    prompt = load_prompt(tmp_path / "mine.md", ["samples"], ["count"])
    system, user = prompt.messages(samples="<<count>> {x} <<other>> \\1", count="7")
    assert (system["content"], user["content"]) == ("Be good.", "Here: <<count>> {x} <<other>> \\1 of 7.")
    (tmp_path / "mine.md").write_bytes(("\ufeff" + PROMPT.removeprefix("for readers <<nothing>>\n")).encode())
    assert load_prompt(tmp_path / "mine.md", ["samples"], ["count"]).system == "Be good."
    (tmp_path / "mine.md").write_text(PROMPT + " ")
    assert load_prompt(tmp_path / "mine.md", ["samples"], ["count"]).sha256 != prompt.sha256


def test_the_example_in_our_prompt_is_valid_and_fits_its_excerpts(tmp_path: Path) -> None:
    """What the model is told is what the validator and the matcher say."""
    engine = LlmEngine(DistillSettings(ranking="ranking", out="out"), tmp_path)
    system, user = engine.messages([SampleText(0, 1.0, "<<x>>", np.arange(2))])
    assert "<<" not in system["content"] + user["content"].replace("<<x>>", "")
    text = user["content"].partition("Example.")[2]
    excerpts = "".join(line.strip() + "\n" for line in text.splitlines() if line.startswith("    "))
    read = read_patterns(text[text.index('{"patterns"') : text.index("The 1 excerpts")])
    (pattern,) = read.patterns
    assert not read.complaints
    for line in excerpts.splitlines(keepends=True):
        assert Follower(pattern).leaves_at(line * 3) is None
    assert excerpts.count("cache miss") == 2


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (PROMPT.replace("<<samples>>", ""), "lacks <<samples>>"),
        (
            PROMPT.replace("<<count>>", "<<counts>>"),
            "unknown placeholder <<counts>>; there are <<samples>>, <<count>>",
        ),
        (PROMPT.replace("# User", "## User"), "one line '# User'"),
        (PROMPT.replace("# System", "# User"), "one line '# System'"),
        (PROMPT.replace("Be good.", ""), "empty"),
        ("", "one line '# System'"),
    ],
)
def test_a_prompt_that_lacks_something_is_refused(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "mine.md").write_text(text)
    with pytest.raises(UsageError, match=says):
        load_prompt(tmp_path / "mine.md", ["samples"], ["count"])


def test_a_prompt_that_is_no_file_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no such prompt file .*distill-v2, generate-v2"):
        load_prompt(tmp_path / "none.md", [])
    (tmp_path / "mine.md").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="not UTF-8"):
        load_prompt(tmp_path / "mine.md", [])


@given(st.lists(st.text(st.characters(), max_size=40), min_size=1, max_size=4))
def test_no_sample_can_end_its_own_delimiters(texts: list[str]) -> None:
    texts = [*texts, delimited(texts)[0]]  # one that knows the boundaries of the others
    joined, boundary = delimited(texts)
    joined.encode()
    assert joined.count(boundary) == 2 * len(texts)
    assert delimited(texts) == (joined, boundary)
    for number, text in enumerate(texts, 1):
        inside = joined.partition(f"----- BEGIN {boundary} {number} -----\n")[2]
        assert inside.partition(f"\n----- END {boundary} {number} -----")[0] == printable(text)


def test_control_characters_are_shown_as_escapes() -> None:
    assert printable("a\tb\nc\x1b[31m\x00\ud800é…") == "a\tb\nc\\x1b[31m\\x00\\ud800é…"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": 1}', {"a": 1}),
        (' \n{"a": 1}\n ', {"a": 1}),
        ('```json\n{"a": 1}\n```', {"a": 1}),
        ('```\n{"a": "```"}\n```\n', {"a": "```"}),
        ('{"a": 2.0, "b": 2.5}', {"a": 2, "b": 2.5}),
        ('<think>\nIs it {"a": 2}?\n</think>\n\n{"a": 1}', {"a": 1}),
        ('<think></think>```json\n{"a": 1}\n```', {"a": 1}),
        ('\n<think>\na\n</think>\n\n{"a": 1}', {"a": 1}),
        (' <think>a</think>{"a": 1}', {"a": 1}),
        ('<think>a</think><think>b</think>{"a": 1}', {"a": 1}),
        ('<think>a</think>\n\n<think>\nb</think>\n{"a": 1}', {"a": 1}),
        ('Okay, the user wants {"a": 2}.\n</think>\n\n{"a": 1}', {"a": 1}),
        ('I think.</think>```json\n{"a": 1}\n```', {"a": 1}),
        ('</think>{"a": 1}', {"a": 1}),
        ('Hm.</think><think>Hm!</think>{"a": 1}', {"a": 1}),
        ('<think>a <think>b</think> c</think>{"a": 1}', {"a": 1}),
        ('First:\n```json\n{"a": 2}\n```\nNo.\n</think>\n```json\n{"a": 1}\n```', {"a": 1}),
        ('{"a": "<think>b</think>c"}', {"a": "<think>b</think>c"}),
        ('{"a": "b</think>c"}', {"a": "b</think>c"}),
        ('Here it is:\n```json\n{"a": "b</think>{c}"}\n```', {"a": "b</think>{c}"}),
        ('Sure!\n\n```json\n{"a": 1}\n```\n\nThat was it.', {"a": 1}),
        ('```json\r\n{"a": 1}\r\n```\r\n', {"a": 1}),
        ('\ufeff{"a": 1}', {"a": 1}),
    ],
)
def test_bare_json_and_one_fenced_block_are_read(text: str, value: Any) -> None:
    read = json_object(text)
    assert read == value and type(read["a"]) is type(value["a"])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        '"{}"',
        'Here you are: {"a": 1}',
        '{"a": 1} {"b": 2}',
        '```json\n{"a": 1}\n```\n```json\n{"a": 2}\n```',
        '```python\n{"a": 1}\n```',
        '<think>a</think>So: {"a": 1}',
        '<think>{"a": 1}',
        '<think>a</think><think>{"a": 1}',
        'a</think>b</think>{"a": 1}',
        'Thus:\n```json\n{"a": 1}\n```\n</think>',
        '<think>{"a": 1}</think>',
        '<Think>a</Think>{"a": 1}',
        '{"a": 1}<think>a</think>',
        '{"a": 1, "a": 2}',
        '{"a": NaN}',
        '{"a": -Infinity}',
        '{"a": 1e999}',
        '{"a": ' + "9" * 5000 + "}",
        '{"a": "\\ud800"}',
        '{"\\udfff": 1}',
        "[" * 100_000,
        '{"a":' * 100_000,
        '{"a": ' + "[" * 60 + "]" * 60 + "}",
    ],
    ids=lambda text: text[:30],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(InvalidAnswer):
        json_object(text)


@given(st.integers(0, 60))
def test_of_an_object_that_breaks_off_the_whole_items_are_read(cut: int) -> None:
    text = '{"b": [7], "a": [{"c": "}"}, {"c": 1}, {"c": {}}], "d": 0}'
    items = [{"c": "}"}, {"c": 1}, {"c": {}}]
    whole = sum(text[:cut].count(end) for end in ('"}"}', ": 1}", "{}}"))
    for before in ("", "<think>a</think>", "```json\n", "Here:\n```\n", "</think>"):
        assert first_items(before + text[:cut], "a") == items[:whole]
    assert first_items(text[:cut], "e") == [] == first_items("[" + text, "a")


def test_one_broken_part_does_not_hide_the_others() -> None:
    parts = ['{"b": 1}', '{"b": NaN}', '{"b": 1, "b": 2}', '{"b": "\\ud800"}', '{"b": 1e999}', "9" * 5000]
    parts += ["[" * 60 + "]" * 60]
    value = json_parts('{"a": [' + ", ".join(parts) + "]}")
    said = [complaint(item) for item in value["a"]]
    words = (None, "NaN", "twice", "half a character", "too large", "too many digits", "nested more than 40")
    for one, word in zip(said, words, strict=True):
        assert one is word or (one is not None and word is not None and word in one)


def test_what_is_said_of_a_long_number_is_for_its_author() -> None:
    with pytest.raises(InvalidAnswer, match=r"^a number in the JSON has too many digits$"):
        json_object('{"a": ' + "9" * 5000 + "}")


@given(
    st.text()
    | st.lists(st.sampled_from(["<think>", "</think>", "{", "}", '"a": [', "```\n", "\n"])).map("".join)
)
def test_no_text_breaks_the_reader(text: str) -> None:
    fenced(text)
    first_items(text, "a")
    try:
        assert isinstance(json_object(text), dict)
    except InvalidAnswer as error:
        assert str(error)


def test_many_thoughts_are_left_behind_at_once() -> None:
    begun = time.monotonic()
    for text in ("</think>" * 200_000, "<think></think>" * 100_000, "a</think>```\n" * 100_000):
        with pytest.raises(InvalidAnswer):
            json_object(text)
    assert time.monotonic() - begun < 5


def _objects(schema: Any) -> list[dict[str, Any]]:
    found = [schema] if isinstance(schema, dict) and schema.get("type") == "object" else []
    parts = schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else []
    return found + [one for part in parts for one in _objects(part)]


def test_the_strict_schema_is_what_structured_output_takes() -> None:
    schema = strict_schema(ANSWER_SCHEMA)
    Draft202012Validator.check_schema(schema)
    assert len(_objects(schema)) == 3
    for one in _objects(schema):
        assert one["required"] == list(one["properties"]) and one["additionalProperties"] is False
    assert not any(bound in json.dumps(schema) for bound in ("maxItems", "minLength", '"pattern"'))
    assert "maxItems" in json.dumps(ANSWER_SCHEMA)


def test_an_answer_to_the_strict_schema_is_one_to_ours() -> None:
    field = {
        "name": "x",
        "type": "number",
        "values_or_rules": "0-9",
        "scope": None,
        "count": None,
        "counts": None,
        "separator": None,
        "case": None,
    }
    pattern = {
        "pattern_id": "p1",
        "pattern_name": "n",
        "anchor_tokens": ["a"],
        "fields": [field],
        "template": "a{x}",
    }
    answer = {"patterns": [{**pattern, "length_control": ""}]}
    Draft202012Validator(strict_schema(ANSWER_SCHEMA)).validate(answer)
    Draft202012Validator(ANSWER_SCHEMA).validate(without_nulls(answer))
