"""What real servers answer besides the plain form, each from a report of one; the server here repeats it.

Thoughts that lack their beginning are in ``test_synth_llm_parts.py``, since they are a matter of reading a text.
"""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from openai_server import OpenAIServer, Reply, Request

from curator.errors import UsageError
from synth.llm.cache import Answer
from synth.llm.chat import Chat, ChatFailed
from synth.llm.settings import ChatSettings

MESSAGES = [{"role": "user", "content": "Answer in JSON."}]
SCHEMA = {"type": "object", "required": ["a"], "properties": {"a": {"type": "string"}}}


def ask(server: OpenAIServer, cache: Path, **changes: Any) -> tuple[Answer, Chat]:
    with Chat(server.settings(**changes), cache) as chat:
        return chat.ask(MESSAGES, SCHEMA, "thing"), chat


def refused(server: OpenAIServer, cache: Path, **changes: Any) -> tuple[str, Chat]:
    """The error, and the chat that ended with it."""
    with Chat(server.settings(**changes), cache) as chat, pytest.raises(ChatFailed) as caught:
        chat.ask(MESSAGES, SCHEMA, "thing")
    return str(caught.value), chat


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ([{"type": "text", "text": '{"a": '}, {"type": "text", "text": "1}"}], '{"a": 1}'),
        (
            [
                {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]},
                {"type": "text", "text": '{"a": 1}'},
            ],
            '{"a": 1}',
        ),
        ([{"type": "reasoning", "text": "Hm."}, {"type": "output_text", "text": "{}"}], "{}"),
        ([{"type": "image_url", "image_url": {"url": "x"}}, 7, None, {"type": "text", "text": 7}], ""),
        ([], ""),
    ],
)
def test_content_may_be_a_list_of_blocks(
    openai_server: OpenAIServer, tmp_path: Path, content: Any, text: str
) -> None:
    openai_server.reply = lambda request: Reply(content=content)
    assert ask(openai_server, tmp_path)[0].text == text


def test_a_block_may_be_a_refusal(openai_server: OpenAIServer, tmp_path: Path) -> None:
    openai_server.reply = lambda request: Reply(content=[{"type": "refusal", "refusal": "I cannot."}])
    assert ask(openai_server, tmp_path)[0].finish_reason == "refusal"


NO_TEMPERATURE = [
    "Unsupported value: 'temperature' does not support 0 with this model. Only the default (1) value is supported.",
    "Unsupported parameter: 'temperature' is not supported with this model.",
    "`temperature` is deprecated for this model.",
    "Temperature is not supported by this model",
    "TEMPERATURE: unknown parameter",
    "litellm.UnsupportedParamsError: gpt-5 models don't support temperature=0.0. Only temperature=1 is supported.",
]


def without(*parameters: str, error: str = "Unsupported parameter: '{}'", status: int = 400) -> Any:
    """A server that takes none of these parameters, and says so of the first that it sees."""

    def reply(request: Request) -> Reply:
        found = next((name for name in parameters if name in request.body), None)
        return Reply() if found is None else Reply(status=status, error=error.replace("{}", found))

    return reply


@pytest.mark.parametrize("words", NO_TEMPERATURE)
def test_a_model_that_takes_no_temperature_is_asked_without_from_then_on(
    openai_server: OpenAIServer, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: str
) -> None:
    openai_server.reply = without("temperature", error=words)
    with Chat(openai_server.settings(budget=1.0), tmp_path) as chat:
        for text in ("one", "two"):
            chat.ask([{"role": "user", "content": text}], SCHEMA, "thing")
    assert ["temperature" in request.body for request in openai_server.requests] == [True, False, False]
    assert chat.spent() == pytest.approx(2 * 0.0002)
    said = " ".join(capsys.readouterr().err.split())
    assert said.count("test-model takes no temperature; asked without (--temperature none)") == 1
    ask(openai_server, tmp_path, temperature=None)
    assert "temperature" not in openai_server.requests[-1].body


