"""Flags of a command line, made from a class of `Settings`: their names, order, help and defaults; and merged into one.

Which words a command line knows is said beside the field alone (`Flag`). Imports nothing of the command line, so that
a manifest can name the command that asks for the same again.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, TypeVar, get_args, get_origin

from pydantic import ValidationError
from pydantic_core import PydanticUndefined

from curator.artifacts.conditions import laid_over
from curator.artifacts.schema import Settings, annotation_of, keys, members, section_of, suggest, worst
from curator.errors import CuratorError, UsageError
from curator.progress import Progress, reporting

S = TypeVar("S", bound=Settings)


@dataclass(frozen=True, kw_only=True)
class Flag:
    """How a field is given on a command line, where its name and docstring do not say it all.

    Attributes:
        name: of the flag; else the field's. ``.``: that of the section it stands in.
        default: the default in words, where the value does not say it.
        pair: the field that the flag ``A:B`` gives as well; that field has no flag of its own.
        hidden: there is no such flag.
        argument: it is given by its place and not by a name.
        opposite: the name of the flag that says no, where neither says nothing.
        text: what stands for the value in the help; the field takes it as text.
        panel: heading of the help under which it stands; of a section, all its flags.
        flat: the flags of this section are named as if they were its owner's.
    """

    name: str = ""
    default: str = ""
    pair: str = ""
    hidden: bool = False
    argument: bool = False
    opposite: str = ""
    text: str = ""
    panel: str = ""
    flat: bool = False


def merge_flags(
    kind: type[S], flags: Mapping[str, Any], before: Mapping[str, Any] = MappingProxyType({})
) -> S:
    """What is ``before``, with every flag that is not None in place of its field; of a section, a mapping.

    Raises:
        UsageError: as for a file, with the flags' names.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    for name in given:
        if name not in kind.model_fields:
            raise UsageError(f"--{_dashed(name)}: unknown here; {suggest(name, keys(kind))}")
    places: list[tuple[str, ...]] = []
    for name, value in list(given.items()):
        if isinstance(value, Mapping) and is_section(kind.model_fields[name].annotation):
            value = {key: one for key, one in value.items() if one is not None}
            places += [(name, key) for key in value]
            inner = before.get(name)
            given[name] = laid_over(type(inner), inner.given(), value) if inner else value
            if not value:
                del given[name]
        else:
            places.append((name,))
    try:
        return kind.model_validate(laid_over(kind, before, given))
    except ValidationError as error:
        where, text, of_a_rule = worst(error, kind)
        steps = tuple(re.split(r"\.|\[", where)) if where else ()
        near = [place for place in places if place[: len(steps)] == steps[: len(place)]] or places
        if of_a_rule:
            text = _with_flags(kind, steps, text, places)
        said = dict.fromkeys(_in_a_line(kind, place) for place in near)
        if of_a_rule and any(re.search(rf"(?<![\w-]){flag}(?![\w-])", text) for flag in said):
            raise UsageError(text) from error
        raise UsageError(f"{', '.join(said)}: {text}") from error


def _with_flags(kind: type[Settings], steps: tuple[str, ...], text: str, given: list[tuple[str, ...]]) -> str:
    """What a rule says of fields, with the names that they have on a command line."""

    def flag(found: re.Match[str]) -> str:
        place = (*steps, *found[1].split("."))
        schema: Any = kind
        for step in place[:-1]:
            if step not in schema.model_fields or not is_section(schema.model_fields[step].annotation):
                return found[0]
            schema = section_of(schema.model_fields[step].annotation)
        if place[-1] not in schema.model_fields or flag_of(schema, place[-1]).hidden:
            return found[0]
        if not is_section(schema.model_fields[place[-1]].annotation):
            return _in_a_line(kind, place)
        return ", ".join(_in_a_line(kind, one) for one in given if one[: len(place)] == place)

    return re.sub(r"'([a-z_.]+)'", flag, text)


def _in_a_line(kind: type[Settings], place: tuple[str, ...]) -> str:
    """What a user typed, or would, for the field at ``place``."""
    name = flag_name(kind, *place)
    return name.upper() if flag_of(kind, place[0]).argument else f"--{name}"


def flag_name(schema: Any, *place: str) -> str:
    """What the field at ``place`` is called on a command line, without the dashes."""
    info = schema.model_fields[place[0]]
    own = flag_of(schema, place[0]).name or _dashed(place[0])
    if len(place) == 1:
        return own
    inner = section_of(info.annotation)
    paired = [name for name in inner.model_fields if flag_of(inner, name).pair == place[1]]
    name = flag_name(inner, paired[0] if paired else place[1])
    if name == ".":
        return own
    return name if flag_of(schema, place[0]).flat else f"{own}-{name}"


