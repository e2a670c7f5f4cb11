"""An attempt ends in time and holds little, whatever a server sends, and is sent to no other host."""

import gzip
import socket
import threading
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from openai_server import OpenAIServer, Reply

from synth.llm.chat import Chat, ChatFailed
from synth.llm.settings import ChatSettings
from synth.llm.wire import ERROR_BYTES, Failed, Refused, Wire

ASKED = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}
MESSAGES = [{"role": "user", "content": "Hello"}]


@pytest.mark.parametrize(
    "slow",
    [
        Reply(status=500, trickle_s=0.05),
        Reply(status=401, trickle_s=0.05),
        Reply(trickle_s=0.05),
        Reply(trickle_s=0.05, trickle_headers=True),
        Reply(status=500, trickle_s=0.05, trickle_headers=True),
        Reply(status=500, headers={"Content-Length": "1000000000"}, trickle_s=0.05),
        Reply(delay=30),
    ],
    ids=lambda reply: f"{reply.status}{reply.trickle_headers}{reply.delay:g}{len(reply.headers)}",
)
def test_a_slow_attempt_ends_in_time_is_billed_and_tried_again(
    openai_server: OpenAIServer, tmp_path: Path, slow: Reply
) -> None:
    settings = openai_server.settings(timeout_s=0.8, max_retries=1)
    openai_server.script = [slow]
    begun = time.monotonic()
    wire = Wire(settings)
    with pytest.raises(Failed, match=r"^no whole answer within 0\.8 s$") as caught:
        wire.send(ASKED)
    assert 0.7 < time.monotonic() - begun < 2.0 and caught.value.billed
    assert wire.send(ASKED).text == "{}"  # the time is that of an attempt
    wire.close()
    openai_server.script = [slow]
    with Chat(settings, tmp_path) as chat:
        assert chat.ask(MESSAGES, None, "x").text == "{}"
    assert len(openai_server.requests) == 4 and chat.totals.retries == 1


def test_every_thread_has_its_own_time(openai_server: OpenAIServer) -> None:
    wire = Wire(openai_server.settings(timeout_s=1.0))
    openai_server.script = [Reply(trickle_s=0.02)]
    late: list[float] = []

    def slow() -> None:
        begun = time.monotonic()
        with pytest.raises(Failed):
            wire.send(ASKED)
        late.append(time.monotonic() - begun)

    thread = threading.Thread(target=slow)
    thread.start()
    while not openai_server.requests:
        time.sleep(0.01)
    time.sleep(0.5)
    openai_server.reply = lambda request: Reply(delay=0.8)
    assert wire.send(ASKED).text == "{}"
    thread.join()
    assert 0.9 < late[0] < 1.6


def test_closing_ends_what_is_under_way(openai_server: OpenAIServer) -> None:
    openai_server.reply = lambda request: Reply(delay=20)
    wire = Wire(openai_server.settings(timeout_s=20))
    ended: list[str] = []

    def ask() -> None:
        try:
            wire.send(ASKED)
        except BaseException as error:
            ended.append(type(error).__name__)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    while len(openai_server.requests) < 3:
        time.sleep(0.01)
    begun = time.monotonic()
    wire.close()
    for thread in threads:
        thread.join(5)
    assert ended == ["CancelledError"] * 3 and time.monotonic() - begun < 3


@pytest.mark.parametrize("status", [200, 401, 429, 500])
def test_a_body_without_end_is_cut_off(openai_server: OpenAIServer, status: int) -> None:
    openai_server.reply = lambda request: Reply(status=status, endless=b"x" * 4096)
    wire = Wire(openai_server.settings(timeout_s=20, max_tokens=16))
    begun = time.monotonic()
    tracemalloc.start()
    try:
        if status == 200:
            assert wire.send(ASKED).finish_reason == "length"
        else:
            with pytest.raises((Failed, Refused), match=f"^HTTP {status}: x{{300}}"):
                wire.send(ASKED)
        held = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        wire.close()
    assert time.monotonic() - begun < 5
    assert held < 8 * 2**20 and openai_server.endless_bytes < 32 * 2**20


def test_of_a_packed_error_no_more_is_unpacked(openai_server: OpenAIServer) -> None:
    packed = gzip.compress(b"x" * 2**28)
    openai_server.reply = lambda request: Reply(status=500, raw=packed, headers={"Content-Encoding": "gzip"})
    wire = Wire(openai_server.settings())
    tracemalloc.start()
    try:
        with pytest.raises(Failed, match=r"^HTTP 500: x{300}"):
            wire.send(ASKED)
        assert tracemalloc.get_traced_memory()[1] < 16 * 2**20
    finally:
        tracemalloc.stop()
        wire.close()


def test_an_error_that_is_long_is_still_read(openai_server: OpenAIServer) -> None:
    openai_server.reply = lambda request: Reply(status=400, error="too long" + " " * (ERROR_BYTES - 1000))
    with pytest.raises(Refused, match=r"^HTTP 400: too long \(check"):
        Wire(openai_server.settings()).send(ASKED)


@contextmanager
def listener() -> Iterator[tuple[socket.socket, str]]:
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        yield sock, f"http://127.0.0.1:{sock.getsockname()[1]}/v1"


def test_a_server_that_hardly_reads_the_request_is_left(openai_server: OpenAIServer) -> None:
    done = threading.Event()

    def read_slowly(sock: socket.socket) -> None:
        connection, _ = sock.accept()
        with connection:
            while not done.wait(0.02):
                connection.recv(4096)

    with listener() as (sock, url):
        thread = threading.Thread(target=read_slowly, args=(sock,))
        thread.start()
        wire = Wire(ChatSettings(base_url=url, model="m", timeout_s=0.6))
        begun = time.monotonic()
        with pytest.raises(Failed, match=r"no whole answer within 0\.6 s"):
            wire.send({"model": "m", "messages": [{"role": "user", "content": "x" * 20_000_000}]})
        took = time.monotonic() - begun
        done.set()
        thread.join()
    assert took < 1.8


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_nothing_is_sent_to_another_host(openai_server: OpenAIServer, tmp_path: Path, status: int) -> None:
    with OpenAIServer() as other:
        where = f"{other.url}/chat/completions"
        openai_server.reply = lambda request: Reply(status=status, headers={"Location": where})
        with Chat(openai_server.settings(), tmp_path) as chat, pytest.raises(ChatFailed) as caught:
            chat.ask(MESSAGES, None, "x")
        assert not other.requests and len(openai_server.requests) == 1
    said = str(caught.value)
    assert (
        openai_server.url in said and f"HTTP {status}: it redirects to {where}, and nothing is sent" in said
    )


def test_a_proxy_is_still_asked_and_held_to_the_time(
    openai_server: OpenAIServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proxy here says nothing: that it is asked is seen by what it gets."""
    got: list[bytes] = []

    def silent(sock: socket.socket) -> None:
        connection, _ = sock.accept()
        with connection:
            got.append(connection.recv(65536))
            while connection.recv(65536):
                pass

    with listener() as (sock, url):
        for name in ("NO_PROXY", "no_proxy", "HTTP_PROXY"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("http_proxy", url.removesuffix("/v1"))
        monkeypatch.setenv("OPENAI_API_KEY", "k")
        thread = threading.Thread(target=silent, args=(sock,))
        thread.start()
        wire = Wire(ChatSettings(base_url="http://model.invalid/v1", model="m", timeout_s=0.6))
        with pytest.raises(Failed, match="no whole answer"):
            wire.send(ASKED)
        wire.close()
        thread.join(10)
    assert got[0].startswith(b"POST http://model.invalid/v1/chat/completions")