def test_a_repeat_finds_what_was_answered_without_temperature(
    openai_server: OpenAIServer, tmp_path: Path
) -> None:
    openai_server.reply = without("temperature")
    first, _ = ask(openai_server, tmp_path)
    again, _ = ask(openai_server, tmp_path)
    assert again.cached and again.request == first.request and len(openai_server.requests) == 2
    assert first.origin == again.origin == {"model": "test-model", "temperature": None}
    other, _ = ask(openai_server, tmp_path, temperature=None)
    assert not other.cached and other.origin == {"model": "test-model"}  # another question, answered as asked


def test_a_temperature_that_is_refused_for_another_reason_ends_after_one_more_try(
    openai_server: OpenAIServer, tmp_path: Path
) -> None:
    openai_server.reply = lambda request: Reply(
        status=400, error="temperature, max_tokens, response_format: no"
    )
    said, chat = refused(openai_server, tmp_path)
    assert "HTTP 400: temperature, max_tokens" in said and chat.spent() == 0
    assert len(openai_server.requests) == 4  # schema, object, text, no temperature


@pytest.mark.parametrize(
    ("error", "gone"),
    [
        ("Unsupported parameter: 'max_tokens' is not supported with this model.", "max_tokens"),
        ("max_tokens: Extra inputs are not permitted", "max_tokens"),
        ("Max_tokens is not supported by this model", "max_tokens"),
        ("maxTokens is UNKNOWN", "max_tokens"),
        ("'MAX_TOKENS' does not go with this model; give MAX_COMPLETION_TOKENS", "max_tokens"),
        ("Unrecognized request argument supplied: max_tokens. Use 'max_completion_tokens'", "max_tokens"),
    ],
)
def test_the_limit_goes_by_the_name_that_the_server_knows(
    openai_server: OpenAIServer, tmp_path: Path, error: str, gone: str
) -> None:
    openai_server.reply = without(gone, error=error)
    ask(openai_server, tmp_path, max_tokens=77)
    assert [request.body.get("max_tokens") for request in openai_server.requests] == [77, None]
    assert openai_server.requests[1].body["max_completion_tokens"] == 77


def test_a_limit_refused_by_both_names_is_not_left_out(openai_server: OpenAIServer, tmp_path: Path) -> None:
    openai_server.reply = without("max_tokens", "max_completion_tokens")
    said, chat = refused(openai_server, tmp_path)
    assert "max_completion_tokens" in said and chat.spent() == 0 and len(openai_server.requests) == 2


def test_a_limit_that_is_too_high_is_said(openai_server: OpenAIServer, tmp_path: Path) -> None:
    words = "max_tokens is too large: 8192. This model supports at most 4096 completion tokens."
    openai_server.reply = lambda request: Reply(status=400, error=words)
    said, _ = refused(openai_server, tmp_path)
    assert words in said and "check --model, --temperature, --max-tokens" in said
    assert len(openai_server.requests) == 1


def test_many_parameters_are_given_up_one_after_the_other(
    openai_server: OpenAIServer, tmp_path: Path
) -> None:
    openai_server.reply = without("response_format", "temperature", "max_tokens")
    assert ask(openai_server, tmp_path, budget=1.0)[0].text == "{}"
    assert set(openai_server.requests[-1].body) == {"model", "messages", "max_completion_tokens"}
    assert len(openai_server.requests) == 5


@pytest.mark.parametrize(
    "error",
    [
        'response_format type must be one of "text" or "json_object", but got: json_schema',
        "[{'type': 'literal_error', 'loc': ('body', 'response_format', 'type'), 'input': 'json_schema'}]",
        "Failed to parse grammar",
        "JSON mode is not supported by this model",
        "JSON schema conversion failed: Unrecognized schema: {}",
    ],
)
@pytest.mark.parametrize("status", [500, 501])
def test_a_500_for_a_schema_falls_back_like_a_400(
    openai_server: OpenAIServer, tmp_path: Path, error: str, status: int
) -> None:
    openai_server.reply = lambda request: (
        Reply(status=status, error=error) if request.format == "json_schema" else Reply(content='{"a": "b"}')
    )
    answer, chat = ask(openai_server, tmp_path, budget=1.0)
    assert answer.text == '{"a": "b"}' and chat.totals.retries == 0
    assert [request.format for request in openai_server.requests] == ["json_schema", "json_object"]
    said, _ = refused(openai_server, tmp_path / "own", json_mode="schema")
    assert f"HTTP {status}: " in said and len(openai_server.requests) == 3


