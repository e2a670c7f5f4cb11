"""From YAML to dataclasses, strictly: what is not known, not of the type, or out of range is an error.

The dataclasses are the schema: their annotations say what is allowed, ``Annotated[int, Rule(...)]`` narrows a
type, and a ``ValueError`` from ``__post_init__`` reports what two fields say together. Nothing is guessed and
nothing is dropped; an error names the file, the line, the dotted field, what was given and what is allowed.
"""

import difflib
import os
import re
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

from curator.errors import CuratorError, UsageError

T = TypeVar("T")


@dataclass(frozen=True)
class Rule:
    """What a value must satisfy beyond its type, used as ``Annotated[type, Rule(...)]``.

    Attributes:
        says: the allowed values in words, for the error message.
        holds: whether a value of the right type is allowed.
    """

    says: str
    holds: Callable[[Any], bool]


@dataclass(frozen=True)
class Source:
    """Where values come from: an experiment file (with its lines), or flags.

    Attributes:
        file: the YAML file; ``None`` for flags.
        lines: 1-based line of each dotted field of the file.
    """

    file: Path | None = None
    lines: Mapping[str, int] = field(default_factory=dict)

    def error(self, place: str, text: str) -> UsageError:
        if self.file is None:
            return UsageError(f"--{place.replace('_', '-')}: {text}")
        line = f":{self.lines[place]}" if place in self.lines else ""
        return UsageError(f"{self.file}{line}: {place + ': ' if place else ''}{text}")

    def path(self, text: str | Path) -> Path:
        """A relative path in a file is relative to that file; in a flag, to the working directory."""
        path = Path(text).expanduser()
        return Path(os.path.normpath(self.file.parent / path)) if self.file else path


class _Loader(yaml.SafeLoader):
    """Safe YAML in which ``1e-5`` is a number, as in YAML 1.2 (PyYAML alone wants ``1.0e-5``)."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def load_strict(path: Path, schema: type[T]) -> T:
    """Read the YAML file ``path`` as an instance of the dataclass ``schema``.

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
    instance: T = convert({} if data is None else data, schema, "", Source(path, lines))
    return instance


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


def merge_flags(section: T, flags: Mapping[str, Any]) -> T:
    """``section`` with every flag that is not ``None`` in place of its field, checked as the file is."""
    given = {name: value for name, value in flags.items() if value is not None}
    hints = get_type_hints(type(section), include_extras=True)
    known = {f.name for f in fields(section)}  # type: ignore[arg-type]
    for name in given.keys() - known:
        raise Source().error(name, f"unknown here; {suggest(name, known)}")
    values = {name: convert(value, hints[name], name, Source()) for name, value in given.items()}
    try:
        merged: T = replace(section, **values)  # type: ignore[type-var]
    except (ValueError, CuratorError) as error:
        raise UsageError(f"{', '.join('--' + name.replace('_', '-') for name in given)}: {error}") from error
    return merged


def suggest(given: str, known: Iterable[str]) -> str:
    """``did you mean 'x'? Known: …`` for an unknown name."""
    names = sorted(known)
    close = difflib.get_close_matches(given, names, n=1)
    hint = f"did you mean '{close[0]}'? " if close else ""
    return f"{hint}known: {', '.join(names)}"


def convert(value: Any, kind: Any, place: str, source: Source, expected: str = "") -> Any:
    """``value`` as the annotation ``kind`` wants it; ``place`` is its dotted field.

    ``expected`` replaces the words for ``kind`` in the error.

    Raises:
        UsageError: it is something else.
    """
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated:
        value = convert(value, args[0], place, source, expected or describe(kind))
        for rule in args[1:]:
            if isinstance(rule, Rule) and not rule.holds(value):
                raise source.error(place, f"{value!r} is not allowed; expected {rule.says}")
        return value
    if is_dataclass(kind):
        return _build(value, kind, place, source)
    if origin in (Union, types.UnionType):
        return _choose(value, kind, place, source)
    if origin is Literal and type(value) in {type(choice) for choice in args}:
        if value not in args:
            raise source.error(place, f"unknown value '{value}'; {suggest(str(value), map(str, args))}")
        return value
    if origin in (tuple, list) and isinstance(value, list | tuple):
        if origin is tuple and args[-1] is not Ellipsis:
            if len(value) == len(args):
                pairs = enumerate(zip(value, args))
                return tuple(convert(v, a, f"{place}[{i}]", source) for i, (v, a) in pairs)
        else:
            return origin(convert(v, args[0], f"{place}[{i}]", source) for i, v in enumerate(value))
    if kind is Path and isinstance(value, str | Path) and str(value):
        return source.path(value)
    if kind is float and type(value) in (int, float):
        return float(value)
    if kind in (int, str, bool) and type(value) is kind:
        return value
    raise source.error(place, f"expected {expected or describe(kind)}, not {value!r}")


def _choose(value: Any, kind: Any, place: str, source: Source) -> Any:
    if value is None and types.NoneType in get_args(kind):
        return None
    members = [member for member in get_args(kind) if member is not types.NoneType]
    if isinstance(value, Mapping):  # its own errors say more than that no member fits
        members = [member for member in members if is_dataclass(member)] or members
    if len(members) == 1:
        return convert(value, members[0], place, source)
    for member in members:
        try:
            return convert(value, member, place, source)
        except UsageError:
            continue
    raise source.error(place, f"expected {describe(kind)}, not {value!r}")


def _build(value: Any, schema: Any, place: str, source: Source) -> Any:
    known: dict[str, Field[Any]] = {f.name.rstrip("_"): f for f in fields(schema) if f.init}
    if not isinstance(value, Mapping):
        raise source.error(place, f"expected a section with keys of: {', '.join(known)}; not {value!r}")
    hints = get_type_hints(schema, include_extras=True)
    values = {}
    for key, item in value.items():
        inner = f"{place}.{key}" if place else str(key)
        if key not in known:
            raise source.error(inner, f"unknown key; {suggest(str(key), known)}")
        name = known[key].name
        values[name] = convert(item, hints[name], inner, source)
    for key, f in known.items():
        if f.name not in values and f.default is MISSING and f.default_factory is MISSING:
            raise source.error(place, f"the key '{key}' is missing; expected {describe(hints[f.name])}")
    try:
        return schema(**values)
    except (ValueError, CuratorError) as error:
        raise source.error(place, str(error)) from error


def describe(kind: Any) -> str:
    """An annotation in words."""
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return next((rule.says for rule in args[1:] if isinstance(rule, Rule)), describe(args[0]))
    if origin in (Union, types.UnionType):
        return " or ".join(describe(member) for member in args)
    if origin is Literal:
        return f"one of {', '.join(map(str, args))}"
    if origin in (tuple, list):
        if origin is tuple and args[-1] is not Ellipsis:
            return f"[{', '.join(describe(member) for member in args)}]"
        return f"a list of: {describe(args[0])}"
    if is_dataclass(kind):
        return f"{{{', '.join(f.name.rstrip('_') for f in fields(kind))}}}"
    words = {int: "a whole number", float: "a number", str: "text", bool: "true or false", Path: "a path"}
    return words.get(kind, "null" if kind is types.NoneType else str(kind))
