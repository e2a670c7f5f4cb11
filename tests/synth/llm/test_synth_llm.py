"""`Chat` against a real server: retries, refusals, the way JSON is asked for, the cache, and that no key is written."""

import email.utils
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from openai_server import OpenAIServer, Reply

from curator.errors import CuratorError
from synth.llm import chat as chat_module
from synth.llm.cache import Answer
from synth.llm.chat import Chat, ChatFailed
from synth.llm.settings import NO_KEY
from synth.llm.wire import hide, retry_after

ASKED = [{"role": "system", "content": "Answer in JSON."}, {"role": "user", "content": "Hello"}]
SCHEMA = {
    "type": "object",
    "required": ["a"],
    "properties": {"a": {"type": "string"}, "b": {"type": "integer"}},
}


def ask(
    server: OpenAIServer, cache: Path, text: str = "Hello", schema: Any = SCHEMA, **changes: Any
) -> Answer:
    with Chat(server.settings(**changes), cache) as chat:
        return chat.ask([ASKED[0], {"role": "user", "content": text}], schema, "thing")


@pytest.mark.parametrize(
    "failure",
    [
        Reply(status=429, headers={"Retry-After": "0"}),
        Reply(status=408),
        Reply(status=500),
        Reply(status=503),
        Reply(status=500, raw=b"<html>bad gateway</html>"),
        Reply(status=500, drop="middle"),
        Reply(drop="before"),
        Reply(drop="middle"),
        Reply(delay=30),
        Reply(trickle_s=0.05),
        Reply(raw=b'{"garbage"'),
        Reply(raw=b'{"choices": [{"message": {"content": "tru'),
        Reply(raw=b'{"a":' * 200_000),
        Reply(raw=b'{"error": {"message": "overloaded"}}'),
        Reply(raw=b'{"choices": []}'),
        Reply(raw=b'{"choices": [{"message": null}]}'),
    ],
    ids=lambda reply: f"{reply.status}{reply.drop}{reply.raw or b''!r:.20}{reply.delay:g}{reply.trickle_s:g}",
)
def test_what_may_pass_is_tried_again(openai_server: OpenAIServer, tmp_path: Path, failure: Reply) -> None:
    openai_server.script = [failure, failure, Reply(content="good")]
    assert ask(openai_server, tmp_path, timeout_s=0.5).text == "good"
    assert len(openai_server.requests) == 3


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (400, "--json-mode"),
        (401, "check the key"),
        (402, "balance"),
        (403, "may not use"),
        (404, "--base-url"),
    ],
)
def test_what_will_not_pass_is_said_at_once(
    openai_server: OpenAIServer, tmp_path: Path, status: int, says: str
) -> None:
    openai_server.reply = lambda request: Reply(status=status, error="the server's words")
    with pytest.raises(ChatFailed, match=f"HTTP {status}: the server's words .*{says}"):
        ask(openai_server, tmp_path)
    assert len(openai_server.requests) == 1


def test_an_empty_account_is_not_waited_for(openai_server: OpenAIServer, tmp_path: Path) -> None:
    openai_server.reply = lambda request: Reply(status=429, error_code="insufficient_quota")
    with pytest.raises(ChatFailed, match="HTTP 429"):
        ask(openai_server, tmp_path)
    assert len(openai_server.requests) == 1


def test_retries_end(openai_server: OpenAIServer, tmp_path: Path) -> None:
    openai_server.reply = lambda request: Reply(status=500)
    with pytest.raises(ChatFailed, match=r"no answer in 3 attempts.*HTTP 500"):
        ask(openai_server, tmp_path, max_retries=2)
    assert len(openai_server.requests) == 3


def test_a_server_that_is_not_there_costs_nothing(openai_server: OpenAIServer, tmp_path: Path) -> None:
    settings = openai_server.settings(base_url="http://127.0.0.1:9/v1", max_retries=1, budget=1.0)
    with (
        Chat(settings, tmp_path) as chat,
        pytest.raises(ChatFailed, match=r"no connection to http://127.0.0.1:9/v1"),
    ):
        chat.ask(ASKED, None, "x")
    assert chat.totals.cost == 0 == chat.spent()


