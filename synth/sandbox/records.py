"""`dataclasses.dataclass` and `field` for generated code, made of closures.

The standard library pastes the names of fields into source and runs that, and a name can be made to change between
being looked at and being used. Nothing here is made from text, so that whatever a field is, it stays a value. What the
policy offers of the module is here; a class comes out as the standard library makes it, but for its docstring. Runs
inside the locked process.
"""

from __future__ import annotations

import re
import sys
from operator import ge, gt, le, lt

TYPE_CHECKING = False  # `typing` is slow to import, and one process is started per generator
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

FIELDS, FROZEN = "__dataclass_fields__", "__dataclass_frozen__"
ORDER = {"__lt__": lt, "__le__": le, "__gt__": gt, "__ge__": ge}


class FrozenInstanceError(AttributeError):
    """An attribute of a frozen instance was to be changed."""


class _Marker:
    """A value that stands for itself."""

    def __init__(self, name: str):
        self._name = name

    def __repr__(self) -> str:
        return self._name


MISSING, KW_ONLY = _Marker("MISSING"), _Marker("KW_ONLY")


class _Field:
    """What `field` was told, and later the name; read-only for whoever gets hold of it."""

    __slots__ = ("compare", "default", "default_factory", "hash", "init", "kw_only", "name", "repr")

    def __init__(self, **options: Any):
        for name, value in options.items():
            object.__setattr__(self, name, value)

    def __init_subclass__(cls) -> None:
        raise TypeError("fields cannot be subclassed here")

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("fields are read-only here")

    __delattr__ = __setattr__  # type: ignore[assignment]


def field(
    *,
    default: Any = MISSING,
    default_factory: Any = MISSING,
    init: bool = True,
    repr: bool = True,
    hash: bool | None = None,
    compare: bool = True,
    metadata: object = None,
    kw_only: Any = MISSING,
) -> Any:
    """As `dataclasses.field`."""
    if default is not MISSING and default_factory is not MISSING:
        raise ValueError("cannot specify both default and default_factory")
    return _Field(
        default=default,
        default_factory=default_factory,
        init=init,
        repr=repr,
        hash=hash,
        compare=compare,
        kw_only=kw_only,
    )


def dataclass(
    cls: Any = None,
    /,
    *,
    init: bool = True,
    repr: bool = True,
    eq: bool = True,
    order: bool = False,
    unsafe_hash: bool = False,
    frozen: bool = False,
    match_args: bool = True,
    kw_only: bool = False,
    slots: bool = False,
    weakref_slot: bool = False,
) -> Any:
    """As `dataclasses.dataclass`."""

    def decorate(cls: Any) -> Any:
        if not isinstance(cls, type):
            raise TypeError("dataclass is for classes")
        if order and not eq:
            raise ValueError("eq must be true if order is true")
        if weakref_slot and not slots:
            raise TypeError("weakref_slot is True but slots is False")
        fields = _inherited(cls, frozen)
        fields.update(_own(cls, kw_only))
        setattr(cls, FIELDS, fields)
        setattr(cls, FROZEN, frozen)
        explicit_hash = not (
            vars(cls).get("__hash__", MISSING) is MISSING
            or (vars(cls)["__hash__"] is None and "__eq__" in vars(cls))
        )
        every = list(fields.values())
        positional = [one.name for one in every if one.init and not one.kw_only]
        compared = [one.name for one in every if one.compare]
        if init:
            _check_order(every)
            _add(cls, "__init__", _init(cls, every, positional, frozen))
        if repr:
            _add(cls, "__repr__", _repr([one.name for one in every if one.repr]))
        if eq:
            _add(cls, "__eq__", _eq(compared))
        made = {name: _compare(compared, operator) for name, operator in ORDER.items()} if order else {}
        if frozen:
            made["__setattr__"] = _frozen(cls, list(fields), object.__setattr__, "assign to")
            made["__delattr__"] = _frozen(cls, list(fields), object.__delattr__, "delete")
        for name, method in made.items():
            if not _add(cls, name, method):
                raise TypeError(f"Cannot overwrite attribute {name} in class {cls.__name__}")
        if unsafe_hash and explicit_hash:
            raise TypeError(f"Cannot overwrite attribute __hash__ in class {cls.__name__}")
        if unsafe_hash or (eq and frozen and not explicit_hash):
            hashed = [one.name for one in every if (one.compare if one.hash is None else one.hash)]
            cls.__hash__ = _hash(hashed)  # type: ignore[assignment]
        elif eq and not explicit_hash:
            cls.__hash__ = None  # type: ignore[assignment]
        if match_args:
            _add(cls, "__match_args__", tuple(positional))
        return _with_slots(cls, list(fields), weakref_slot) if slots else cls

    return decorate if cls is None else decorate(cls)


def _inherited(cls: type, frozen: bool) -> dict[str, Any]:
    """The fields of the bases, the nearest last."""
    fields: dict[str, Any] = {}
    bases = [base for base in cls.__mro__[:0:-1] if FIELDS in vars(base)]
    for base in bases:
        fields.update(vars(base)[FIELDS])
    if bases and any(vars(base)[FROZEN] for base in bases) is not frozen:
        kinds = ("frozen", "a non-frozen") if frozen else ("non-frozen", "a frozen")
        raise TypeError("cannot inherit {} dataclass from {} one".format(*kinds))
    return fields


