"""`Chat.ask`: one request with everything around it: cache, budget, retries, and the way the server gives JSON.

Before every attempt the most it can cost is reserved: a token is at least one byte of what is sent, and the answer has
at most ``max_tokens``. The server's own count replaces that, and where it is more, that is said; where it is missing,
or an attempt timed out or broke off, the reservation stays charged. Retries are our own and not the client's, because
each is one more such reservation.
"""

import copy
import json
import random
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curator.errors import CuratorError
from curator.progress import console
from synth.llm.cache import Answer, Cache, name_of
from synth.llm.ledger import BilledError, BudgetReached, Ledger
from synth.llm.schemas import strict
from synth.llm.settings import ChatSettings

if TYPE_CHECKING:
    from synth.llm.wire import Reply, Wire

Message = dict[str, str]
FIRST_WAIT_S = 1.0
"""Before the first retry; doubled for each, with jitter."""
LONGEST_WAIT_S = 120.0
"""Between two attempts, whatever the server asks for."""
OVERHEAD_TOKENS = 256
"""What a server may wrap around a conversation, with 16 more for every message."""
MODES = ("schema", "object", "text")


class ChatFailed(BilledError):
    """A request got no answer."""


@dataclass
class Totals:
    """What this process asked so far; ``cost`` in USD, None where prices are unknown."""

    requests: int = 0
    cached: int = 0
    retries: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float | None = None

    @property
    def any(self) -> bool:
        """Whether anything was asked."""
        return self.requests + self.cached > 0

    def note(self) -> str:
        """For a progress bar."""
        money = "" if self.cost is None else f", ${self.cost:.4f}"
        return f"{self.requests} asked, {self.cached} from cache{money}"


