"""Runs that ask a model, killed or stopped, go on and ask for the rest alone."""

import os
import signal
import time
from pathlib import Path

import pytest
from distill_engine import GOOD, engine, start
from forked import finish
from openai_server import OpenAIServer, Reply
from pattern_samples import samples


@pytest.mark.parametrize("die_at", [(1, "before"), (1, "after"), (5, "before"), (8, "after")], ids=str)
def test_a_run_killed_at_an_answer_asks_only_for_the_rest(
    openai_server: OpenAIServer, tmp_path: Path, die_at: tuple[int, str]
) -> None:
    """Concurrency 1, so that the place is exact: 6 batches, the first two answers of which go back once each."""
    openai_server.script = [
        Reply(content="no"),
        Reply(content=GOOD),
        Reply(content="no"),
        Reply(content=GOOD),
    ]
    openai_server.reply = lambda request: Reply(content=GOOD)
    killed = start(openai_server.url, tmp_path, 6, 1, die_at)
    assert finish(killed) == -signal.SIGKILL
    number, moment = die_at
    lost = moment == "before"
    assert len(openai_server.requests) == number
    assert len(list(tmp_path.glob("[0-9a-f]*.json"))) == number - lost
    if lost and openai_server.script:  # the one that is asked again gets the same answer
        openai_server.script.insert(0, Reply(content="no"))
    found, set_aside = engine(openai_server, tmp_path, 1, concurrency=1, tries=1)(samples(6))
    assert len(found) == 6 and not set_aside
    assert len(openai_server.requests) == 8 + lost


def test_a_run_killed_from_outside_asks_again_for_what_was_in_flight_at_most(
    openai_server: OpenAIServer, tmp_path: Path
) -> None:
    openai_server.reply = lambda request: Reply(content=GOOD, delay=0.1)
    killed = start(openai_server.url, tmp_path, 24, 4)
    deadline = time.monotonic() + 60
    while len(openai_server.requests) < 11 and time.monotonic() < deadline:
        time.sleep(0.01)
    killed.kill()
    assert finish(killed, 10) == -signal.SIGKILL
    time.sleep(0.2)
    before = len(openai_server.requests)
    assert 11 <= before < 24
    found, _ = engine(openai_server, tmp_path, 1)(samples(24))
    assert len(found) == 24
    assert 24 <= len(openai_server.requests) <= 24 + 4
    again = start(openai_server.url, tmp_path, 24, 4)
    assert finish(again) == 24
    assert len(openai_server.requests) <= 24 + 4


def test_ctrl_c_keeps_what_was_under_way(openai_server: OpenAIServer, tmp_path: Path) -> None:
    openai_server.reply = lambda request: Reply(content=GOOD, delay=0.4)
    process = start(openai_server.url, tmp_path, 24, 4)
    deadline = time.monotonic() + 60
    while len(openai_server.requests) < 6 and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid or 0, signal.SIGINT)
    assert finish(process, 20) == 1
    asked = len(openai_server.requests)
    assert asked <= 12
    assert len(list(tmp_path.glob("[0-9a-f]*.json"))) == asked
