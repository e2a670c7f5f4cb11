"""Settings, strictly, on pydantic: what is not known, not of the type, or out of range is an error.

A class of `Settings` is the schema: annotations say what is allowed, ``Field`` and `Rule` narrow them, `check` says
what two fields say together, and the docstring under a field is its help text. Nothing is guessed and nothing is
dropped; an error names the file and line, or the flag, the dotted field, what was given and what is allowed. Refused:
pydantic's own messages, which name neither, and its lax mode, in which ``"3"`` and ``true`` are numbers.
"""

import difflib
import os
import re
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    GetCoreSchemaHandler,
    Strict,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticCustomError, core_schema
from typing_extensions import Self

from curator.artifacts.conditions import laid_over, refusal
from curator.errors import CuratorError, UsageError

T = TypeVar("T")
S = TypeVar("S", bound="Settings")


@dataclass(frozen=True)
class Rule:
    """What a value must satisfy beyond its type, used as ``Annotated[type, Rule(...)]``.

    Attributes:
        says: the allowed values in words, for the error message.
        holds: whether a value of the right type is allowed.
    """

    says: str
    holds: Callable[[Any], bool]

    def __get_pydantic_core_schema__(
        self, kind: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return core_schema.no_info_after_validator_function(self._checked, handler(kind))

    def _checked(self, value: Any) -> Any:
        if not self.holds(value):
            raise PydanticCustomError("rule", "{given}", {"given": repr(value), "says": self.says})
        return value


@dataclass(frozen=True)
class Source:
    """Where values come from: a file (with its lines), or flags.

    Attributes:
        file: the YAML or JSON file; ``None`` for flags and for code.
        lines: 1-based line of each dotted field of the file.
    """

    file: Path | None = None
    lines: Mapping[str, int] = field(default_factory=dict)

    def error(self, place: str, text: str, named: Iterable[str] = ()) -> UsageError:
        """``named``: what a rule of several fields names; the line is that of the first that is there."""
        if self.file is None:
            return UsageError(f"{place + ': ' if place else ''}{text}")
        line = self._line(place, named)
        return UsageError(f"{self.file}{f':{line}' if line else ''}: {place + ': ' if place else ''}{text}")

    def _line(self, place: str, named: Iterable[str]) -> int | None:
        for name in named:
            inner = f"{place}.{name}".lstrip(".")
            item = f".{name}" if "-" in name else None  # of a list, by its name
            for there, line in self.lines.items():
                if there == inner or (item and there.endswith(item)):
                    return line
        return self.lines.get(place)

    def path(self, text: str | Path) -> Path:
        """A relative path in a file is relative to that file; in a flag, to the working directory."""
        path = Path(text).expanduser()
        return Path(os.path.normpath(self.file.parent / path)) if self.file else path


def source_of(info: ValidationInfo) -> Source:
    """Where the value that is validated comes from."""
    source: Source = (info.context or {}).get("source", Source())
    return source


def _given_path(value: Any, info: ValidationInfo) -> Any:
    if not (isinstance(value, str | Path) and str(value)):
        raise PydanticCustomError("path_type", "no path")
    return source_of(info).path(value)


GivenPath = Annotated[Path, BeforeValidator(_given_path)]
"""A path, which a file gives relative to itself."""
Many = Annotated[tuple[T, ...], Strict(False)]
"""Any number of something, also as a list."""


class Settings(BaseModel):
    """What can be set; immutable. As code gives them, values are held to the same rules as in a file.

    Raises:
        UsageError: a name that does not exist, a value that is not allowed, or an assignment.
    """

    FLAGS: ClassVar[tuple[str, ...]] = ()
    """Fields that have flags, in their order, where that is not all of them as they stand."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        populate_by_name=True,
        alias_generator=lambda name: name.rstrip("_"),  # a key that is a word of Python: ``from_``
    )

    def __init__(self, **values: Any):
        kind = type(self)
        if unknown := [name for name in values if name not in kind.model_fields and name not in keys(kind)]:
            raise UsageError(
                f"{unknown[0]}: unknown field of {kind.__name__}; {suggest(unknown[0], keys(kind))}"
            )
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise Source().error(*worst(error, kind)) from error

    # So that what lies within another is validated as a part of it, and its errors say where.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]

    def __setattr__(self, name: str, value: Any) -> None:
        if name in type(self).model_fields:
            raise UsageError(f"{name}: settings do not change; make others: settings.changed({name}=...)")
        raise UsageError(f"{name}: unknown field of {type(self).__name__}; {suggest(name, keys(type(self)))}")

    def check(self) -> None:
        """What several fields say together; raises ValueError, or any error a user can mend.

        That a field says nothing, or contradicts another, is said beside it: `Only`, `Not`.
        """

    def changed(self, **changes: Any) -> Self:
        """The same with other values, which are checked; what says nothing beside them is dropped."""
        return type(self)(**laid_over(type(self), self.given(), changes))

    def resolved(self, **found: Any) -> Self:
        """The same with what was found out; that is not what a user gave, and may stand beside anything."""
        return self.model_copy(update=found)

    def given(self) -> dict[str, Any]:
        """The fields that were given, as against defaults."""
        return {
            name: getattr(self, name) for name in type(self).model_fields if name in self.model_fields_set
        }

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values, under the names that a file has."""
        return self.model_dump(mode="json", by_alias=True)

    @model_validator(mode="before")
    @classmethod
    def _is_a_section(cls, data: Any) -> Any:
        if isinstance(data, cls):
            return data
        if not isinstance(data, Mapping):
            raise PydanticCustomError("section", "no section")
        for key in data:
            if key not in keys(cls) and key not in cls.model_fields:
                raise PydanticCustomError("unknown_key", "unknown", {"key": str(key)})
        return data

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if wrong := refusal(type(self), self.given()):
            raise ValueError(wrong)
        try:
            self.check()
        except CuratorError as error:
            raise ValueError(str(error)) from error
        return self


def keys(schema: type[BaseModel]) -> dict[str, str]:
    """Key in a file -> field."""
    return {info.alias or name: name for name, info in schema.model_fields.items()}


# -- from files and flags -----------------------------------------------------------------------------------


class _Loader(yaml.SafeLoader):
    """Safe YAML whose bare words mean what YAML 1.2 says (its core schema).

    PyYAML's are those of 1.1, in which ``5:2`` is 302, ``010`` is 8, ``on`` and ``no`` are true and false, ``1e-5`` is
    a text and ``2026-11-27`` no text.
    """

    def whole_number(self, node: yaml.ScalarNode) -> int:
        """Decimal, ``0o`` octal or ``0x`` hexadecimal."""
        text = str(self.construct_scalar(node))
        return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))


