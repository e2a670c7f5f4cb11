"""The proxy of litellm, a server of the chat API that others wrote: its own mock models, and ours behind it.

Needs ``make peers``. It takes some seconds to start, so one proxy serves all tests of this file.
"""

import json
import os
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from command_line import done, next_step, run
from engine_parts import ROOT
from openai_server import OpenAIServer, Reply, Request
from pattern_samples import pattern_json
from studies import answer, write_study

from synth.llm import chat as chat_module
from synth.llm.cache import TOO_LONG
from synth.llm.chat import Chat, ChatFailed
from synth.llm.settings import ChatSettings

LITELLM = ROOT / ".venv-peers" / "bin" / "litellm"
KEY = "sk-master-0123456789"
MESSAGES = [{"role": "system", "content": "Answer in JSON."}, {"role": "user", "content": "Hello"}]
SCHEMA = {"type": "object", "required": ["a"], "properties": {"a": {"type": "string"}}}
MOCKS: dict[str, dict[str, Any]] = {
    "good": {"mock_response": json.dumps({"patterns": [pattern_json()]})},
    "limited": {"mock_response": "litellm.RateLimitError"},
    "broken": {"mock_response": "litellm.InternalServerError"},
    "narrow": {"mock_response": "litellm.ContextWindowExceededError"},
    "slow": {"mock_response": "{}", "mock_delay": 5},
}

pytestmark = pytest.mark.skipif(
    not LITELLM.is_file(), reason="no proxy of litellm here; make peers installs one"
)


class Proxy:
    """A running proxy; ``behind`` is the server that its model ``ours`` stands for."""

    def __init__(self, url: str, behind: OpenAIServer):
        self.url = url
        self.behind = behind

    def chat(self, cache: Path, model: str, **changes: Any) -> Chat:
        given = {"base_url": self.url, "model": model, "timeout_s": 20.0, "price_in": 1.0, "price_out": 2.0}
        return Chat(ChatSettings(**{**given, **changes}), cache)


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("litellm")
    with OpenAIServer() as behind, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        models = {
            name: {"model": f"openai/{name}", "api_key": "none", **mock} for name, mock in MOCKS.items()
        }
        models["ours"] = {"model": "openai/ours", "api_key": "none", "api_base": behind.url, "max_retries": 0}
        config = {
            "model_list": [{"model_name": name, "litellm_params": given} for name, given in models.items()],
            "litellm_settings": {"telemetry": False, "num_retries": 0},
            "router_settings": {"num_retries": 0, "disable_cooldowns": True},
            "general_settings": {"master_key": KEY},
        }
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        environment = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "NO_PROXY": "127.0.0.1"}
        with open(folder / "log.txt", "w") as log:
            words = [LITELLM, "--config", folder / "config.yaml", "--host", "127.0.0.1", "--port", str(port)]
            process = subprocess.Popen(words, stdout=log, stderr=log, env=environment)
        try:
            wait_for(f"http://127.0.0.1:{port}/health/liveliness", process, folder / "log.txt")
            yield Proxy(f"http://127.0.0.1:{port}/v1", behind)
        finally:
            process.terminate()
            process.wait(20)


