"""Texts of one generator as rows.

packed: text, separator, text, separator, … until the row is full; the last text is cut. padded: one text, cut or
filled up. Each text is asked for at the length that is missing in its row, divided by what the generator is known to
write per token asked for when it writes little, and a little more: most rows are then one text. What is asked
depends on the row's own earlier texts alone, so that a row is the same whatever is made beside it.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
from tokenizers import Tokenizer

from synth.generate.generators import Generator
from synth.render.settings import Filling, token_dtype
from synth.sandbox import Failure, Sandbox

MARGIN = 1.05
"""So much more than what is missing is asked for."""
LEAST_ASKED = 16
"""Fewer tokens are never asked for."""
MOST_EMPTY = 3
"""A row whose generator writes nothing so many times is given up."""
TOLERATED = 0.01
"""Share of its candidates at which a generator may fail; three in all are never too few to tell."""
BATCH = 32
"""Texts tokenised at once, while the generator writes the next ones."""


def fails_too_often(failed: int, tried: int) -> bool:
    """Whether a generator is not fit for use."""
    return failed > max(2, TOLERATED * tried)


@dataclass(frozen=True)
class Source:
    """A generator as text, for worker processes."""

    pattern_id: str
    source: str
    function: str
    length_low: float

    @staticmethod
    def of(generator: Generator) -> "Source":
        return Source(generator.pattern_id, generator.source, generator.function, generator.length_low)


@dataclass
class Row:
    """A candidate's row, being filled.

    Attributes:
        texts: how many texts it holds; padding: how many pad tokens.
        failure: why there is no row.
    """

    candidate: int
    tokens: np.ndarray
    length: int = 0
    texts: int = 0
    padding: int = 0
    empty: int = 0
    failure: str | None = None
    done: bool = False


@dataclass(frozen=True)
class Filled:
    """Rows of candidates, in order; ``stopped`` says why the generator was given up before the end."""

    rows: list[Row]
    stopped: str | None = None

    @property
    def made(self) -> list[Row]:
        return [row for row in self.rows if row.done]

    @property
    def failed(self) -> list[Row]:
        return [row for row in self.rows if row.failure is not None]


class Filler:
    """Makes rows of any generator with one tokenizer and one filling."""

    def __init__(self, filling: Filling, tokenizer: Tokenizer, sandbox: Sandbox):
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self.filling = filling
        self.dtype = token_dtype(tokenizer)
        self.sandbox = sandbox
        self._encode = getattr(tokenizer, "encode_batch_fast", tokenizer.encode_batch)

    def fill(self, source: Source, candidates: Sequence[int]) -> Filled:
        """A row for each candidate; gives the generator up once it fails too often."""
        rows = [Row(k, np.empty(self.filling.width, self.dtype)) for k in candidates]
        pending, part, failed = rows, 0, 0
        with _Session(self.sandbox, source) as session:
            while pending:
                calls = [(self._seed(source, row, part), self._asked(source, row)) for row in pending]
                answers = session.answers(calls)
                for start in range(0, len(pending), BATCH):
                    some = pending[start : start + BATCH]
                    self._extend(some, [answer for _, answer in zip(some, answers)])
                    failed += sum(row.failure is not None for row in some)
                    if fails_too_often(failed, len(rows)):
                        reason = next(row.failure for row in rows if row.failure is not None)
                        return Filled(rows, reason)
                pending = [row for row in pending if not row.done and row.failure is None]
                part += 1
        return Filled(rows)

    def _seed(self, source: Source, row: Row, part: int) -> str:
        return f"{self.filling.seed}/{source.pattern_id}/{row.candidate}/{part}"

    def _asked(self, source: Source, row: Row) -> int:
        missing = self.filling.width - row.length
        return max(LEAST_ASKED, math.ceil(missing * MARGIN / min(10.0, max(0.1, source.length_low))))

    def _extend(self, rows: list[Row], answers: list[str | Failure]) -> None:
        texts = []
        for row, answer in zip(rows, answers):
            if isinstance(answer, Failure):
                row.failure = f"{answer.kind}: {answer}"
            texts.append("" if isinstance(answer, Failure) else answer)
        for row, encoding in zip(rows, self._encode(texts, add_special_tokens=False)):
            if row.failure is None:
                self._add(row, encoding.ids)

    def _add(self, row: Row, ids: list[int]) -> None:
        width, filling = self.filling.width, self.filling
        if not ids:
            row.empty += 1
            if row.empty == MOST_EMPTY or filling.fill == "padded":
                row.failure = "empty: the text holds no token"
            return
        row.texts += 1
        taken = ids[: width - row.length]
        row.tokens[row.length : row.length + len(taken)] = taken
        row.length += len(taken)
        if filling.fill == "padded":
            row.tokens[row.length :] = filling.pad
            row.padding = width - row.length
        elif row.length < width and filling.separator is not None:
            row.tokens[row.length] = filling.separator
            row.length += 1
        row.done = row.length == width or filling.fill == "padded"


class _Session:
    """The generator's process, started again where it broke down over one call."""

    def __init__(self, sandbox: Sandbox, source: Source):
        self.sandbox = sandbox
        self.source = source
        self._stack = ExitStack()

    def __enter__(self) -> "_Session":
        self._load()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _load(self) -> None:
        self._stack.close()
        self._generator = self._stack.enter_context(
            self.sandbox.load(self.source.source, self.source.function)
        )

    def answers(self, calls: Sequence[tuple[str, int]]) -> Iterator[str | Failure]:
        """One per call, in order."""
        done = 0
        while done < len(calls):
            try:
                for answer in self._generator.attempts(calls[done:]):
                    done += 1
                    yield answer
            except Failure as failure:
                done += 1
                self._load()
                yield failure
