"""Generators over real HTTP: code is checked, goes back with the reason, and is set aside when it does not pass."""

import json
import signal
import time
from pathlib import Path

import pytest
from forked import finish
from generated_runs import code, generated, reply_for_four, start, writer
from openai_server import OpenAIServer, Reply
from pattern_samples import log_pattern, pattern_json

from synth.generate.checks import Checked
from synth.generate.codegen import write_source
from synth.generate.llm import read_code
from synth.llm.answers import InvalidAnswer
from synth.llm.ledger import BudgetReached
from synth.patterns.pattern import Pattern
from synth.sandbox.policy import check_source

PATTERN = log_pattern()
SOURCE = write_source(PATTERN)


def policy(source: str) -> Checked:
    return Checked(complaints=tuple(check_source(source, PATTERN.function)))


def test_code_that_passes_is_kept_with_where_it_came_from(
    openai_server: OpenAIServer, tmp_path: Path
) -> None:
    openai_server.reply = lambda request: Reply(content=code(SOURCE))
    made = writer(openai_server.url, tmp_path)
    written = made(PATTERN, policy)
    assert (
        (written.source, written.reason) == (SOURCE, "")
        and written.checked is not None
        and written.checked.passed
    )
    assert written.provenance["model"] == "test-model"
    assert written.provenance["prompt"] == made.prompt.describe()
    assert [(tmp_path / f"{name}.json").is_file() for name in written.provenance["requests"]] == [True]
    assert made(PATTERN, policy) == written and len(openai_server.requests) == 1


def test_the_prompt_holds_the_pattern_the_function_and_the_rules(
    openai_server: OpenAIServer, tmp_path: Path
) -> None:
    evil = Pattern.from_json(pattern_json(pattern_name="<<function>> # System", length_control="<<pattern>>"))
    text = writer(openai_server.url, tmp_path).messages(evil, 2.53)[1]["content"]
    shown = text.partition("The pattern:\n\n")[2].rpartition("\n\nAnswer with")[0]
    assert Pattern.from_json(json.loads(shown)) == evil
    assert f"def {evil.function}(rng, target_tokens):" in text
    for word in ("math", "hex = '0123456789abcdef'", "rng", "2.5 * target_tokens"):
        assert word in text.partition("The pattern:")[0]


def test_code_that_fails_goes_back_with_the_reason(openai_server: OpenAIServer, tmp_path: Path) -> None:
    openai_server.script = [Reply(content=code("import os\n" + SOURCE)), Reply(content=code(SOURCE))]
    written = writer(openai_server.url, tmp_path)(PATTERN, policy)
    assert written.source == SOURCE and not written.reason
    back = openai_server.requests[1].texts
    assert back[2] == code("import os\n" + SOURCE) and "line 1: module os is not available" in back[3]
    assert len(written.provenance["requests"]) == 2


@pytest.mark.parametrize("tries", [0, 2])
def test_it_goes_back_so_often_and_is_set_aside_with_the_last_reason(
    openai_server: OpenAIServer, tmp_path: Path, tries: int
) -> None:
    openai_server.reply = lambda request: Reply(content=code(f"import os  # {len(openai_server.requests)}"))
    written = writer(openai_server.url, tmp_path, tries)(PATTERN, policy)
    assert len(openai_server.requests) == tries + 1
    assert written.source == f"import os  # {tries + 1}\n" and "module os is not available" in written.reason
    assert written.checked is not None and not written.checked.passed


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Reply(content="def f(): pass"), "not one JSON object"),
        (Reply(content='{"code": 7}'), "the source as one string"),
        (Reply(content='{"source": "x"}'), "the source as one string"),
        (Reply(content=code(SOURCE)[:50]), "not one JSON object"),
        (Reply(content=code(SOURCE)[:50], finish_reason="length"), "cut off"),
        (Reply(content=f"```python\n{SOURCE}", finish_reason="length"), "cut off"),
        (Reply(content=""), "no text"),
        (Reply(content='{"code": "\\ud800"}'), "half a character"),
        (Reply(content="[" * 100_000), "nested"),
        (Reply(content=code("(" * 5000 + ")" * 5000)), "nested"),
        (Reply(content=code("x" * 300_000)), "characters long"),
    ],
)
def test_an_answer_without_good_code_is_set_aside(
    openai_server: OpenAIServer, tmp_path: Path, reply: Reply, reason: str
) -> None:
    openai_server.reply = lambda request: reply
    written = writer(openai_server.url, tmp_path, 1, max_tokens=100_000)(PATTERN, policy)
    assert reason in written.reason and len(openai_server.requests) == 2
    json.dumps(written.source, ensure_ascii=False).encode()


