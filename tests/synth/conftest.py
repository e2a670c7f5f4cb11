"""A local server that speaks the OpenAI chat API, for whoever asks for it by name."""

from collections.abc import Iterator

import pytest
from openai_server import OpenAIServer

from synth.llm import chat


@pytest.fixture
def openai_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenAIServer]:
    """See ``openai_server.py``; retries wait for milliseconds, and no key of this machine's user is used."""
    monkeypatch.setattr(chat, "FIRST_WAIT_S", 0.01)
    for name in ("DEEPSEEK_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with OpenAIServer() as server:
        yield server