def test_a_500_that_speaks_of_something_else_is_tried_again(
    openai_server: OpenAIServer, tmp_path: Path
) -> None:
    openai_server.script = [Reply(status=500, error="CUDA out of memory")]
    ask(openai_server, tmp_path)
    assert [request.format for request in openai_server.requests] == ["json_schema"] * 2
    openai_server.script = [
        Reply(status=500, error="grammar sampler crashed")
    ]  # of a request without a schema
    ask(openai_server, tmp_path / "text", json_mode="text")
    assert len(openai_server.requests) == 4


@pytest.mark.parametrize("reason", ["error", "abort", "insufficient_system_resource"])
def test_an_answer_that_the_server_broke_off_is_none(
    openai_server: OpenAIServer, tmp_path: Path, reason: str
) -> None:
    broken = Reply(
        content='{"a": "par',
        finish_reason=reason,
        usage={"prompt_tokens": None, "completion_tokens": None, "total_tokens": 0},
    )
    openai_server.script = [broken]
    answer, chat = ask(openai_server, tmp_path)
    assert answer.text == "{}" and chat.totals.retries == 1
    openai_server.reply = lambda request: broken
    said, _ = refused(openai_server, tmp_path / "other", max_retries=0)
    assert f"finish_reason {reason}" in said


def within(code: Any, message: str = "Provider returned error", **more: Any) -> Reply:
    """An error in a body of status 200."""
    return Reply(raw=json.dumps({"error": {"message": message, "code": code, **more}}).encode())


def in_choice(code: Any) -> Reply:
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": '{"a"'},
        "finish_reason": "error",
        "error": {"code": code, "message": "Provider returned error"},
    }
    return Reply(raw=json.dumps({"id": "x", "choices": [choice]}).encode())


def beside_empty_choice(code: Any) -> Reply:
    body = json.loads(Reply(content=None).body("m")) | {"error": {"code": code, "message": "Overloaded"}}
    return Reply(raw=json.dumps(body).encode())


@pytest.mark.parametrize(
    ("reply", "billed"),
    [
        (within(429, metadata={"raw": "error code: 1015", "provider_name": "x"}), False),
        (within("429"), False),
        (within("rate_limit_exceeded"), False),
        (within(503), False),
        (within(502), True),
        (within(500), True),
        (within(None), True),
        (within("odd"), True),
        (in_choice(502), True),
        (beside_empty_choice(429), False),
        (Reply(raw=b'{"error": "model is loading"}'), True),
        (Reply(raw=b'{"choices": null, "usage": null}'), True),
    ],
    ids=lambda value: f"{getattr(value, 'raw', value)!r:.60}",
)
def test_an_error_within_an_answer_that_may_pass_is_tried_again(
    openai_server: OpenAIServer, tmp_path: Path, reply: Reply, billed: bool
) -> None:
    openai_server.script = [reply]
    answer, chat = ask(openai_server, tmp_path)
    assert answer.text == "{}" and chat.totals.retries == 1
    assert (chat.spent() > 0.001) == billed


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (
            within(401, "No auth credentials found"),
            "error 401 within an answer: No auth credentials found (check the key)",
        ),
        (within(402, "Insufficient credits"), "no balance left"),
        (within(404, "No endpoints found for x/y"), "--base-url"),
        (within("insufficient_quota", "You exceeded your quota"), "no balance left"),
        (within("model_not_found", "No such model"), "and --model"),
        (in_choice(403), "may not use this model"),
        (
            Reply(raw=b'{"object": "error", "message": "bad model", "type": "NotFoundError", "code": 404}'),
            "bad model",
        ),
    ],
    ids=lambda value: f"{getattr(value, 'raw', value)!r:.60}",
)
def test_an_error_within_an_answer_that_will_not_pass_is_said_at_once_and_costs_nothing(
    openai_server: OpenAIServer, tmp_path: Path, reply: Reply, says: str
) -> None:
    openai_server.reply = lambda request: reply
    said, chat = refused(openai_server, tmp_path)
    assert says in said and len(openai_server.requests) == 1 and chat.spent() == 0


