"""The budget is not passed: by threads, by processes, by retries, by killed runs, or by what a server leaves unsaid."""

import multiprocessing
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai_server import OpenAIServer, Reply

from synth.llm.chat import Chat, ChatFailed
from synth.llm.ledger import BudgetReached, Ledger
from synth.llm.settings import ChatSettings

COST = 100 / 1e6 + 50 * 2 / 1e6


def question(n: int) -> list[dict[str, str]]:
    return [{"role": "user", "content": f"JSON, number {n}"}]


def most(chat: Chat) -> float:
    """What one request may cost."""
    cost = chat.settings.cost(chat.most_tokens(question(0), None), chat.settings.max_tokens)
    assert cost is not None
    return cost


def test_tokens_and_cost_are_the_servers(openai_server: OpenAIServer, tmp_path: Path) -> None:
    with Chat(openai_server.settings(), tmp_path) as chat:
        for n in range(3):
            assert chat.ask(question(n), None, "x").cost == pytest.approx(COST)
    assert (chat.totals.prompt_tokens, chat.totals.completion_tokens) == (300, 150)
    assert chat.totals.cost == pytest.approx(3 * COST) == pytest.approx(chat.spent())


def test_without_prices_tokens_are_still_counted(openai_server: OpenAIServer, tmp_path: Path) -> None:
    with Chat(openai_server.settings(price_in=None, price_out=None), tmp_path) as chat:
        assert chat.ask(question(0), None, "x").cost is None
    assert (chat.totals.prompt_tokens, chat.totals.cost) == (100, None)


@pytest.mark.parametrize("concurrency", [1, 8])
def test_it_stops_before_the_budget_and_uses_it_up(
    openai_server: OpenAIServer, tmp_path: Path, concurrency: int
) -> None:
    openai_server.reply = lambda request: Reply(delay=0.01)
    given = openai_server.settings(max_tokens=100, budget=0.004)
    reached = 0
    with Chat(given, tmp_path) as chat, ThreadPoolExecutor(concurrency) as pool:
        for future in [pool.submit(chat.ask, question(n), None, "x") for n in range(40)]:
            try:
                future.result()
            except BudgetReached:
                reached += 1
    assert chat.totals.requests == len(openai_server.requests)
    assert reached == 40 - chat.totals.requests > 0
    assert 0.004 - most(chat) < chat.spent() <= 0.004  # not one more would have fitted
    assert chat.spent() == pytest.approx(chat.totals.requests * COST)


def test_another_run_has_only_what_is_left(openai_server: OpenAIServer, tmp_path: Path) -> None:
    given = openai_server.settings(max_tokens=100, budget=0.0009)
    with Chat(given, tmp_path) as chat, pytest.raises(BudgetReached, match="raise --budget"):
        for n in range(9):
            chat.ask(question(n), None, "x")
    answered = chat.totals.requests
    with Chat(given, tmp_path) as chat, pytest.raises(BudgetReached):
        for n in range(9):
            chat.ask(question(n), None, "x")
    assert (chat.totals.requests, chat.totals.cached) == (0, answered)


def test_a_budget_of_nothing_asks_nothing(openai_server: OpenAIServer, tmp_path: Path) -> None:
    with Chat(openai_server.settings(budget=0.0), tmp_path) as chat, pytest.raises(BudgetReached):
        chat.ask(question(0), None, "x")
    assert not openai_server.requests


@pytest.mark.parametrize(
    ("failure", "charged"),
    [
        (Reply(status=429), False),
        (Reply(status=500), False),
        (Reply(status=504), True),
        (Reply(drop="before"), True),
        (Reply(drop="middle"), True),
        (Reply(delay=30), True),
        (Reply(raw=b'{"garbage"'), True),
    ],
)
def test_an_attempt_that_may_be_billed_stays_charged(
    openai_server: OpenAIServer, tmp_path: Path, failure: Reply, charged: bool
) -> None:
    openai_server.script = [failure]
    with Chat(openai_server.settings(timeout_s=0.5), tmp_path) as chat:
        chat.ask(question(0), None, "x")
    assert chat.spent() == pytest.approx(COST + (most(chat) if charged else 0.0), abs=1e-8)
    assert chat.totals.cost == pytest.approx(chat.spent())


def test_retries_end_at_the_budget(openai_server: OpenAIServer, tmp_path: Path) -> None:
    openai_server.reply = lambda request: Reply(drop="before")
    chat = Chat(openai_server.settings(max_tokens=100), tmp_path)
    given = openai_server.settings(max_tokens=100, budget=2.5 * most(chat), max_retries=50)
    with Chat(given, tmp_path) as chat, pytest.raises(BudgetReached):
        chat.ask(question(0), None, "x")
    assert len(openai_server.requests) == 2