class Chat:
    """A model behind a server; thread-safe. Nothing is written or opened before the first request.

    Args:
        cache: folder of the answers and of ``spent.jsonl``.
    """

    def __init__(self, settings: ChatSettings, cache: Path):
        self.settings = settings
        self.totals = Totals(cost=None if settings.prices is None else 0.0)
        self._cache = Cache(cache)
        self._ledger = Ledger(cache / "spent.jsonl", settings.budget)
        self._mutex = threading.Lock()
        self._asking: dict[str, threading.Lock] = {}
        self._stopped = threading.Event()
        self._failure: CuratorError | None = None
        self._warned = False
        self._mode = settings.json_mode if settings.json_mode != "auto" else MODES[0]
        self._limit_name = "max_tokens"
        self._wire: Wire | None = None

    def __enter__(self) -> "Chat":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._wire is not None:
            self._wire.close()
            self._wire = None

    def stop(self) -> None:
        """Begin no further attempt; what is under way may still be answered, and what is cached is still given."""
        self._stopped.set()

    def bill(self) -> str:
        """What this process asked and what it cost, for the end of a command."""
        totals = self.totals
        retries = f", {totals.retries} retries" if totals.retries else ""
        said = (
            f"{totals.requests} answers from {self.settings.model}, {totals.cached} from the cache{retries}: "
            f"{totals.prompt_tokens:,} tokens sent, {totals.completion_tokens:,} received"
        )
        if totals.cost is None:
            return f"{said}; the cost is not known (--price-in, --price-out)."
        return f"{said}; ${totals.cost:.4f}, and ${self.spent():.4f} for all runs with this cache."

    def cached(self, messages: Sequence[Message], schema: dict[str, Any] | None) -> Answer | None:
        """The answer that lies on disk, without asking."""
        return self._cache.get(name_of(self._request(messages, schema)))

    def ask(self, messages: Sequence[Message], schema: dict[str, Any] | None, schema_name: str) -> Answer:
        """The answer to ``messages``, from disk where it was given before.

        Args:
            schema: of the wanted JSON; only asked for, the answer must be checked. None: text is wanted.

        Raises:
            BudgetReached: it might pass the budget, or did, because the server counted more than can be.
            ChatFailed: no answer after all retries, or a refusal that concerns more than this text. Both end this
                `Chat`: whatever is asked later and not cached raises the same.
        """
        request = self._request(messages, schema)
        name = name_of(request)
        with self._mutex:
            asking = self._asking.setdefault(name, threading.Lock())
        with asking:
            answer = self._cache.get(name)
            if answer is None:
                try:
                    answer = self._ask(request, name, schema_name)
                except CuratorError as error:
                    self._fail(error)
                    raise
                self._cache.put(request, answer)
                self._check_cost(request, answer)
            else:
                with self._mutex:
                    self.totals.cached += 1
        return answer

    def _fail(self, error: CuratorError) -> None:
        self._failure = self._failure or error
        self.stop()

    def _failed(self, text: str) -> ChatFailed:
        return ChatFailed(text, None if self.settings.prices is None else self._ledger)

    def _request(self, messages: Sequence[Message], schema: dict[str, Any] | None) -> dict[str, Any]:
        return {**self.settings.identity(), "messages": list(messages), "schema": schema}

    def _ask(self, request: dict[str, Any], name: str, schema_name: str) -> Answer:
        from synth.llm.wire import Failed, Refused, Wire

        with self._mutex:
            if self._wire is None:
                self._wire = Wire(self.settings)
        failures, wait = 0, 0.0
        while True:
            if self._stopped.wait(wait):
                if self._failure is not None:
                    raise copy.copy(self._failure)
                raise self._failed("interrupted; what was answered is kept, the same command goes on")
            mode, limit_name = self._mode, self._limit_name
            parameters = self._parameters(request, schema_name, mode, limit_name)
            charge = self._reserve(request)
            cost: float | None = 0.0  # of an attempt that brings nothing; None: all that was reserved
            try:
                reply = self._wire.send(parameters)
                cost = self._cost_of(reply)
                return self._answer(reply, name, charge, cost)
            except Failed as error:
                cost = None if error.billed else 0.0
                failures += 1
                if failures > self.settings.max_retries:
                    raise self._failed(
                        f"{self.settings.model} at {self.settings.base_url} gave no answer in {failures} attempts; "
                        f"the last: {error}. What was answered is kept; the same command goes on"
                    ) from None
                wait = self._wait(failures, error.wait_s)
                with self._mutex:
                    self.totals.retries += 1
            except Refused as error:
                if error.filtered:
                    return Answer(
                        text="",
                        finish_reason="content_filter",
                        model="",
                        prompt_tokens=0,
                        completion_tokens=0,
                        request=name,
                        cost=None if self.settings.prices is None else 0.0,
                    )
                if not self._give_way(error, mode, limit_name):
                    raise self._failed(
                        f"{self.settings.model} at {self.settings.base_url}: {error}"
                    ) from None
                wait = 0.0
            except BaseException:
                cost = None
                raise
            finally:
                if charge is not None:
                    self._settle(charge, cost)

    def _parameters(
        self, request: dict[str, Any], schema_name: str, mode: str, limit_name: str
    ) -> dict[str, Any]:
        parameters: dict[str, Any] = {
            "model": request["model"],
            "messages": request["messages"],
            "temperature": request["temperature"],
            limit_name: request["max_tokens"],
        }
        extra = self.settings.extra_body()
        if extra:
            parameters["extra_body"] = extra
        if request["schema"] is not None and mode == "object":
            parameters["response_format"] = {"type": "json_object"}
        elif request["schema"] is not None and mode == "schema":
            wanted = {"name": schema_name, "strict": True, "schema": strict(request["schema"])}
            parameters["response_format"] = {"type": "json_schema", "json_schema": wanted}
        return parameters

    def _give_way(self, error: Any, mode: str, limit_name: str) -> bool:
        """Whether the refusal is mended by asking in another way, which is remembered."""
        with self._mutex:
            if error.about_limit_name and limit_name == "max_tokens":
                self._limit_name = "max_completion_tokens"
                return True
            if not error.about_format or self.settings.json_mode != "auto" or mode == MODES[-1]:
                return False
            if self._mode == mode:  # another thread may have been first
                self._mode = MODES[MODES.index(mode) + 1]
            return True

    def _wait(self, failures: int, asked_for: float | None) -> float:
        """Seconds until the next attempt."""
        if asked_for is not None:
            return min(asked_for, LONGEST_WAIT_S)
        return min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** (failures - 1)) * random.uniform(0.5, 1.0)

    def most_tokens(self, messages: Sequence[Message], schema: dict[str, Any] | None) -> int:
        """No server can count more tokens than this for a prompt, even if it writes the schema into it."""
        sent = json.dumps([list(messages), None if schema is None else strict(schema)], ensure_ascii=False)
        return len(sent.encode()) + OVERHEAD_TOKENS + 16 * len(messages)

    def _reserve(self, request: dict[str, Any]) -> str | None:
        most = self._most_cost(request)
        return None if most is None else self._ledger.reserve(most)

    def _most_cost(self, request: dict[str, Any]) -> float | None:
        tokens = self.most_tokens(request["messages"], request["schema"])
        return self.settings.cost(tokens, self.settings.max_tokens)

    def _check_cost(self, request: dict[str, Any], answer: Answer) -> None:
        """Say it where the server counted more than was reserved, and go no further where that passed the budget."""
        most = self._most_cost(request)
        if most is None or answer.cost is None or answer.cost <= most:
            return
        counted = (answer.prompt_tokens or 0) + (answer.completion_tokens or 0)
        can = self.most_tokens(request["messages"], request["schema"]) + self.settings.max_tokens
        said = f"the server counted {counted:,} tokens for a request that can hold at most {can:,}"
        check = "check --price-in, --price-out and the server at --base-url"
        if self._ledger.passed:
            error = BudgetReached(
                f"{said}, so that the budget of ${self.settings.budget:g} is passed; {check}. The answer is kept, and "
                "what the server says is charged",
                self._ledger,
            )
            self._fail(error)
            raise error
        with self._mutex:
            warned, self._warned = self._warned, True
        if not warned:
            console.print(
                f"warning: {said}, and costs ${answer.cost:.4f}; {check}", soft_wrap=True, markup=False
            )

    def spent(self) -> float:
        """USD that all runs with this cache cost so far, what was in flight when one was killed included."""
        return self._ledger.total

    def _settle(self, charge: str, cost: float | None) -> None:
        spent = self._ledger.settle(charge, cost)
        with self._mutex:
            self.totals.cost = (self.totals.cost or 0.0) + spent

    def _cost_of(self, reply: "Reply") -> float | None:
        if reply.prompt_tokens is None or reply.completion_tokens is None:
            return None
        return self.settings.cost(reply.prompt_tokens, reply.completion_tokens)

    def _answer(self, reply: "Reply", name: str, charge: str | None, cost: float | None) -> Answer:
        with self._mutex:
            self.totals.requests += 1
            self.totals.prompt_tokens += reply.prompt_tokens or 0
            self.totals.completion_tokens += reply.completion_tokens or 0
        return Answer(
            text=reply.text,
            finish_reason=reply.finish_reason,
            model=reply.model,
            prompt_tokens=reply.prompt_tokens,
            completion_tokens=reply.completion_tokens,
            request=name,
            cost=cost,
        )