def test_retry_after_is_honoured(openai_server: OpenAIServer, tmp_path: Path) -> None:
    openai_server.script = [Reply(status=429, headers={"Retry-After": "0.4"})]
    begun = time.monotonic()
    ask(openai_server, tmp_path)
    assert time.monotonic() - begun >= 0.4


def test_retry_after_reads_seconds_and_dates_and_is_capped(
    openai_server: OpenAIServer, tmp_path: Path
) -> None:
    soon = email.utils.formatdate(time.time() + 60, usegmt=True)
    assert 55 < (retry_after(soon) or 0) <= 60
    assert retry_after("12") == 12
    assert retry_after("-3") == 0 == retry_after("Wed, 21 Oct 2015 07:28:00 GMT")
    assert [retry_after(text) for text in (None, "soon", "nan", "inf", "")] == [None] * 5
    chat = Chat(openai_server.settings(), tmp_path)
    assert chat._wait(1, 1e9) == chat_module.LONGEST_WAIT_S
    assert all(chat._wait(n, None) <= chat_module.LONGEST_WAIT_S for n in range(1, 200, 9))


def test_a_long_wait_is_told_once_however_many_wait(
    openai_server: OpenAIServer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(chat_module, "WORTH_TELLING_S", 0.5)
    openai_server.script = [Reply(status=429, error="slow down", headers={"Retry-After": "1"})] * 6
    with Chat(openai_server.settings(), tmp_path) as chat, ThreadPoolExecutor(6) as pool:
        asked = [[{"role": "user", "content": f"JSON {n}"}] for n in range(6)]
        list(pool.map(lambda messages: chat.ask(messages, SCHEMA, "thing"), asked))
    said = " ".join(capsys.readouterr().err.split())
    assert said.count("waiting 1 s") == 1 and "test-model: HTTP 429: slow down; waiting 1 s" in said
    assert "Ctrl-C" in said and len(openai_server.requests) == 12


def test_a_short_wait_is_not_told(
    openai_server: OpenAIServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    openai_server.script = [Reply(status=429, headers={"Retry-After": "0"}), Reply(status=503)]
    ask(openai_server, tmp_path)
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("1 answers from test-model, 0 from the cache, 2 retries")


def test_structured_output_is_used_where_the_server_has_it(
    openai_server: OpenAIServer, tmp_path: Path
) -> None:
    ask(openai_server, tmp_path)
    sent = openai_server.requests[0].body["response_format"]
    assert sent["type"] == "json_schema" and sent["json_schema"]["strict"]
    schema = sent["json_schema"]["schema"]  # strict mode: all required, what is optional may be null
    assert schema["required"] == ["a", "b"] and not schema["additionalProperties"]
    assert schema["properties"]["b"] == {"anyOf": [{"type": "integer"}, {"type": "null"}]}


def test_without_it_json_then_plain_text_is_asked_for_and_remembered(
    openai_server: OpenAIServer, tmp_path: Path
) -> None:
    for formats, tried in (
        ({"text", "json_object"}, ["json_schema", "json_object", "json_object"]),
        ({"text"}, ["json_schema", "json_object", "text", "text"]),
    ):
        openai_server.formats = formats
        openai_server.requests.clear()
        with Chat(openai_server.settings(max_retries=0), tmp_path / str(len(formats))) as chat:
            chat.ask(ASKED, SCHEMA, "thing")
            chat.ask(ASKED[:1], SCHEMA, "thing")
        assert [request.format for request in openai_server.requests] == tried


def test_many_threads_find_the_mode_together(openai_server: OpenAIServer, tmp_path: Path) -> None:
    openai_server.formats = {"text", "json_object"}
    with Chat(openai_server.settings(), tmp_path) as chat, ThreadPoolExecutor(8) as pool:
        asked = [[{"role": "user", "content": f"JSON {n}"}] for n in range(16)]
        assert {a.text for a in pool.map(lambda m: chat.ask(m, SCHEMA, "thing"), asked)} == {"{}"}
    assert {request.format for request in openai_server.requests} == {"json_schema", "json_object"}


def test_a_mode_asked_for_is_not_left(openai_server: OpenAIServer, tmp_path: Path) -> None:
    openai_server.formats = {"text"}
    with pytest.raises(ChatFailed, match="response_format"):
        ask(openai_server, tmp_path, json_mode="object")
    ask(openai_server, tmp_path, json_mode="text")
    assert [request.format for request in openai_server.requests] == ["json_object", "text"]


def test_a_server_that_wants_max_completion_tokens_gets_them(
    openai_server: OpenAIServer, tmp_path: Path
) -> None:
    openai_server.script = [
        Reply(status=400, error="Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.")
    ]
    ask(openai_server, tmp_path, max_tokens=77)
    assert openai_server.requests[0].body["max_tokens"] == 77
    assert openai_server.requests[1].body["max_completion_tokens"] == 77
    assert "max_tokens" not in openai_server.requests[1].body


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        (Reply(content="{", finish_reason="length"), "cut off"),
        (Reply(content="x" * 10_000_000), "cut off"),
        (Reply(content="", finish_reason="content_filter"), "would not answer"),
        (Reply(content=None, message={"refusal": "I cannot"}), "refusal"),
        (Reply(status=400, error="Content Exists Risk"), "content_filter"),
        (Reply(content=""), "no text"),
        (Reply(content=None, message={"tool_calls": [{"id": "1", "function": {"name": "rm"}}]}), "no text"),
        (Reply(content=None, message={"reasoning_content": "{}"}), "no text"),
        (Reply(content=["{}"]), "no text"),
        (Reply(content=7, finish_reason=["stop"]), "no text"),
    ],
)
def test_an_answer_that_is_none_says_why_and_is_kept(
    openai_server: OpenAIServer, tmp_path: Path, reply: Reply, problem: str
) -> None:
    openai_server.reply = lambda request: reply
    assert problem in ask(openai_server, tmp_path, max_tokens=10).problem
    assert problem in ask(openai_server, tmp_path, max_tokens=10).problem
    assert len(openai_server.requests) == 1
    assert all(file.stat().st_size < 100_000 for file in tmp_path.iterdir())


