"""What an answer says, strictly: one JSON object or one fenced block, and nothing searched for in prose.

One block of thoughts may stand before it, since local servers leave those of some models in the text.

Refused besides what is no JSON: keys given twice, NaN and infinities, nesting beyond `DEEPEST`, and half characters
(lone surrogates), none of which survive being written down. A whole number written as 2.0 is 2.
"""

import json
import re
from typing import Any

DEEPEST = 40
_FENCED = re.compile(r"\s*```([A-Za-z0-9_+-]*)[ \t]*\n(.*?)\n?```\s*", re.DOTALL)


class InvalidAnswer(Exception):
    """The answer is not of the form that was asked for; the text is for its author."""


def without_thoughts(text: str) -> str:
    """``text`` without the one ``<think>…</think>`` it begins with, if it does."""
    end = text.find("</think>") if text.startswith("<think>") else -1
    return text if end < 0 else text[end + len("</think>") :]


def fenced(text: str) -> tuple[str, str] | None:
    """(language, content) where ``text`` is one fenced block and nothing else."""
    match = _FENCED.fullmatch(text)
    return None if match is None or "\n```" in match[2] else (match[1].lower(), match[2])


def json_object(text: str) -> dict[str, Any]:
    """The JSON object that ``text`` is, bare or in one fenced block, perhaps behind one block of thoughts.

    Raises:
        InvalidAnswer: it is something else.
    """
    text = without_thoughts(text)
    block = fenced(text)
    if block is not None and block[0] in ("", "json"):
        text = block[1]
    try:
        value = json.loads(text, object_pairs_hook=_object, parse_constant=_constant, parse_float=_number)
    except RecursionError:
        raise InvalidAnswer("the JSON is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise InvalidAnswer(
            f"the answer is not one JSON object ({error.msg}, line {error.lineno} column {error.colno}); answer "
            "with the JSON alone"
        ) from None
    except ValueError:  # of int(); its text is for programmers
        raise InvalidAnswer("a number in the JSON has too many digits") from None
    if not isinstance(value, dict):
        raise InvalidAnswer(f"the answer is a JSON {type(value).__name__}, not an object")
    _check(value)
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise InvalidAnswer(f"the key {twice[:60]!r} is there twice in one object")
    return value


def _constant(name: str) -> Any:
    raise InvalidAnswer(f"{name} is not JSON")


def _number(text: str) -> float | int:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise InvalidAnswer(f"the number {text[:20]} is too large")
    return int(value) if value.is_integer() else value


def _check(value: Any) -> None:
    """Depth and characters, without recursion."""
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > DEEPEST:
            raise InvalidAnswer(f"the JSON is nested more than {DEEPEST} deep")
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                below += [*item.keys(), *item.values()]
            elif isinstance(item, list):
                below += item
            elif isinstance(item, str) and any("\ud800" <= c <= "\udfff" for c in item):
                raise InvalidAnswer(
                    f"the string {ascii(item)[:60]} holds half a character (a lone surrogate)"
                )
        level = below
