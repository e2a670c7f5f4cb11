"""Flags of a command line, made from a class of `Settings`: their names, order, help and defaults; and merged into one.

Which words a command line knows is said beside the field alone (`Flag`). Imports nothing of the command line, so that
a manifest can name the command that asks for the same again.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, get_args, get_origin

from pydantic import ValidationError

from curator.artifacts.schema import Settings, annotation_of, keys, members, section_of, suggest, worst
from curator.errors import UsageError

S = TypeVar("S", bound=Settings)


@dataclass(frozen=True, kw_only=True)
class Flag:
    """How a field is given on a command line, where its name and docstring do not say it all.

    Attributes:
        name: of the flag; else the field's.
        default: the default in words, where the value does not say it.
        pair: the field that the flag ``A:B`` gives as well; that field has no flag of its own.
        hidden: there is no such flag.
    """

    name: str = ""
    default: str = ""
    pair: str = ""
    hidden: bool = False


def merge_flags(section: S, flags: Mapping[str, Any]) -> S:
    """``section`` with every flag that is not None in place of its field; of a field that is a section, a mapping.

    Raises:
        UsageError: as for a file, with the flags' names.
    """
    kind = type(section)
    given = {name: value for name, value in flags.items() if value is not None}
    for name in given:
        if name not in kind.model_fields:
            raise UsageError(f"--{_dashed(name)}: unknown here; {suggest(name, keys(kind))}")
    places: list[tuple[str, ...]] = []
    for name, value in list(given.items()):
        inner = getattr(section, name)
        if isinstance(value, Mapping) and isinstance(inner, Settings):
            value = {key: one for key, one in value.items() if one is not None}
            places += [(name, key) for key in value]
            given[name] = {**inner.given(), **value}
            if not value:
                del given[name]
        else:
            places.append((name,))
    try:
        return kind.model_validate({**section.given(), **given})
    except ValidationError as error:
        where, text = worst(error, kind)
        steps = tuple(re.split(r"\.|\[", where)) if where else ()
        near = [place for place in places if place[: len(steps)] == steps[: len(place)]] or places
        said = dict.fromkeys(f"--{flag_name(kind, *place)}" for place in near)
        raise UsageError(f"{', '.join(said)}: {text}") from error


def flag_name(schema: Any, *place: str) -> str:
    """What the field at ``place`` is called on a command line, without the dashes."""
    info = schema.model_fields[place[0]]
    own = flag_of(schema, place[0]).name or _dashed(place[0])
    if len(place) == 1:
        return own
    inner = section_of(info.annotation)
    paired = [name for name in inner.model_fields if flag_of(inner, name).pair == place[1]]
    return f"{own}-{flag_name(inner, paired[0] if paired else place[1])}"


@dataclass(frozen=True, kw_only=True)
class Flagged:
    """A field that has a flag.

    Attributes:
        place: where it lies, fields from the outside in; pair: the one that the flag gives as well.
        name: of the flag; says: the field's docstring; default: in words, empty where there is none.
        kind: the field's annotation.
    """

    place: tuple[str, ...]
    pair: tuple[str, ...]
    name: str
    says: str
    default: str
    kind: Any

    @property
    def is_range(self) -> bool:
        """Whether it takes two numbers with a colon between."""
        member = members(self.kind)[0]
        return bool(self.pair) or (get_origin(member) is tuple and get_args(member)[-1] is not Ellipsis)


def flags_of(schema: Any, *within: str, outer: Any = None) -> Iterator[Flagged]:
    """The flags of ``schema``, in the order of its fields; those of a section within stand in its place."""
    paired = {flag_of(schema, name).pair for name in schema.model_fields}
    for name, info in schema.model_fields.items():
        flag, place = flag_of(schema, name), (*within, name)
        if flag.hidden or name in paired:
            continue
        inner = members(info.annotation)[0]
        if isinstance(inner, type) and issubclass(inner, Settings):
            yield from flags_of(inner, *place, outer=outer or schema)
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
        )


def _default_in_words(schema: Any, name: str, pair: str) -> str:
    values = [schema.model_fields[one].get_default() for one in (name, pair) if one]
    if any(value is None or value == () or value is False for value in values):
        return ""
    return ":".join(
        f"{value:g}".replace("e-0", "e-") if isinstance(value, float) else str(value) for value in values
    )


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
            words += [f"--{flagged.name}", str(value)]
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