def test_half_characters_survive_being_written(openai_server: OpenAIServer, tmp_path: Path) -> None:
    openai_server.reply = lambda request: Reply(content="a\ud800b", message={"refusal": "\udfff"})
    assert ask(openai_server, tmp_path).text == "a?b"
    assert ask(openai_server, tmp_path).cached


def test_a_repeat_costs_nothing_whatever_mode_it_asks_in(openai_server: OpenAIServer, tmp_path: Path) -> None:
    first = ask(openai_server, tmp_path)
    with Chat(openai_server.settings(json_mode="text", timeout_s=3, concurrency=1), tmp_path) as chat:
        again = chat.ask(ASKED, SCHEMA, "thing")
    assert (again.text, again.request, again.cost) == (first.text, first.request, first.cost)
    assert again.cached and not first.cached
    assert (chat.totals.requests, chat.totals.cached, chat.totals.cost) == (0, 1, 0.0)
    assert len(openai_server.requests) == 1


@pytest.mark.parametrize(
    "changes",
    [{"model": "other"}, {"temperature": 0.5}, {"max_tokens": 9}, {"schema": None}, {"text": "Hello "}],
    ids=str,
)
def test_another_question_is_asked(
    openai_server: OpenAIServer, tmp_path: Path, changes: dict[str, Any]
) -> None:
    ask(openai_server, tmp_path)
    ask(openai_server, tmp_path, **changes)
    assert len(openai_server.requests) == 2


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text[: len(text) // 2],
        lambda text: "[" * 100_000,
        lambda text: "[]",
        lambda text: "{}",
        lambda text: text.replace("Hello", "Goodbye"),
        lambda text: text.replace('"text": "{}"', '"text": 5'),
        lambda text: text.replace('"text": "{}"', '"words": 5'),
        lambda text: text.replace('"prompt_tokens": 100', '"prompt_tokens": "many"'),
    ],
)
def test_a_damaged_cache_file_is_a_miss(openai_server: OpenAIServer, tmp_path: Path, damage: Any) -> None:
    (file,) = (tmp_path / f"{ask(openai_server, tmp_path).request}.json",)
    whole = json.loads(file.read_text())
    file.write_text(damage(file.read_text()))
    assert not ask(openai_server, tmp_path).cached
    assert json.loads(file.read_text())["answer"] == whole["answer"]
    assert ask(openai_server, tmp_path).cached


