"""What one process asked and what that cost, for progress bars and the end of a command."""

from dataclasses import dataclass

BYTES_PER_TOKEN = 4
"""Of usual text, where a server does not count."""


@dataclass
class Totals:
    """Counts so far.

    Attributes:
        prompt_tokens, completion_tokens: as the server counts them; estimated where it does not.
        uncounted: answers for which it does not.
        cost: USD; None where prices are unknown.
    """

    requests: int = 0
    cached: int = 0
    retries: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    uncounted: int = 0
    cost: float | None = None

    @property
    def any(self) -> bool:
        """Whether anything was asked."""
        return self.requests + self.cached > 0

    def add(self, prompt: int | None, completion: int | None, sent_bytes: int, got_bytes: int) -> None:
        """An answer: tokens as counted, and the bytes to estimate them from where they are not."""
        self.requests += 1
        self.uncounted += prompt is None or completion is None
        self.prompt_tokens += -(-sent_bytes // BYTES_PER_TOKEN) if prompt is None else prompt
        self.completion_tokens += -(-got_bytes // BYTES_PER_TOKEN) if completion is None else completion

    def note(self) -> str:
        """For a progress bar."""
        money = "" if self.cost is None else f", ${self.cost:.4f}"
        return f"{self.requests} asked, {self.cached} from cache{money}"

    def bill(self, model: str, spent: float) -> str:
        """For the end of a command; ``spent``: USD by all runs with the cache."""
        retries = f", {self.retries} retries" if self.retries else ""
        said = (
            f"{self.requests} answers from {model}, {self.cached} from the cache{retries}: "
            f"{self.prompt_tokens:,} tokens sent, {self.completion_tokens:,} received"
        )
        if self.uncounted:
            said += (
                f" (estimated for {self.uncounted} answers, whose tokens the server did not count or counted as none"
                + ("" if self.cost is None else "; they are charged with the most they can have cost")
                + ")"
            )
        if self.cost is None:
            return f"{said}; the cost is not known (--price-in, --price-out)."
        return f"{said}; ${self.cost:.4f}, and ${spent:.4f} for all runs with this cache."
