"""A real HTTP server on 127.0.0.1 that speaks the OpenAI chat API, and answers as a test tells it to.

    with OpenAIServer() as server:                     # or the fixture ``openai_server``
        server.reply = lambda request: Reply(content='{"patterns": []}')
        server.script = [Reply(status=500), Reply(drop="middle")]   # these first, one per request, then ``reply``
        settings = server.settings(max_retries=2)      # ChatSettings for it; no key is needed on this machine
        ...
        server.requests                                # every request in order: .body (JSON), .headers, .texts
        server.most_at_once                            # requests that were being answered at the same time

`Reply` says status, headers, delay, and what goes wrong: ``drop="before"`` closes the connection without an answer,
``drop="middle"`` after half of the body, ``raw`` is sent in place of a chat answer, ``trickle_s`` sends a blank line
so often for ever (with ``trickle_headers``: one byte of the headers), ``endless`` is sent again and again without pause
and counted in ``server.endless_bytes``. ``server.formats`` is what response_format it knows: others get 400, in the
words of DeepSeek.
"""

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from synth.llm.settings import ChatSettings


@dataclass(frozen=True)
class Request:
    """What came in."""

    body: dict[str, Any]
    headers: dict[str, str]

    @property
    def texts(self) -> list[str]:
        """Contents of the messages."""
        return [message["content"] for message in self.body["messages"]]

    @property
    def format(self) -> str:
        return str(self.body.get("response_format", {}).get("type", "text"))


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What goes out; see the module."""

    content: Any = "{}"
    finish_reason: Any = "stop"
    status: int = 200
    error: str = "something went wrong"
    error_code: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    usage: Any = field(
        default_factory=lambda: {"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150}
    )
    message: Mapping[str, Any] = field(default_factory=dict)
    raw: bytes | None = None
    delay: float = 0.0
    drop: str = ""
    trickle_s: float = 0.0
    trickle_headers: bool = False
    endless: bytes = b""

    def body(self, model: str) -> bytes:
        if self.raw is not None:
            return self.raw
        if self.status != 200:
            error = {"message": self.error, "type": "error", "param": None, "code": self.error_code}
            return json.dumps({"error": error}).encode()
        message = {"role": "assistant", "content": self.content, **self.message}
        choice = {"index": 0, "message": message, "finish_reason": self.finish_reason}
        made = {"id": "x", "object": "chat.completion", "created": 0, "model": model, "choices": [choice]}
        return json.dumps({**made, "usage": self.usage} if self.usage is not None else made).encode()


def settings(url: str, **changes: Any) -> ChatSettings:
    """For the server at ``url``: known prices, short waits."""
    given: dict[str, Any] = {
        "base_url": url,
        "model": "test-model",
        "timeout_s": 10.0,
        "price_in": 1.0,
        "price_out": 2.0,
    }
    return ChatSettings(**{**given, **changes})


class OpenAIServer:
    """See the module."""

    def __init__(self) -> None:
        self.reply: Callable[[Request], Reply] = lambda request: Reply()
        self.script: list[Reply] = []
        self.formats = {"text", "json_object", "json_schema"}
        self.requests: list[Request] = []
        self.most_at_once = 0
        self.endless_bytes = 0
        self._at_once = 0
        self._mutex = threading.Lock()
        self._closing = threading.Event()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._http.daemon_threads = True
        self._http.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients that hang up are the point
        self.url = f"http://127.0.0.1:{self._http.server_port}/v1"

    def __enter__(self) -> "OpenAIServer":
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._http.shutdown()
        self._http.server_close()

    def settings(self, **changes: Any) -> ChatSettings:
        """For this server: known prices, short waits."""
        return settings(self.url, **changes)

    def _next(self, request: Request) -> Reply:
        with self._mutex:
            self.requests.append(request)
            if request.format not in self.formats:
                return Reply(status=400, error="This response_format type is unavailable now")
            if self.script:
                return self.script.pop(0)
        return self.reply(request)

    def _handler(server) -> type[BaseHTTPRequestHandler]:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.path != "/v1/chat/completions":
                    self._send(Reply(status=404, error=f"no such path {self.path}"), "")
                    return
                request = Request(json.loads(body), {k.lower(): v for k, v in self.headers.items()})
                with server._mutex:
                    server._at_once += 1
                    server.most_at_once = max(server.most_at_once, server._at_once)
                try:
                    reply = server._next(request)
                    server._closing.wait(reply.delay)
                finally:
                    with server._mutex:
                        server._at_once -= 1
                self._send(reply, request.body.get("model", ""))

            def _send(self, reply: Reply, model: str) -> None:
                body = reply.body(model)
                if reply.drop == "before":
                    self.close_connection = True
                    return
                if reply.trickle_headers:
                    self._trickle_headers(reply)
                    return
                self.send_response(reply.status)
                self.send_header("Content-Type", "application/json")
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                if reply.trickle_s:
                    self.close_connection = True
                    self.end_headers()
                    while not server._closing.is_set():
                        self.wfile.write(b"\n")
                        time.sleep(reply.trickle_s)
                    return
                if reply.endless:
                    self.close_connection = True
                    self.end_headers()
                    while not server._closing.is_set():
                        self.wfile.write(reply.endless)
                        server.endless_bytes += len(reply.endless)
                    return
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[: len(body) // 2] if reply.drop == "middle" else body)
                if reply.drop:
                    self.close_connection = True

            def _trickle_headers(self, reply: Reply) -> None:
                self.close_connection = True
                self.wfile.write(f"HTTP/1.1 {reply.status} Slow\r\nX-Slow: ".encode())
                while not server._closing.wait(reply.trickle_s):
                    self.wfile.write(b"x")

            def log_message(self, *_: Any) -> None:
                pass

        return Handler