@dataclass(frozen=True, kw_only=True)
class Flagged:
    """A field that has a flag.

    Attributes:
        place: where it lies, fields from the outside in; pair: the one that the flag gives as well.
        name: of the flag; says: the field's docstring; default: in words, empty where there is none.
        kind: the field's annotation; required: it has no default.
        flag: what the field says of it, and the section about its panel.
    """

    place: tuple[str, ...]
    pair: tuple[str, ...]
    name: str
    says: str
    default: str
    kind: Any
    required: bool
    flag: Flag

    @property
    def is_range(self) -> bool:
        """Whether it takes two numbers with a colon between."""
        member = members(self.kind)[0]
        return bool(self.pair) or (get_origin(member) is tuple and get_args(member)[-1] is not Ellipsis)


def flags_of(schema: Any, *within: str, outer: Any = None, panel: str = "") -> Iterator[Flagged]:
    """The flags of ``schema``, in the order of its fields; those of a section within stand in its place."""
    paired = {flag_of(schema, name).pair for name in schema.model_fields}
    for name in schema.FLAGS or schema.model_fields:
        info, flag, place = schema.model_fields[name], flag_of(schema, name), (*within, name)
        if flag.hidden or name in paired:
            continue
        if is_section(info.annotation):
            inner = section_of(info.annotation)
            yield from flags_of(inner, *place, outer=outer or schema, panel=flag.panel or panel)
            continue
        default = flag.default or _default_in_words(schema, name, flag.pair)
        pair = (*within, flag.pair) if flag.pair else ()
        says = " ".join((info.description or "").replace("``", "").split())
        yield Flagged(
            place=place,
            pair=pair,
            name=flag_name(outer or schema, *place),
            says=says,
            default=default,
            kind=annotation_of(info),
            required=info.is_required(),
            flag=replace(flag, panel=flag.panel or panel),
        )


def is_section(kind: Any) -> bool:
    """Whether a field of this annotation is a section of its own."""
    inner = members(kind)[0]
    return isinstance(inner, type) and issubclass(inner, Settings)


def _default_in_words(schema: Any, name: str, pair: str) -> str:
    values = [schema.model_fields[one].get_default() for one in (name, pair) if one]
    if any(value in (None, (), PydanticUndefined) or value is False for value in values):
        return ""
    return ":".join(
        f"{value:g}".replace("e-0", "e-") if isinstance(value, float) else str(value) for value in values
    )


@contextmanager
def as_library(
    progress: Progress | None, *kinds: type[Settings], arguments: Iterable[str] = ()
) -> Iterator[None]:
    """What is done as a notebook asks for it: progress is said to ``progress``, and errors name fields, not flags.

    Messages are written once, with the flags of the command line; here they become the fields of the first of
    ``kinds`` that has them, or ``arguments`` of the same names. What stands in backticks is a command, and stays.
    """
    with reporting(progress):
        try:
            yield
        except CuratorError as error:
            error.args = (_with_fields(str(error), kinds, arguments),)
            raise


def _with_fields(text: str, kinds: Iterable[type[Settings]], arguments: Iterable[str]) -> str:
    fields = {name: f"'{name}'" for name in arguments}
    for flagged in (one for kind in kinds for one in flags_of(kind)):
        fields.setdefault(flagged.name, f"'{'.'.join(flagged.place)}'")
        if flagged.flag.opposite:
            fields.setdefault(flagged.flag.opposite, f"'{flagged.place[-1]}' false")
    parts = text.split("`")
    for number in range(0, len(parts), 2):
        parts[number] = re.sub(
            r"(?<![\w-])--([a-z][a-z-]*[a-z])", lambda flag: fields.get(flag[1], flag[0]), parts[number]
        )
    return "`".join(parts)


def flag_words(settings: Settings, left_out: Iterable[str] = ()) -> list[str]:
    """The words of a command line that give ``settings``, defaults written out.

    Args:
        left_out: fields, or those of a section within, such as ``probe.seed``.
    """
    words: list[str] = []
    for flagged in flags_of(type(settings)):
        values = [_value_at(settings, place) for place in (flagged.place, flagged.pair) if place]
        named = {flagged.place[0], ".".join(flagged.place)}
        if named & set(left_out) or values[0] is None or values[0] is False:
            continue
        if values[0] is True:
            words.append(f"--{flagged.name}")
            continue
        if flagged.is_range:
            values = [":".join(map(str, values if flagged.pair else values[0]))]
        elif isinstance(values[0], tuple):
            values = list(values[0])
        for value in values:
            words += [str(value)] if flagged.flag.argument else [f"--{flagged.name}", str(value)]
    return words


def _value_at(settings: Settings, place: Iterable[str]) -> Any:
    value: Any = settings
    for name in place:
        value = getattr(value, name)
    return value


def flag_of(schema: Any, name: str) -> Flag:
    """How a field is given on a command line."""
    return next((one for one in schema.model_fields[name].metadata if isinstance(one, Flag)), Flag())


def _dashed(name: str) -> str:
    return name.rstrip("_").replace("_", "-")