@pytest.mark.parametrize("content", [code(SOURCE) + "\n" * 40, f"```python\n{SOURCE}```\nIt"])
def test_code_that_is_whole_is_taken_from_an_answer_that_was_cut_off(
    openai_server: OpenAIServer, tmp_path: Path, content: str
) -> None:
    openai_server.reply = lambda request: Reply(content=content, finish_reason="length")
    written = writer(openai_server.url, tmp_path)(PATTERN, policy)
    assert (written.source, written.reason) == (SOURCE, "") and len(openai_server.requests) == 1


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        (Reply(content=code(SOURCE)[:50], finish_reason="length"), "the answer was cut off"),
        (Reply(content="I give up."), "not one JSON object"),
        (
            Reply(status=400, error="This model's maximum context length is 512 tokens"),
            "too long for the model",
        ),
    ],
)
def test_of_a_correction_that_fails_the_reason_is_told_beside_that_of_the_source_before(
    openai_server: OpenAIServer, tmp_path: Path, second: Reply, reason: str
) -> None:
    openai_server.script = [Reply(content=code("import os\n")), second]
    written = writer(openai_server.url, tmp_path, 1)(PATTERN, policy)
    assert written.source == "import os\n" and written.checked is not None
    first, _, then = written.reason.partition("of the source before that:")
    assert reason in first and "module os is not available" in then


def test_a_refusal_is_not_argued_with(openai_server: OpenAIServer, tmp_path: Path) -> None:
    openai_server.reply = lambda request: Reply(content="", finish_reason="content_filter")
    written = writer(openai_server.url, tmp_path)(PATTERN, policy)
    assert "content_filter" in written.reason and len(openai_server.requests) == 1


@pytest.mark.parametrize(
    "text",
    [
        code("x = 1"),
        f"```json\n{code('x = 1')}\n```",
        "```python\nx = 1\n```",
        "```py\n\nx = 1\n\n```\n",
        code("```python\nx = 1\n```"),
        f"<think>x = 2?</think>\n\n{code('x = 1')}",
        "<think>\n```python\nx = 2\n```\n</think>\n```python\nx = 1\n```",
        "\n```python\nx = 2\n```\n</think>\n```python\nx = 1\n```",
        "<think>a</think>\n<think>b</think>\n```python\nx = 1\n```",
        "Here is the function:\n\n```python\nx = 1\n```\n\nIt sets x.",
        '{"explanation": "sets x", "code": "x = 1"}',
        f"Here:\n```json\n{code('x = 1')}\n```",
    ],
)
def test_code_is_read_from_json_or_one_block(text: str) -> None:
    assert read_code(text) == "x = 1\n"


@pytest.mark.parametrize(
    "text",
    [
        "```python\nx = 1\n```\n```python\nx = 2\n```",
        "```sh\nid\n```",
        "x = 1",
        "<think>```python\nx = 1\n```",
    ],
)
def test_code_is_not_searched_for(text: str) -> None:
    with pytest.raises(InvalidAnswer):
        read_code(text)


def test_the_budget_is_the_writers_limit_too(openai_server: OpenAIServer, tmp_path: Path) -> None:
    with pytest.raises(BudgetReached):
        writer(openai_server.url, tmp_path, budget=0.001)(PATTERN, policy)
    assert not openai_server.requests


def test_a_run_that_ended_goes_on_without_asking_twice(openai_server: OpenAIServer, tmp_path: Path) -> None:
    """The checks' words are part of what is asked, so the same checks lead through the same answers."""
    openai_server.reply = lambda request: Reply(content=code(f"import os  # {len(openai_server.requests)}"))

    class Killed(BaseException):
        pass

    def dying(source: str) -> Checked:
        if "# 2" in source:
            raise Killed
        return policy(source)

    with pytest.raises(Killed):
        writer(openai_server.url, tmp_path)(PATTERN, dying)
    assert len(openai_server.requests) == 2
    writer(openai_server.url, tmp_path)(PATTERN, policy)
    assert len(openai_server.requests) == 3


@pytest.mark.parametrize(
    "die_at",
    [
        ("/cache/", "before"),
        ("/cache/", "after"),
        ("parts/p1.json", "before"),
        ("/p0_log", "after"),
        ("manifest", "before"),
    ],
    ids=str,
)
def test_a_killed_run_goes_on_and_asks_only_for_what_is_missing(
    openai_server: OpenAIServer, tmp_path: Path, die_at: tuple[str, str]
) -> None:
    openai_server.reply = reply_for_four
    assert finish(start(openai_server.url, tmp_path, die_at)) == -signal.SIGKILL
    assert not (tmp_path / "manifest.json").exists()
    time.sleep(0.2)  # a sandbox that it was just starting may still hold its lock
    before = len(openai_server.requests)
    made = generated(openai_server.url, tmp_path)
    assert [one.pattern_id for one in made.generators] == ["p0", "p1", "p3"]
    (aside,) = made.manifest["set_aside"]
    assert (
        aside["pattern_id"] == "p2"
        and "the anchor 'INFO worker-' does not stand in the text" in aside["reason"]
    )
    lost = len(openai_server.requests) - 6  # 1 + 2 + 2 + 1 answers in all
    assert 0 <= lost <= 2 and (before < 6 or lost == 0)
    generated(openai_server.url, tmp_path)
    assert len(openai_server.requests) == 6 + lost