def _own(cls: type, kw_only: bool) -> Iterator[tuple[str, Any]]:
    """The fields that the class itself declares; its attributes become their defaults."""
    annotations = vars(cls).get("__annotations__")
    if (
        annotations is None
    ):  # Python 3.14 makes them when they are asked for, and only then of this class alone
        annotations = cls.__annotations__ if sys.version_info >= (3, 14) else {}
    for name, value in vars(cls).items():
        if isinstance(value, _Field) and name not in annotations:
            raise TypeError(f"{name!r} is a field but has no type annotation")
    for name, kind in list(annotations.items()):
        if kind is KW_ONLY or _is_named(kind, "KW_ONLY"):
            kw_only = True
            continue
        if _is_class_variable(kind):
            continue
        given: Any = getattr(cls, name, MISSING)
        if type(given) is type(_Field.init):  # type: ignore[attr-defined]
            given = MISSING  # a slot of a base
        one: Any = given if isinstance(given, _Field) else field(default=given)
        if type(one.default).__hash__ is None:
            raise ValueError(
                f"mutable default {type(one.default)} for field {name} is not allowed: use default_factory"
            )
        options = {key: getattr(one, key) for key in _Field.__slots__ if key not in ("name", "kw_only")}
        alone = kw_only if one.kw_only is MISSING else one.kw_only
        if one is given and one.default is not MISSING:
            setattr(cls, name, one.default)
        elif one is given and name in vars(cls):
            delattr(cls, name)
        yield name, _Field(name=name, kw_only=alone, **options)


def _is_named(annotation: object, name: str) -> bool:
    """Whether an annotation that was kept as text names ``name``, with or without its module."""
    return isinstance(annotation, str) and re.match(rf"\s*(\w+\s*\.)?\s*{name}\b", annotation) is not None


def _is_class_variable(annotation: Any) -> bool:
    typing = sys.modules.get("typing")
    if typing is None:
        return False
    variable = typing.ClassVar
    return (
        annotation is variable
        or (type(annotation) is type(variable[int]) and annotation.__origin__ is variable)
        or _is_named(annotation, "ClassVar")
    )


def _check_order(fields: Sequence[Any]) -> None:
    seen = False
    for one in fields:
        if one.init and not one.kw_only:
            given = one.default is not MISSING or one.default_factory is not MISSING
            if seen and not given:
                raise TypeError(f"non-default argument {one.name!r} follows default argument")
            seen |= given


def _add(cls: type, name: str, value: Any) -> bool:
    """Set it where the class has none of its own."""
    if name in vars(cls):
        return False
    if callable(value):
        value.__name__, value.__qualname__ = name, f"{cls.__qualname__}.{name}"
    setattr(cls, name, value)
    return True


def _init(cls: type, fields: Sequence[Any], positional: Sequence[str], frozen: bool) -> Callable[..., None]:
    put: Any = object.__setattr__ if frozen else setattr
    known = {one.name for one in fields if one.init}
    called = f"{cls.__name__}.__init__()"

    def init(self: Any, /, *given: Any, **named: Any) -> None:
        if len(given) > len(positional):
            raise TypeError(
                f"{called} takes {len(positional) + 1} positional arguments but {len(given) + 1} were given"
            )
        values = dict(zip(positional, given))
        for name in named:
            if name not in known:
                raise TypeError(f"{called} got an unexpected keyword argument {name!r}")
            if name in values:
                raise TypeError(f"{called} got multiple values for argument {name!r}")
        values |= named
        for one in fields:
            if one.name in values:
                put(self, one.name, values[one.name])
            elif one.default_factory is not MISSING:
                put(self, one.name, one.default_factory())
            elif one.default is not MISSING:
                put(self, one.name, one.default)
            elif one.init:
                raise TypeError(f"{called} missing 1 required argument: {one.name!r}")
        if hasattr(self, "__post_init__"):
            self.__post_init__()

    return init


def _repr(names: Sequence[str]) -> Callable[[Any], str]:
    under_way: set[int] = set()

    def represent(self: Any) -> str:
        if id(self) in under_way:
            return "..."
        under_way.add(id(self))
        try:
            said = ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
        finally:
            under_way.discard(id(self))
        return f"{type(self).__qualname__}({said})"

    return represent


def _values(self: object, names: Sequence[str]) -> tuple[Any, ...]:
    return tuple(getattr(self, name) for name in names)


def _eq(names: Sequence[str]) -> Callable[[Any, Any], Any]:
    def equal(self: Any, other: Any) -> Any:
        return _values(self, names) == _values(other, names) if type(other) is type(self) else NotImplemented

    return equal


def _compare(names: Sequence[str], operator: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def compare(self: Any, other: Any) -> Any:
        same = type(other) is type(self)
        return operator(_values(self, names), _values(other, names)) if same else NotImplemented

    return compare


def _hash(names: Sequence[str]) -> Callable[[Any], int]:
    return lambda self: hash(_values(self, names))


def _frozen(cls: type, names: Sequence[str], plain: Callable[..., None], how: str) -> Callable[..., None]:
    def change(self: Any, name: str, *value: Any) -> None:
        if type(self) is cls or name in names:
            raise FrozenInstanceError(f"cannot {how} field {name!r}")
        plain(self, name, *value)  # a subclass may have attributes of its own

    return change


def _with_slots(cls: type, names: Sequence[str], weakref_slot: bool) -> type:
    """The class made again, with slots for its fields."""
    inherited = {slot for base in cls.__mro__[1:-1] for slot in vars(base).get("__slots__", ())}
    wanted = [*names, *(["__weakref__"] if weakref_slot else [])]
    content = {
        key: value for key, value in vars(cls).items() if key not in (*names, "__dict__", "__weakref__")
    }
    content["__slots__"] = tuple(slot for slot in wanted if slot not in inherited)
    made = type(cls)(cls.__name__, cls.__bases__, content)
    made.__qualname__ = cls.__qualname__
    return made
