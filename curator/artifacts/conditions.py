"""Fields that say something only beside others. Declared beside the field, refused where they were given for nothing.

    alpha: Annotated[NotNegative, Only("preconditioner", "ekfac", "kfac")] = 0.1
    percent: Annotated[Percent | None, Not("count")] = None

What was given is refused, never a default. Where settings are laid over others (flags over a file, a section over what
the experiment says for all stages), those below give way instead: `laid_over`. Refused: a check per class, in which the
same rule was written for some fields and forgotten for others.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel


@dataclass(frozen=True, init=False)
class Only:
    """The field is heeded only where the field ``field`` has one of ``values``; without values, where it is given.

    Of a list, where it holds one of them; an empty one stands for all. ``otherwise``: or where that holds.
    """

    field: str
    values: tuple[Any, ...]
    otherwise: "Only | None"

    def __init__(self, field: str, *values: Any, otherwise: "Only | None" = None):
        object.__setattr__(self, "field", field)
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "otherwise", otherwise)

    def holds_in(self, kind: type[BaseModel], given: Mapping[str, Any]) -> bool:
        """Whether a field with this mark is heeded beside the fields ``given`` of ``kind``."""
        return self.holds(_value(kind, given, self.field)) or (
            self.otherwise is not None and self.otherwise.holds_in(kind, given)
        )

    def holds(self, value: Any) -> bool:
        """Whether a field with this mark is heeded beside ``value``."""
        if not self.values:
            return is_said(value)
        several = isinstance(value, tuple | list)
        return not value or any(one in self.values for one in value) if several else value in self.values


@dataclass(frozen=True, init=False)
class Not:
    """The field cannot stand beside any of ``fields``; ``says``: what decides instead of these, for the error."""

    fields: tuple[str, ...]
    says: str

    def __init__(self, *fields: str, says: str = ""):
        object.__setattr__(self, "fields", fields)
        object.__setattr__(self, "says", says)


def marks(kind: type[BaseModel]) -> Iterator[tuple[str, Only | Not]]:
    """The conditions of a class, with the field that each is of."""
    for name, info in kind.model_fields.items():
        yield from ((name, one) for one in info.metadata if isinstance(one, Only | Not))


def is_said(value: Any) -> bool:
    """Whether a value that was given says anything: null, an empty list and an empty section do not."""
    if isinstance(value, BaseModel):
        return bool(value.model_fields_set)
    return value is not None and (bool(value) or not isinstance(value, tuple | list | Mapping))


def refusal(kind: type[BaseModel], given: Mapping[str, Any]) -> str:
    """What is wrong with fields of ``kind`` that were given beside each other; empty where nothing is."""
    idle: dict[Only, list[str]] = {}
    for name, mark in marks(kind):
        if not is_said(given.get(name)):
            continue
        if isinstance(mark, Not):
            others = [one for one in kind.model_fields if one in mark.fields and is_said(given.get(one))]
            if others and mark.says:
                return f"{_listed(others)} cannot stand beside '{name}': {mark.says}"
            if others:
                pair = [one for one in kind.model_fields if one in (name, others[0])]
                return f"{_listed(pair, ' and ')} exclude each other; give one"
        elif not mark.holds_in(kind, given):
            idle.setdefault(mark, []).append(name)
    for mark, names in idle.items():
        goes, it = ("says", "it") if len(names) == 1 else ("say", "them")
        said = f"{_listed(names)} {goes} nothing"
        if not mark.values:
            return f"{said} without '{mark.field}': leave {it} out, or give that too"
        value = _value(kind, given, mark.field)
        value = ", ".join(value) if isinstance(value, tuple) else value
        of = " or ".join(map(str, mark.values))
        if mark.otherwise is not None:
            of += f", or '{mark.otherwise.field}' {' or '.join(map(str, mark.otherwise.values))}"
        return f"{said} beside '{mark.field}' {value}, only beside {of}: leave {it} out, or give another of these"
    return ""


def _listed(names: list[str], joined: str = ", ") -> str:
    return joined.join(f"'{name}'" for name in names)


def laid_over(kind: type[BaseModel], below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """``above``, and of ``below`` what says something beside it; what contradicts itself within ``above`` stays."""
    merged = {**below, **above}
    for name, mark in marks(kind):
        if isinstance(mark, Only):
            clashes: list[list[str]] = [[]] if not mark.holds_in(kind, merged) else []
        else:
            clashes = [[one] for one in mark.fields if is_said(merged.get(one))]
        for others in clashes:
            gone = [one for one in (*others, name) if one in merged and one not in above]
            if is_said(merged.get(name)) and gone:
                del merged[gone[0]]
    return merged


def _value(kind: type[BaseModel], given: Mapping[str, Any], name: str) -> Any:
    return given[name] if name in given else kind.model_fields[name].get_default()
