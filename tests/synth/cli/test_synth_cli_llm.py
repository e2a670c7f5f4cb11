"""`synth distill` and `synth generate` against a real server on this machine, by their flags alone."""

import os
import signal
import time
from pathlib import Path

import forked
import pytest
from command_line import done, next_step, refused, run
from openai_server import OpenAIServer, Reply
from studies import LOG, PRICES, answer, server_words, write_study

from curator.artifacts.files import load_json
from synth.generate.generators import Generators
from synth.patterns.registry import Registry


@pytest.fixture
def ranking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return write_study(tmp_path)


def test_patterns_and_code_of_a_model_by_following_what_every_command_says_next(
    openai_server: OpenAIServer, ranking: Path
) -> None:
    openai_server.reply = answer
    server = server_words(openai_server.url)
    distill = ["distill", ranking, "--out", "my patterns", *server, "--holdout", 0.4, "--per-request", 12]
    told = run(*distill)
    said = told.out
    assert "2 patterns of 48 samples" in said and "(8 before merging)" in said
    assert len(openai_server.requests) == 4
    assert {request.body["model"] for request in openai_server.requests} == {"test-model"}
    bill = "4 answers from test-model, 0 from the cache: 400 tokens sent, 200 received; the cost is not known"
    assert bill in " ".join(told.err.split()) and "answers from" not in run(*distill).err
    assert len(openai_server.requests) == 4
    registry = Registry.open(Path("my patterns"))
    assert [entry.pattern.pattern_name for entry in registry.entries] == ["Log lines", "Stars"]

    assert next_step(said) == ["synth", "audit", "patterns", "my patterns"]
    said = done("audit", "patterns", "my patterns", "--workers", 1)
    assert "1 of 2 patterns carry" in said

    words = ["synth", "generate", "my patterns", *server, "--out", "generators"]
    assert next_step(said) == words
    told = run(*words[1:])
    assert "1 answers from test-model, 0 from the cache" in told.err
    assert "1 of 2 patterns, those that carry" in told.err and "1 generators passed their checks" in told.out
    assert len(openai_server.requests) == 5
    (generator,) = Generators.open(Path("generators")).generators
    assert generator.pattern.to_json() == {**LOG, "pattern_id": "p001"}
    assert generator.details["provenance"]["model"] == "test-model"
    done(*words[1:])
    assert len(openai_server.requests) == 5


def test_a_dry_run_shows_the_first_prompt_and_an_estimate_asks_nobody_and_writes_nothing(
    openai_server: OpenAIServer, ranking: Path
) -> None:
    words = ["distill", ranking, "--out", "patterns", *server_words(openai_server.url), "--per-request", 16]
    said = done(*words, *PRICES, "--budget", 2, "--dry-run")
    assert "INFO worker-" in said and "64 samples in 4 requests to test-model" in said
    assert "Cost: about $" in said and "cost $0.0000 so far; none passes $2" in said
    assert not openai_server.requests and not Path("patterns").exists()


def test_the_budget_ends_the_run_with_1_and_a_larger_one_goes_on(
    openai_server: OpenAIServer, ranking: Path
) -> None:
    openai_server.reply = answer
    words = ["distill", ranking, "--out", "patterns", *server_words(openai_server.url), *PRICES]
    words += ["--per-request", 4, "--max-tokens", 1000, "--concurrency", 1]
    said = refused(1, *words, "--budget", 0.01)
    assert "the budget of $0.01 would be passed" in said and "raise --budget to go on" in said
    assert 0 < len(openai_server.requests) < 16 and not Path("patterns/registry.json").exists()
    assert "2 patterns of 64 samples" in done(*words, "--budget", 1)
    assert len(openai_server.requests) == 16
    generate = ["generate", "patterns", "--all", "--out", "generators", *server_words(openai_server.url)]
    assert "raise --budget" in refused(1, *generate, *PRICES, "--budget", 0.001)
    assert len(openai_server.requests) == 16 and not Path("generators/manifest.json").exists()
    assert "2 generators passed" in done(*generate, *PRICES, "--budget", 1)
    assert len(openai_server.requests) == 18