def test_a_refusal_behind_a_router_is_understood(openai_server: OpenAIServer, tmp_path: Path) -> None:
    raw = json.dumps({"error": {"message": NO_TEMPERATURE[0], "param": "temperature"}})
    far = json.dumps(
        {"error": {"message": "Provider returned error " + "." * 400, "code": 400, "metadata": {"raw": raw}}}
    )
    openai_server.script = [Reply(raw=far.encode())]
    ask(openai_server, tmp_path / "within")
    openai_server.script = [Reply(status=400, raw=far.encode())]
    ask(openai_server, tmp_path / "status")
    assert ["temperature" in request.body for request in openai_server.requests] == [True, False, True, False]


@pytest.mark.parametrize("status", [200, 403])
def test_input_that_a_router_flags_is_filtered(
    openai_server: OpenAIServer, tmp_path: Path, status: int
) -> None:
    flagged = within(403, 'x requires moderation on y. Your input was flagged for "violence"')
    openai_server.reply = lambda request: Reply(status=status, raw=flagged.raw)
    answer, chat = ask(openai_server, tmp_path)
    assert answer.finish_reason == "content_filter" and chat.spent() == 0


PAGE = b"<!DOCTYPE html>\n<html><head><title>Welcome to\n nginx!</title></head><body>Hello</body></html>"