def test_the_same_question_twice_at_once_is_one_request(openai_server: OpenAIServer, tmp_path: Path) -> None:
    openai_server.reply = lambda request: Reply(delay=0.2)
    with Chat(openai_server.settings(), tmp_path) as chat, ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: chat.ask(ASKED, SCHEMA, "thing"), range(6)))
    assert len(openai_server.requests) == 1
    assert [answer.cached for answer in answers].count(False) == 1


def test_stopping_ends_the_waits(openai_server: OpenAIServer, tmp_path: Path) -> None:
    openai_server.reply = lambda request: Reply(status=429, headers={"Retry-After": "60"})
    chat = Chat(openai_server.settings(), tmp_path)
    threading.Timer(0.3, chat.stop).start()
    begun = time.monotonic()
    with chat, pytest.raises(ChatFailed, match="interrupted"):
        chat.ask(ASKED, SCHEMA, "thing")
    assert time.monotonic() - begun < 5


KEY = "sk-0123456789abcdef-secret"


def test_the_key_is_sent_and_shown_in_no_message(
    openai_server: OpenAIServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    openai_server.script = [
        Reply(status=500, error=f"your key {KEY} is odd"),
        Reply(raw=f"{{garbage with {KEY}".encode()),
        Reply(content='{"a": "b"}'),
        Reply(status=401, error=f"Incorrect API key provided: {KEY}"),
        Reply(raw=KEY.encode()),
        Reply(raw=json.dumps({"error": {"code": 401, "message": f"no {KEY}"}}).encode()),
        Reply(raw=f"<title>{KEY}</title>".encode()),
        Reply(status=307, headers={"Location": f"http://elsewhere.invalid/{KEY}"}),
    ]
    ask(openai_server, tmp_path, api_key_env="MY_KEY")
    said = []
    for text in ("two", "three", "four", "five", "six"):
        with pytest.raises(CuratorError) as caught:
            ask(openai_server, tmp_path, text, api_key_env="MY_KEY", max_retries=0)
        said.append(str(caught.value))
    assert all("[key]" in text for text in said)
    out = capfd.readouterr()
    shown = [*said, out.out, out.err, repr(openai_server.settings(api_key_env="MY_KEY"))]
    shown += [file.read_text() for file in tmp_path.rglob("*") if file.is_file()]
    assert len(shown) > 6 and not any(KEY in text for text in shown)
    assert all(request.headers["authorization"] == f"Bearer {KEY}" for request in openai_server.requests)


@pytest.mark.parametrize("key", ["cache", "a", KEY, "0123456789"])
def test_no_key_changes_an_answer(
    openai_server: OpenAIServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    """A key may be a word that templates are full of; what a server answers is its own to say."""
    monkeypatch.setenv("OPENAI_API_KEY", key)
    content = json.dumps({"a": f"cache miss, {key}, in the cached cache 0123456789"})
    openai_server.reply = lambda request: Reply(content=content, finish_reason=f"stop-{key}"[:40])
    for _ in range(2):
        answer = ask(openai_server, tmp_path)
        assert answer.text == content and answer.finish_reason == f"stop-{key}"[:40]
    assert answer.cached and openai_server.requests[0].headers["authorization"] == f"Bearer {key}"


@pytest.mark.parametrize(
    ("key", "text", "shown"),
    [
        ("cache", "bad key 'cache' (cached)", "bad key '[key]' (cached)"),
        ("hunter2", "Bearer hunter2, hunter22", "Bearer [key], hunter22"),
        ("a.b+c*d", "a.b+c*d? axb+c*d", "[key]? axb+c*d"),
        ("abc", "abc is a key", "abc is a key"),
        (KEY, f"x{KEY}y", "x[key]y"),
        (NO_KEY, f"{NO_KEY} was sent", f"{NO_KEY} was sent"),
    ],
)
def test_a_short_key_is_hidden_where_it_stands_alone(key: str, text: str, shown: str) -> None:
    assert hide(key, text) == shown