def test_answers_that_never_mend_are_told_and_those_that_do_are_kept(
    openai_server: OpenAIServer, ranking: Path
) -> None:
    openai_server.reply = lambda request: Reply(content="I cannot.")
    words = ["distill", ranking, *server_words(openai_server.url), "--top", 10, "--tries", 1]
    said = refused(1, *words, "--out", "none")
    assert (
        "no pattern was found in 8 samples; 1 answers are set aside" in said and "not one JSON object" in said
    )
    assert "I cannot." in Path("none/set_aside.json").read_text()
    openai_server.script = [answer(openai_server.requests[0])]
    said = done(*words, "--out", "one", "--per-request", 4, "--concurrency", 1)
    assert "1 answers or patterns were set aside, with reasons, in registry.json" in said
    (item,) = load_json(Path("one/registry.json"))["set_aside"]
    assert item["answer"] == "I cannot."


def test_a_server_that_is_not_there_is_named_with_what_to_do(ranking: Path) -> None:
    words = ["distill", ranking, "--out", "patterns", "--model", "m", "--base-url", "http://127.0.0.1:9/v1"]
    said = refused(1, *words, "--retries", 0)
    assert "m at http://127.0.0.1:9/v1 gave no answer in 1 attempts" in said
    assert "no connection to http://127.0.0.1:9/v1" in said and "the same command goes on" in said


@pytest.mark.parametrize("command", ["distill", "generate"])
def test_without_a_key_nobody_is_asked_and_the_variable_is_named(
    openai_server: OpenAIServer, ranking: Path, command: str
) -> None:
    done("distill", ranking, "--engine", "builtin", "--out", "patterns")
    words = [ranking] if command == "distill" else ["patterns", "--all"]
    said = refused(1, command, *words, "--out", "out")
    assert "no key for https://api.deepseek.com: set the environment variable DEEPSEEK_API_KEY" in said
    assert "--engine builtin needs none" in said


def test_the_key_of_the_variable_that_is_named_is_sent_and_never_shown(
    openai_server: OpenAIServer, ranking: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", "sk-secret-123")
    openai_server.reply = answer
    words = ["distill", ranking, "--out", "patterns", *server_words(openai_server.url), "--top", 10]
    said = done(*words, "--key-env", "MY_KEY")
    assert openai_server.requests[0].headers["authorization"] == "Bearer sk-secret-123"
    written = [path.read_text() for path in Path("patterns").rglob("*") if path.is_file()]
    assert written and not any("sk-secret" in text for text in [said, *written])


@pytest.mark.parametrize("command", ["distill", "generate"])
def test_ctrl_c_ends_a_wait_that_a_server_asked_for(
    openai_server: OpenAIServer, ranking: Path, command: str
) -> None:
    server = server_words(openai_server.url)
    done("distill", ranking, "--engine", "builtin", "--out", "patterns")
    words = [ranking] if command == "distill" else ["patterns", "--all"]
    openai_server.reply = lambda request: Reply(status=429, error="slow down", headers={"Retry-After": "100"})
    errors, said = Path("errors.txt"), ""
    running = forked.command("synth", command, *words, "--out", "out", *server, cwd=ranking.parent)
    while "waiting" not in said:
        assert running.is_alive(), said
        time.sleep(0.01)
        said = errors.read_text() if errors.exists() else ""
    assert "test-model: HTTP 429: slow down; waiting 100 s (Ctrl-C ends it" in said
    begun = time.monotonic()
    os.kill(running.pid or 0, signal.SIGINT)
    assert forked.finish(running) == 130 and time.monotonic() - begun < 20
    rest = errors.read_text()
    assert "the same command resumes" in rest and "Traceback" not in rest


def test_without_temperature_as_asked_none_is_sent(openai_server: OpenAIServer, ranking: Path) -> None:
    openai_server.reply = answer
    words = ["distill", ranking, *server_words(openai_server.url), "--top", 10, "--out", "patterns"]
    done(*words, "--temperature", "none")
    assert "temperature" not in openai_server.requests[0].body
    assert load_json(Path("patterns/registry.json"))["engine"]["temperature"] is None
    said = refused(1, *words)
    assert "engine.temperature: there None, asked for 0.0" in said
    for wrong in ("-1", "warm", "nan"):
        assert "expected a number of at least 0, or none" in refused(2, *words, "--temperature", wrong)