@pytest.mark.parametrize(
    "reply",
    [
        Reply(raw=PAGE),
        Reply(raw=b"\n  " + PAGE, headers={"Content-Type": "text/html"}),
        Reply(raw=b"<html>no title</html>"),
        Reply(raw=b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>'),
        Reply(raw=b'{"status": "ok"}'),
        Reply(raw=b'{"object": "list", "data": []}'),
        Reply(raw=b'"hello"'),
        Reply(raw=b"OK", headers={"Content-Type": "text/plain"}),
        Reply(raw=b"Ollama is running"),
        Reply(raw=b"[1, 2"),
        Reply(raw=b"\x1f\x8b\x08\x00"),
        Reply(raw=b""),
        Reply(status=204, raw=b""),
        Reply(status=404, raw=PAGE),
        Reply(status=405, raw=PAGE),
    ],
    ids=lambda reply: f"{reply.status}{reply.raw!r:.40}",
)
def test_what_is_no_chat_api_is_refused_at_once_and_costs_nothing(
    openai_server: OpenAIServer, tmp_path: Path, reply: Reply
) -> None:
    openai_server.reply = lambda request: reply
    said, chat = refused(openai_server, tmp_path, budget=1.0)
    assert "check --base-url" in said and len(openai_server.requests) == 1
    assert chat.spent() == 0 == chat.totals.cost
    assert "<" not in said or (reply.raw is not None and reply.raw.startswith(b"{"))
    assert ("Welcome to nginx!" in said) == (reply.raw is not None and b"Welcome" in reply.raw)


@pytest.mark.parametrize(
    "raw", [Reply().body("m")[:60], b"\xef\xbb\xbf\n {", b"\n\n\n", b'data: {"choices": []}\n\n'], ids=repr
)
def test_an_answer_that_breaks_off_is_tried_again_and_may_have_cost_something(
    openai_server: OpenAIServer, tmp_path: Path, raw: bytes
) -> None:
    openai_server.script = [Reply(raw=raw)]
    answer, chat = ask(openai_server, tmp_path)
    assert answer.text == "{}" and chat.totals.retries == 1 and chat.spent() > 0.001


def test_a_page_of_a_gateway_that_is_down_is_tried_again(openai_server: OpenAIServer, tmp_path: Path) -> None:
    openai_server.script = [Reply(status=503, raw=PAGE)]
    ask(openai_server, tmp_path)
    openai_server.reply = lambda request: Reply(status=503, raw=PAGE)
    said, _ = refused(openai_server, tmp_path / "other", max_retries=0)
    assert "HTTP 503: a web page (Welcome to nginx!)" in said


def test_a_wrong_path_costs_nothing(openai_server: OpenAIServer, tmp_path: Path) -> None:
    said, chat = refused(openai_server, tmp_path, base_url=openai_server.url + "/wrong", budget=1.0)
    assert "HTTP 404: no such path /v1/wrong/chat/completions (check --base-url" in said
    assert chat.spent() == 0 and not openai_server.requests


@contextmanager
def answering(what: bytes) -> Iterator[str]:
    """A server of another kind: whatever comes, it says ``what`` and hangs up."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        sock.settimeout(10)

        def serve() -> None:
            try:
                while True:
                    connection, _ = sock.accept()
                    with connection:
                        connection.settimeout(5)
                        connection.recv(65536)
                        connection.sendall(what)
            except OSError:
                return

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{sock.getsockname()[1]}/v1"


@pytest.mark.parametrize("what", [b"\x15\x03\x01\x00\x02\x02\x16", b"+PONG\r\n\r\n"])
def test_what_speaks_no_http_is_refused_at_once_and_costs_nothing(tmp_path: Path, what: bytes) -> None:
    with answering(what) as url:
        settings = ChatSettings(base_url=url, model="m", price_in=1.0, price_out=1.0, budget=1.0)
        with (
            Chat(settings, tmp_path) as chat,
            pytest.raises(ChatFailed, match=r"speaks no HTTP.*check --base-url"),
        ):
            chat.ask(MESSAGES, None, "x")
    assert chat.spent() == 0 and chat.totals.retries == 0


@pytest.mark.parametrize("url", ["http://\u2177.com/v1", "http://h/" + "a" * 70_000], ids=lambda u: u[:20])
def test_an_address_that_only_the_client_knows_to_be_none_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "a" * 20)
    with Chat(ChatSettings(base_url=url, model="m"), tmp_path) as chat, pytest.raises(UsageError) as caught:
        chat.ask(MESSAGES, None, "x")
    said = str(caught.value)
    assert said.startswith("--base-url http://") and "\n" not in said and len(said) < 500


def test_https_where_http_is_spoken_is_refused_at_once_and_costs_nothing(
    openai_server: OpenAIServer, tmp_path: Path
) -> None:
    said, chat = refused(openai_server, tmp_path, base_url=openai_server.url.replace("http", "https"))
    assert "check --base-url" in said and chat.spent() == 0 and chat.totals.retries == 0


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9/v1", "http://no-such-host.invalid/v1", "http://full"], ids=str
)
def test_a_server_that_cannot_be_reached_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("MY_KEY", "k")
    with socket.socket() as sock, socket.socket() as first, socket.socket() as second:
        sock.bind(("127.0.0.1", 0))
        sock.listen(0)
        for other in (first, second):  # its queue is full: who comes next gets no answer
            other.setblocking(False)
            other.connect_ex(sock.getsockname())
        there = url if url != "http://full" else f"http://127.0.0.1:{sock.getsockname()[1]}/v1"
        settings = ChatSettings(
            base_url=there,
            model="m",
            api_key_env="MY_KEY",
            timeout_s=0.5,
            max_retries=1,
            price_in=1.0,
            price_out=1.0,
            budget=0.02,  # for two attempts, were they charged
        )
        with Chat(settings, tmp_path) as chat, pytest.raises(ChatFailed, match=f"no connection to {there}"):
            chat.ask(MESSAGES, None, "x")
    assert chat.spent() == 0 and chat.totals.retries == 1


def test_a_name_that_is_looked_up_for_ever_is_left_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: over.wait(20) and [])
    monkeypatch.setenv("MY_KEY", "k")
    settings = ChatSettings(
        base_url="http://slow.invalid/v1", model="m", api_key_env="MY_KEY", timeout_s=0.5, max_retries=0
    )
    try:
        with (
            Chat(settings, tmp_path) as chat,
            pytest.raises(ChatFailed, match=r"no connection .* within 0\.5 s"),
        ):
            chat.ask(MESSAGES, None, "x")
    finally:
        over.set()
