"""How a request is put into parameters, and how else where a server refuses one of them.

Structured output where the server has it, else JSON mode, else plain text; a temperature unless the model takes none;
the limit by its older name unless the server wants the newer one. What is asked stays the same, and so does its name in
the cache. The limit itself is never left out: without one no budget would hold.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from synth.llm.schemas import strict_schema

if TYPE_CHECKING:
    from synth.llm.outcomes import Refused

MODES = ("schema", "object", "text")
LIMITS = ("max_tokens", "max_completion_tokens")


@dataclass(frozen=True, kw_only=True)
class Form:
    """One way to put a request.

    Attributes:
        mode: of `MODES`; limit: its name, of `LIMITS`; temperature: whether it is sent.
    """

    mode: str = MODES[0]
    limit: str = LIMITS[0]
    temperature: bool = True

    def parameters(self, request: dict[str, Any], schema_name: str) -> dict[str, Any]:
        """Of the chat API, for what `Chat` asks."""
        made: dict[str, Any] = {
            "model": request["model"],
            "messages": request["messages"],
            self.limit: request["max_tokens"],
        }
        if self.temperature and request["temperature"] is not None:
            made["temperature"] = request["temperature"]
        if request["schema"] is not None and self.mode == "object":
            made["response_format"] = {"type": "json_object"}
        elif request["schema"] is not None and self.mode == "schema":
            wanted = {"name": schema_name, "strict": True, "schema": strict_schema(request["schema"])}
            made["response_format"] = {"type": "json_schema", "json_schema": wanted}
        return made

    def instead(self, refused: "Refused", any_mode: bool) -> "Form | None":
        """The way to try where a server has refused this one; None where that would not mend it.

        Args:
            any_mode: the user leaves the mode to us.
        """
        if refused.about_format and any_mode and self.mode != MODES[-1]:
            return replace(self, mode=MODES[MODES.index(self.mode) + 1])
        if refused.about_temperature and self.temperature:
            return replace(self, temperature=False)
        if refused.about_limit:
            return replace(self, limit=LIMITS[1 - LIMITS.index(self.limit)])
        return None