@pytest.mark.parametrize(
    "usage",
    [
        None,
        "many",
        {},
        {"prompt_tokens": -5, "completion_tokens": 1},
        {"prompt_tokens": "5", "completion_tokens": 1},
        {"prompt_tokens": True, "completion_tokens": 1},
        {"prompt_tokens": 5.5, "completion_tokens": 1},
        {"prompt_tokens": 10**30, "completion_tokens": 1},
        {"prompt_tokens": 5},
        {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
        {"prompt_tokens": 0, "completion_tokens": 7},
        {"prompt_tokens": 9, "completion_tokens": 0},
    ],
)
def test_usage_that_is_missing_or_wrong_costs_what_was_reserved(
    openai_server: OpenAIServer, tmp_path: Path, usage: object
) -> None:
    openai_server.reply = lambda request: Reply(usage=usage)
    with Chat(openai_server.settings(), tmp_path) as chat:
        chat.ask(question(0), None, "x")
    assert chat.spent() == pytest.approx(most(chat), abs=1e-8)


def test_a_count_of_nothing_is_estimated_and_said(
    openai_server: OpenAIServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    openai_server.script = [Reply()]
    openai_server.reply = lambda request: Reply(
        content="x" * 41, usage={"prompt_tokens": 0, "completion_tokens": 0}
    )
    with Chat(openai_server.settings(), tmp_path) as chat:
        for n in range(3):
            chat.ask(question(n), None, "x")
        bill = chat.bill()
    assert (chat.totals.prompt_tokens, chat.totals.completion_tokens) == (100 + 2 * 4, 50 + 2 * 11)
    assert "estimated for 2 answers, whose tokens the server did not count or counted as none" in bill
    assert "charged with the most they can have cost" in bill
    said = " ".join(capsys.readouterr().err.split())
    assert said.count("test-model does not count tokens, or counts none") == 1
    with Chat(openai_server.settings(price_in=None, price_out=None), tmp_path / "free") as chat:
        chat.ask(question(0), None, "x")
    assert "estimated for 1 answers" in chat.bill() and "charged" not in chat.bill()
    assert capsys.readouterr().err == f"{chat.bill()}\n"


@pytest.mark.parametrize("content", ["", None])
def test_an_answer_of_no_text_may_have_no_tokens(
    openai_server: OpenAIServer, tmp_path: Path, content: str | None
) -> None:
    openai_server.reply = lambda request: Reply(
        content=content, usage={"prompt_tokens": 100, "completion_tokens": 0}
    )
    with Chat(openai_server.settings(), tmp_path) as chat:
        chat.ask(question(0), None, "x")
    assert chat.spent() == pytest.approx(0.0001) and "estimated" not in chat.bill()


@given(text=st.text(max_size=300))
@settings(max_examples=60, deadline=None)
def test_no_tokenizer_makes_more_tokens_than_are_reserved(text: str) -> None:
    """A token of a byte-level tokenizer is at least one byte."""
    text = text.encode("utf-8", "replace").decode()
    chat = Chat(ChatSettings(), Path("unused"))
    assert chat.most_tokens([{"role": "user", "content": text}], None) >= len(text.encode()) + 200


def test_what_was_in_flight_when_a_run_was_killed_stays_charged(tmp_path: Path) -> None:
    file = tmp_path / "spent.jsonl"
    killed = Ledger(file, 1.0)
    killed.settle(killed.reserve(0.3), 0.1)
    killed.reserve(0.5)
    with open(file, "ab") as torn:
        torn.write(b'["abc", 99')
    again = Ledger(file, 1.0)
    assert again.total == pytest.approx(0.6)
    with pytest.raises(BudgetReached, match=r"up to \$0.41.*\$0.40* is left.*this cache: \$0.6000"):
        again.reserve(0.41)
    again.settle(again.reserve(0.4), 0.2)
    assert Ledger(file, None).total == pytest.approx(0.8) == killed.total


def test_a_reservation_waits_for_those_under_way(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "spent.jsonl", 1.0)
    first = ledger.reserve(0.8)
    threading.Timer(0.2, ledger.settle, (first, 0.1)).start()
    begun = time.monotonic()
    ledger.reserve(0.8)
    assert time.monotonic() - begun > 0.15


def _spend(file: Path) -> None:
    ledger = Ledger(file, 0.01)
    for _ in range(100):
        try:
            ledger.settle(ledger.reserve(0.0003), 0.0001)
        except BudgetReached:
            return


def test_processes_share_one_budget(tmp_path: Path) -> None:
    file = tmp_path / "spent.jsonl"
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_spend, args=(file,)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(300)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert 0.009 < Ledger(file, None).total <= 0.01


def test_failing_attempts_are_not_counted_as_answers(openai_server: OpenAIServer, tmp_path: Path) -> None:
    openai_server.reply = lambda request: Reply(status=500)
    with Chat(openai_server.settings(max_retries=2), tmp_path) as chat, pytest.raises(ChatFailed):
        chat.ask(question(0), None, "x")
    assert (chat.totals.requests, chat.totals.retries, chat.totals.cost) == (0, 2, 0.0)


MORE = {"prompt_tokens": 10**9, "completion_tokens": 50}


def test_a_count_beyond_what_was_reserved_stops_at_the_budget_and_is_charged(
    openai_server: OpenAIServer, tmp_path: Path
) -> None:
    openai_server.script = [Reply(content="kept", usage=MORE)]
    given = openai_server.settings(budget=1.0)
    with Chat(given, tmp_path) as chat:
        with pytest.raises(BudgetReached) as caught:
            chat.ask(question(0), None, "x")
        with pytest.raises(BudgetReached, match="the server counted"):
            chat.ask(question(1), None, "x")
        assert chat.ask(question(0), None, "x").text == "kept"
    said = str(caught.value)
    can = chat.most_tokens(question(0), None) + given.max_tokens
    assert f"the server counted 1,000,000,050 tokens for a request that can hold at most {can:,}" in said
    assert "the budget of $1 is passed; check --price-in" in said and "\n" not in said
    assert said.endswith("(all runs with this cache: $1000.0001)") and chat.spent() == pytest.approx(
        1000.0001
    )
    assert len(openai_server.requests) == 1
    with Chat(given, tmp_path) as chat:
        assert chat.ask(question(0), None, "x").cached
        with pytest.raises(BudgetReached, match="would be passed"):
            chat.ask(question(1), None, "x")


@pytest.mark.parametrize("budget", [None, 1e6])
def test_without_a_budget_that_it_passes_it_is_said_once(
    openai_server: OpenAIServer, tmp_path: Path, capsys: pytest.CaptureFixture[str], budget: float | None
) -> None:
    openai_server.reply = lambda request: Reply(usage=MORE)
    with Chat(openai_server.settings(budget=budget), tmp_path) as chat:
        for n in range(3):
            chat.ask(question(n), None, "x")
    said = capsys.readouterr().err
    assert said.count("warning: the server counted 1,000,000,050 tokens") == 1
    assert said.endswith(f"\n{chat.bill()}\n") and said.count("\n") == 2


def test_a_count_within_what_was_reserved_is_not_mentioned(
    openai_server: OpenAIServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Chat(openai_server.settings(), tmp_path) as chat:
        most_tokens = chat.most_tokens(question(0), None)
        openai_server.reply = lambda request: Reply(
            usage={"prompt_tokens": most_tokens, "completion_tokens": chat.settings.max_tokens}
        )
        chat.ask(question(0), None, "x")
    assert capsys.readouterr().err == f"{chat.bill()}\n"


def test_errors_end_with_what_was_spent(openai_server: OpenAIServer, tmp_path: Path) -> None:
    openai_server.script = [Reply()]
    openai_server.reply = lambda request: Reply(status=401)
    with Chat(openai_server.settings(), tmp_path) as chat:
        chat.ask(question(0), None, "x")
        for n in (1, 2):  # the second is told of the first's failure
            with pytest.raises(ChatFailed, match=r"HTTP 401") as caught:
                chat.ask(question(n), None, "x")
            assert str(caught.value).endswith(" (all runs with this cache: $0.0002)")
            assert str(caught.value).count("all runs") == 1
    with (
        Chat(openai_server.settings(budget=0.001), tmp_path) as chat,
        pytest.raises(
            BudgetReached, match=r"raise --budget to go on \(all runs with this cache: \$0\.0002\)$"
        ),
    ):
        chat.ask(question(3), None, "x")


def test_where_prices_are_unknown_errors_name_no_sum(openai_server: OpenAIServer, tmp_path: Path) -> None:
    openai_server.reply = lambda request: Reply(status=401)
    given = openai_server.settings(price_in=None, price_out=None)
    with Chat(given, tmp_path) as chat, pytest.raises(ChatFailed) as caught:
        chat.ask(question(0), None, "x")
    assert "all runs" not in str(caught.value)


def test_the_sum_is_that_of_when_it_is_shown(openai_server: OpenAIServer, tmp_path: Path) -> None:
    """What was under way when a request failed was reserved in full, and costs less when it is answered."""
    openai_server.reply = lambda request: (
        Reply(status=401, delay=0.2) if request.texts == ["JSON, number 0"] else Reply(delay=0.6)
    )
    with Chat(openai_server.settings(), tmp_path) as chat, ThreadPoolExecutor(2) as pool:
        failing, slow = (pool.submit(chat.ask, question(n), None, "x") for n in (0, 1))
        error = failing.exception()
        assert f"${most(chat):.4f})" in str(error)
        slow.result()
        assert str(error).endswith("(all runs with this cache: $0.0002)")