def wait_for(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    end = time.monotonic() + 90
    while time.monotonic() < end and process.poll() is None:
        try:
            direct.open(url, timeout=2).close()
            return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(log.read_text()[-2000:])


@pytest.fixture
def proxy(started: Proxy, monkeypatch: pytest.MonkeyPatch) -> Proxy:
    monkeypatch.setattr(chat_module, "FIRST_WAIT_S", 0.01)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    started.behind.requests.clear()
    started.behind.reply = lambda request: Reply(content='{"a": "b"}')
    return started


def test_patterns_are_distilled_and_the_bill_is_what_the_proxy_counts(
    proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    server = ["--base-url", proxy.url, "--model", "good", "--price-in", 1, "--price-out", 2, "--budget", 1]
    told = run("distill", write_study(tmp_path), "--out", "patterns", *server, "--per-request", 16)
    said, bill = told.out, " ".join(told.err.split())
    assert (
        "1 patterns of 64 samples" in said and "4 answers from good, 0 from the cache: 40 tokens sent" in bill
    )
    assert "80 received; $0.0002" in bill  # the mock counts 10 and 20 tokens
    proxy.behind.reply = answer
    words = next_step(said)
    assert words[:3] == ["synth", "audit", "patterns"]
    said = done("generate", "patterns", "--all", "--out", "generators", *server[:2], "--model", "ours")
    assert "1 generators passed their checks" in said and len(proxy.behind.requests) == 1
    assert not proxy.behind.requests[0].body.get("stream")


@pytest.mark.parametrize(("model", "says"), [("limited", "HTTP 429"), ("broken", "HTTP 500")])
def test_its_failures_are_tried_again_and_cost_nothing(
    proxy: Proxy, tmp_path: Path, model: str, says: str
) -> None:
    with (
        proxy.chat(tmp_path, model, max_retries=2, budget=1.0) as chat,
        pytest.raises(ChatFailed, match=f"no answer in 3 attempts.*{says}: litellm"),
    ):
        chat.ask(MESSAGES, SCHEMA, "thing")
    assert chat.spent() == 0 and chat.totals.retries == 2


def test_an_answer_that_comes_too_late_stays_charged(proxy: Proxy, tmp_path: Path) -> None:
    with (
        proxy.chat(tmp_path, "slow", max_retries=0, timeout_s=0.5) as chat,
        pytest.raises(ChatFailed, match=r"no whole answer within 0\.5 s"),
    ):
        chat.ask(MESSAGES, SCHEMA, "thing")
    assert chat.spent() > 0.01


def test_a_conversation_that_is_too_long_ends_a_run_only_at_its_beginning(
    proxy: Proxy, tmp_path: Path
) -> None:
    with proxy.chat(tmp_path, "narrow") as chat:
        assert chat.ask(MESSAGES, SCHEMA, "thing", longer=True).finish_reason == TOO_LONG
        with pytest.raises(ChatFailed, match=r"HTTP 400: litellm.ContextWindowExceededError.*send less"):
            chat.ask(MESSAGES[1:], SCHEMA, "thing")
    assert chat.spent() == 0


@pytest.mark.parametrize(
    ("changes", "key", "says"),
    [
        ({"model": "nobody"}, KEY, "HTTP 400: .*Invalid model name.*check --model"),
        ({"base_url": "/nowhere"}, KEY, "HTTP 404: .*Not Found.*check --base-url"),
        ({}, "hunter2", "HTTP 40[01]: "),
    ],
)
def test_what_is_wrong_with_the_command_is_said_at_once_and_costs_nothing(
    proxy: Proxy,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
    key: str,
    says: str,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    if "base_url" in changes:
        changes = {"base_url": proxy.url + changes["base_url"]}
    with (
        proxy.chat(tmp_path, changes.pop("model", "good"), budget=1.0, **changes) as chat,
        pytest.raises(ChatFailed, match=says) as caught,
    ):
        chat.ask(MESSAGES, SCHEMA, "thing")
    assert chat.spent() == 0 and chat.totals.retries == 0 and key not in str(caught.value)


def refusing(*names: str, status: int = 400) -> Callable[[Request], Reply]:
    """A model that takes none of these parameters, in OpenAI's words."""

    def reply(request: Request) -> Reply:
        for name in names:
            if name in request.body:
                error = {"message": f"Unsupported parameter: '{name}' is not supported with this model."}
                body = {"error": {**error, "type": "invalid_request_error", "param": name, "code": None}}
                return Reply(status=status, raw=json.dumps(body).encode())
        return Reply(content='{"a": "b"}')

    return reply


@pytest.mark.parametrize(
    ("reply", "asked"),
    [
        (refusing(), 1),
        (refusing("temperature"), 2),
        (refusing("response_format", "temperature"), 4),
        (refusing("response_format", status=500), 3),
    ],
)
def test_what_a_model_behind_it_does_not_take_is_left_out(
    proxy: Proxy, tmp_path: Path, reply: Callable[[Request], Reply], asked: int
) -> None:
    proxy.behind.reply = reply
    with proxy.chat(tmp_path, "ours", budget=1.0) as chat:
        got = chat.ask(MESSAGES, SCHEMA, "thing")
    assert (got.text, got.prompt_tokens, got.completion_tokens) == ('{"a": "b"}', 100, 50)
    assert len(proxy.behind.requests) == asked and chat.spent() == pytest.approx(0.0002)


@pytest.mark.parametrize(
    ("reply", "kept"),
    [
        (Reply(content=None, message={"refusal": "I cannot."}), "refusal|no text"),
        (Reply(content='{"a": "b', finish_reason="length"), "cut off"),
        (Reply(content="", finish_reason="content_filter"), "would not answer"),
    ],
)
def test_answers_that_are_none_come_through_as_what_they_are(
    proxy: Proxy, tmp_path: Path, reply: Reply, kept: str
) -> None:
    proxy.behind.reply = lambda request: reply
    with proxy.chat(tmp_path, "ours") as chat:
        problem = chat.ask(MESSAGES, SCHEMA, "thing").problem
    assert any(word in problem for word in kept.split("|"))


def test_a_web_page_behind_it_is_no_answer(proxy: Proxy, tmp_path: Path) -> None:
    proxy.behind.reply = lambda request: Reply(raw=b"<html><title>Welcome</title></html>")
    with proxy.chat(tmp_path, "ours", max_retries=1) as chat, pytest.raises(ChatFailed):
        chat.ask(MESSAGES, SCHEMA, "thing")
    assert len(proxy.behind.requests) <= 2