_Loader.yaml_implicit_resolvers = {}
for _name, _form, _first in (
    ("null", r"~|null|Null|NULL|", "~nN"),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
    ("merge", "<<", "<"),
):
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_name}",
        re.compile(rf"(?:{_form})\Z"),
        [*_first, *([""] if _name == "null" else [])],
    )
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.whole_number)


def yaml_value(text: str) -> Any:
    """What YAML says ``text`` is, read as a file is.

    Raises:
        yaml.YAMLError: it is none.
    """
    return yaml.load(text, _Loader)


def load_strict(path: Path, schema: type[S]) -> S:
    """Read the YAML file ``path`` as ``schema``.

    Raises:
        UsageError: the file is missing, not YAML, or says what ``schema`` does not allow.
    """
    if not path.is_file():
        raise UsageError(f"{path}: no such file")
    lines: dict[str, int] = {}
    try:
        loader = _Loader(path.read_text(encoding="utf-8"))
        node = loader.get_single_node()
        if node is not None:
            _note_lines(node, "", Source(path, lines), lines)
        data = None if node is None else loader.construct_document(node)
    except RecursionError as error:
        raise UsageError(f"{path}: an anchor contains itself") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f":{mark.line + 1}" if mark else ""
        raise UsageError(f"{path}{where}: not valid YAML ({getattr(error, 'problem', error)})") from error
    return convert({} if data is None else data, schema, Source(path, lines))


def _note_lines(node: yaml.Node, place: str, source: Source, lines: dict[str, int]) -> None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inner = f"{place}.{key.value}" if place else str(key.value)
            if inner in lines:
                raise source.error(inner, f"given twice, in line {key.start_mark.line + 1} again; keep one")
            lines[inner] = key.start_mark.line + 1
            _note_lines(value, inner, source, lines)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            lines[f"{place}[{index}]"] = value.start_mark.line + 1
            _note_lines(value, f"{place}[{index}]", source, lines)
            for key, name in value.value if isinstance(value, yaml.MappingNode) else ():
                if key.value == "name":  # rules call an item so
                    own = {
                        there: line for there, line in lines.items() if there.startswith(f"{place}[{index}]")
                    }
                    lines |= {
                        there.replace(f"[{index}]", f".{name.value}", 1): line for there, line in own.items()
                    }


def convert(data: Any, schema: type[S], source: Source) -> S:
    """What was read from ``source`` as ``schema``.

    Raises:
        UsageError: it says what ``schema`` does not allow.
    """
    try:
        return schema.model_validate(data, context={"source": source})
    except ValidationError as error:
        raise source.error(*worst(error, schema)) from error


# -- errors in words ----------------------------------------------------------------------------------------


def suggest(given: str, known: Iterable[str]) -> str:
    """``did you mean 'x'? Known: …`` for an unknown name."""
    names = sorted(known)
    close = difflib.get_close_matches(given, names, n=1)
    hint = f"did you mean '{close[0]}'? " if close else ""
    return f"{hint}known: {', '.join(names)}"


