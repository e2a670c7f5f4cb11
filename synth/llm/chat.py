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
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curator.errors import CuratorError
from curator.progress import remark
from synth.llm.cache import TOO_LONG, Answer, Cache, name_of
from synth.llm.form import MODES, Form
from synth.llm.ledger import BilledError, BudgetReached, Ledger
from synth.llm.schemas import strict_schema
from synth.llm.settings import ChatSettings
from synth.llm.totals import Totals

if TYPE_CHECKING:
    from synth.llm.wire import Refused, Reply, Wire

Message = dict[str, str]
FIRST_WAIT_S = 1.0
"""Before the first retry; doubled for each, with jitter."""
LONGEST_WAIT_S = 120.0
"""Between two attempts, whatever the server asks for."""
WORTH_TELLING_S = 2.0
"""From so many on a wait is told."""
OVERHEAD_TOKENS = 256
"""What a server may wrap around a conversation, with 16 more for every message."""


class ChatFailed(BilledError):
    """A request got no answer."""


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
        self._failure: Exception | None = None
        self._told: set[str] = set()
        self._quiet_until = 0.0
        self._form = Form(mode=settings.json_mode if settings.json_mode != "auto" else MODES[0])
        self._wire: Wire | None = None

    def __enter__(self) -> "Chat":
        return self

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        """Remarks what was asked and what it cost, where the error does not say so itself."""
        self.close()
        if self.totals.any and not isinstance(error, BilledError):
            remark(self.bill())

    def close(self) -> None:
        if self._wire is not None:
            self._wire.close()
            self._wire = None

    def stop(self) -> None:
        """Begin no further attempt; what is under way may still be answered, and what is cached is still given."""
        self._stopped.set()

    def bill(self) -> str:
        """What this process asked and what it cost, for the end of a command."""
        return self.totals.bill(self.settings.model, self.spent() if self.settings.prices else 0.0)

    def cached(self, messages: Sequence[Message], schema: dict[str, Any] | None) -> Answer | None:
        """The answer that lies on disk, without asking."""
        return self._cache.get(name_of(self._request(messages, schema)))

    def ask(
        self,
        messages: Sequence[Message],
        schema: dict[str, Any] | None,
        schema_name: str,
        longer: bool = False,
    ) -> Answer:
        """The answer to ``messages``, from disk where it was given before.

        Args:
            schema: of the wanted JSON; only asked for, the answer must be checked. None: text is wanted.
            longer: they go on from what was answered, so that being too long is a matter of this text alone.

        Raises:
            BudgetReached: it might pass the budget, or did, because the server counted more than can be.
            ChatFailed: no answer after all retries, or a refusal that concerns more than this text.
            CuratorError, OSError: the disk could not keep an answer, or did not. All of these end this `Chat`:
                whatever is asked later and not cached raises the same.
        """
        request = self._request(messages, schema)
        name = name_of(request)
        with self._mutex:
            asking = self._asking.setdefault(name, threading.Lock())
        with asking:
            answer = self._cache.get(name)
            if answer is None:
                try:
                    answer = self._ask(request, name, schema_name, longer)
                    self._cache.put(request, answer)
                    self._check_cost(request, answer)
                except (CuratorError, OSError) as error:
                    self._fail(error)
                    raise
            else:
                with self._mutex:
                    self.totals.cached += 1
        return answer

    def _fail(self, error: Exception) -> None:
        self._failure = self._failure or error
        self.stop()

    def _failed(self, text: str) -> ChatFailed:
        return ChatFailed(text, None if self.settings.prices is None else self._ledger)

    def _request(self, messages: Sequence[Message], schema: dict[str, Any] | None) -> dict[str, Any]:
        return {**self.settings.identity(), "messages": list(messages), "schema": schema}

    def _ask(self, request: dict[str, Any], name: str, schema_name: str, longer: bool) -> Answer:
        from synth.llm.wire import Failed, Refused, Wire

        with self._mutex:
            if self._wire is None:
                self._wire = Wire(self.settings)
        failures, wait, tried = 0, 0.0, set[Form]()
        extra = {"extra_body": self.settings.extra_body()} if self.settings.extra_body() else {}
        while True:
            if self._stopped.wait(wait):
                if self._failure is not None:
                    raise copy.copy(self._failure)
                raise self._failed("interrupted; what was answered is kept, the same command goes on")
            form = self._form
            parameters = {**form.parameters(request, schema_name), **extra}
            self._cache.require_room(self.settings.max_tokens, self.settings.concurrency)
            charge = self._reserve(request)
            cost: float | None = 0.0  # of an attempt that brings nothing; None: all that was reserved
            try:
                reply = self._wire.send(parameters)
                cost = self._cost_of(reply)
                return self._answer(reply, request, name, cost, form)
            except Failed as error:
                cost = None if error.billed else 0.0
                failures += 1
                if failures > self.settings.max_retries:
                    raise self._failed(
                        f"{self.settings.model} at {self.settings.base_url} gave no answer in {failures} attempts; "
                        f"the last: {error}. What was answered is kept; the same command goes on"
                    ) from None
                wait = self._wait(failures, error.wait_s)
                self._tell_wait(wait, error)
                with self._mutex:
                    self.totals.retries += 1
            except Refused as error:
                if error.filtered or (longer and error.too_long):
                    return self._not_taken(name, "content_filter" if error.filtered else TOO_LONG)
                if not self._give_way(error, form, tried):
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

    def _not_taken(self, name: str, reason: str) -> Answer:
        """For a text that the server would not take."""
        cost = None if self.settings.prices is None else 0.0
        return Answer(
            text="",
            finish_reason=reason,
            model="",
            prompt_tokens=0,
            completion_tokens=0,
            request=name,
            cost=cost,
        )

    def _give_way(self, error: "Refused", form: Form, tried: set[Form]) -> bool:
        """Whether the refusal of ``form`` is mended by asking in another way, which is remembered."""
        tried.add(form)
        other = form.instead(error, any_mode=self.settings.json_mode == "auto")
        if other is None:
            return False
        with self._mutex:
            if self._form == form:  # another thread may have been first
                self._form = other
            now = self._form
        if form.temperature and not now.temperature:
            self._tell(
                "temperature",
                f"{self.settings.model} takes no temperature; asked without (--temperature none)",
            )
        return now not in tried

    def _tell(self, what: str, text: str) -> None:
        """A warning, once for each ``what``."""
        with self._mutex:
            told = what in self._told
            self._told.add(what)
        if not told:
            remark(f"warning: {text}")

    def _wait(self, failures: int, asked_for: float | None) -> float:
        """Seconds until the next attempt."""
        if asked_for is not None:
            return min(asked_for, LONGEST_WAIT_S)
        return min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** (failures - 1)) * random.uniform(0.5, 1.0)

    def _tell_wait(self, seconds: float, error: Exception) -> None:
        """Say what is waited for, where it takes long: one line, however many requests wait at once."""
        now = time.monotonic()
        with self._mutex:
            tell = seconds >= WORTH_TELLING_S and now >= self._quiet_until
            if tell:
                self._quiet_until = now + seconds
        if tell:
            text = (
                f"{self.settings.model}: {error}; waiting {seconds:.0f} s (Ctrl-C ends it; answers are kept)"
            )
            remark(text)

    def most_tokens(self, messages: Sequence[Message], schema: dict[str, Any] | None) -> int:
        """No server can count more tokens than this for a prompt, even if it writes the schema into it."""
        sent = json.dumps(
            [list(messages), None if schema is None else strict_schema(schema)], ensure_ascii=False
        )
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
            raise BudgetReached(
                f"{said}, so that the budget of ${self.settings.budget:g} is passed; {check}. The answer is kept, and "
                "what the server says is charged",
                self._ledger,
            )
        self._tell("cost", f"{said}, and costs ${answer.cost:.4f}; {check}")

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

    def _answer(
        self, reply: "Reply", request: dict[str, Any], name: str, cost: float | None, form: Form
    ) -> Answer:
        sent = sum(len(message["content"].encode()) for message in request["messages"])
        with self._mutex:
            self.totals.add(reply.prompt_tokens, reply.completion_tokens, sent, len(reply.text.encode()))
        if self.totals.uncounted and self.settings.prices is not None:
            self._tell(
                "usage",
                f"{self.settings.model} does not count tokens, or counts none: such an answer is charged with the most "
                "that it can have cost",
            )
        return Answer(
            text=reply.text,
            finish_reason=reply.finish_reason,
            model=reply.model,
            prompt_tokens=reply.prompt_tokens,
            completion_tokens=reply.completion_tokens,
            request=name,
            cost=cost,
            without_temperature=not form.temperature and request["temperature"] is not None,
        )