def worst(error: ValidationError, schema: Any) -> tuple[str, str, list[str]]:
    """(dotted field, what is wrong) of the first error; of a rule of several fields also its words."""
    details = error.errors(include_url=False)[0]
    kind, place, parents = schema, "", []
    for step in details["loc"]:
        if str(step).startswith("<"):  # the member of a union
            continue
        parents.append((place, kind))
        if isinstance(step, int):
            kind, place = _item_of(kind, step), f"{place}[{step}]"
        else:
            section = section_of(kind)
            known = {**keys(section), **{name: name for name in section.model_fields}}
            kind = annotation_of(section.model_fields[known[step]])
            place = f"{place}.{step}" if place else step
    place, text = _said(details, place, kind, parents)
    return place, text, re.findall(r"[\w.-]*\w", text) if details["type"] == "value_error" else []


def _said(details: ErrorDetails, place: str, kind: Any, parents: list[tuple[str, Any]]) -> tuple[str, str]:
    problem, given, context = details["type"], details["input"], details.get("ctx", {})
    if problem == "value_error":
        return place, str(context["error"])
    if problem == "unknown_key":
        inner = f"{place}.{context['key']}" if place else context["key"]
        return inner, f"unknown key; {suggest(context['key'], keys(section_of(kind)))}"
    if problem == "section":
        return place, f"expected a section with keys of: {', '.join(keys(section_of(kind)))}; not {given!r}"
    if problem == "missing":
        above, whole = parents[-1]
        last = details["loc"][-1]
        if isinstance(last, int):  # a list that is too short
            return above, f"expected {describe(whole)}, not {given!r}"
        return above, f"the key '{last}' is missing; expected {describe(kind)}"
    if problem == "rule":
        return place, f"{context['given']} is not allowed; expected {context['says']}"
    if problem == "literal_error":
        choices = get_args(next(iter(members(kind))))
        if type(given) in {type(choice) for choice in choices}:
            return place, f"unknown value '{given}'; {suggest(str(given), map(str, choices))}"
    if problem.startswith(("greater_than", "less_than", "finite_number")):
        given = float(given) if members(kind)[0] is float else given
        return place, f"{given!r} is not allowed; expected {describe(kind)}"
    return place, f"expected {describe(kind)}, not {given!r}"


def annotation_of(info: FieldInfo) -> Any:
    """The annotation of a field, whole: pydantic keeps what narrows it apart."""
    return Annotated[(info.annotation, *info.metadata)] if info.metadata else info.annotation


def members(kind: Any) -> list[Any]:
    """The types that a value may have, without None and what narrows them."""
    if get_origin(kind) is Annotated:
        return members(get_args(kind)[0])
    if get_origin(kind) in (Union, types.UnionType):
        return [one for member in get_args(kind) if member is not types.NoneType for one in members(member)]
    return [kind]


def section_of(kind: Any) -> Any:
    return next(
        member for member in members(kind) if isinstance(member, type) and issubclass(member, BaseModel)
    )


def _item_of(kind: Any, index: int) -> Any:
    items = get_args(next(member for member in members(kind) if get_origin(member) is tuple))
    return items[0] if items[-1] is Ellipsis else items[min(index, len(items) - 1)]


WORDS: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    str: "text",
    bool: "true or false",
    Path: "a path",
}


def describe(kind: Any) -> str:
    """An annotation in words."""
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated:
        for rule in args[1:]:
            if isinstance(rule, Rule):
                return rule.says
        words = {"gt": "above {}", "ge": "of at least {}", "lt": "below {}", "le": "at most {}"}
        bounds = " and ".join(words[name].format(bound) for name, bound in _bounds(args[1:]).items())
        return f"{describe(args[0])} {bounds}".rstrip()
    if origin in (Union, types.UnionType):
        return " or ".join(describe(member) for member in args if member is not types.NoneType)
    if origin is Literal:
        return f"one of {', '.join(map(str, args))}"
    if origin is tuple:
        if args[-1] is not Ellipsis:
            return f"[{', '.join(describe(member) for member in args)}]"
        return f"a list of: {describe(args[0])}"
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return f"{{{', '.join(keys(kind))}}}"
    return WORDS.get(kind, str(kind))


def limits(kind: Any) -> dict[str, float]:
    """The bounds of a number: some of gt, ge, lt and le."""
    inner, metadata = get_args(kind), ()
    if get_origin(kind) is Annotated:
        inner, metadata = inner[:1], inner[1:]
    elif get_origin(kind) not in (Union, types.UnionType):
        inner = ()
    return {name: bound for one in inner for name, bound in limits(one).items()} | _bounds(metadata)


def _bounds(metadata: Iterable[Any]) -> dict[str, float]:
    limits = [limit for one in metadata for limit in getattr(one, "metadata", (one,))]
    names = ("gt", "ge", "lt", "le")
    return {name: getattr(limit, name) for limit in limits for name in names if hasattr(limit, name)}
