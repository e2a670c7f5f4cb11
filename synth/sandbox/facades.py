"""What generated code finds instead of modules and builtins: public names, and nothing that leads further.

Runs inside the locked process. This is the policy's half that only shows at run time; it is no wall.
"""

from __future__ import annotations

import abc
import builtins
import sys

from synth.sandbox.modules import OFFERED, WITHHELD
from synth.sandbox.records import KW_ONLY, FrozenInstanceError, dataclass, field

TYPE_CHECKING = False  # `typing` is slow to import, and one process is started per generator
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from types import ModuleType
    from typing import Any

DROPPED = {
    "breakpoint",
    "compile",
    "delattr",
    "dir",
    "eval",
    "exec",
    "getattr",
    "globals",
    "hash",
    "id",
    "input",
    "locals",
    "memoryview",
    "open",
    "setattr",
    "vars",
}
"""Builtins that open files, make code, take attributes by name, or differ from process to process."""


class Facade:
    """The offered names of a module, read-only."""

    __slots__ = ("_names",)

    def __init__(self, names: dict[str, Any]):
        object.__setattr__(self, "_names", names)

    def __getattr__(self, name: str) -> Any:
        try:
            return object.__getattribute__(self, "_names")[name]
        except KeyError:
            raise AttributeError(f"'{name}' is not available here") from None

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("modules are read-only here")

    def __delattr__(self, name: str) -> None:
        raise AttributeError("modules are read-only here")


OUR_OWN = {
    "dataclasses": {
        "dataclass": dataclass,
        "field": field,
        "KW_ONLY": KW_ONLY,
        "FrozenInstanceError": FrozenInstanceError,
    }
}
"""Modules that are not the standard library's."""
MACHINERY = (type(Facade.__init__), type(Facade.__init__.__code__), type(sys), type(sys._getframe()), Facade)
"""Classes of functions, code, modules and frames: with them, functions of any code could be put together."""


def offered(module: ModuleType) -> dict[str, Any]:
    """The names of a module that generated code may use."""
    everything = vars(module)
    public: Iterable[str] = getattr(module, "__all__", None) or [n for n in everything if n[:1] != "_"]
    names = OFFERED.get(module.__name__) or set(public).difference(WITHHELD.get(module.__name__, ()))
    return {n: everything[n] for n in names if n in everything and not isinstance(everything[n], type(sys))}


def safe_builtins(modules: Sequence[str]) -> dict[str, Any]:
    """Builtins without files, code and attributes by name; ``modules``, already imported, can be imported."""
    kept = {n: v for n, v in vars(builtins).items() if n[:1] != "_" and n not in DROPPED}
    names = {name: dict(OUR_OWN[name]) if name in OUR_OWN else offered(sys.modules[name]) for name in modules}
    facades = {name: Facade(found) for name, found in names.items()}
    abc.ABCMeta.register = _register  # type: ignore[method-assign]
    if "collections.abc" in names and "collections" in names:
        names["collections"]["abc"] = facades["collections.abc"]

    def importer(
        name: str,
        globals: Mapping[str, object] | None = None,
        locals: Mapping[str, object] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> Facade:
        if level or (name not in facades and name not in sys.modules):
            raise ImportError(f"module '{name}' is not available here")
        if name not in facades:  # C code asks through us too, and then takes the loaded module by itself
            return Facade({})
        return facades[name if fromlist else name.partition(".")[0]]

    return {
        **kept,
        "__import__": importer,
        "__build_class__": _build_class,
        "__name__": "builtins",
        "print": _print,
        "type": _type,
    }


def _build_class(body: Any, name: str, /, *bases: Any, **keywords: Any) -> Any:
    """A class of classes alone, and no class of classes: one of those could have methods of any name."""
    if keywords:
        raise TypeError("classes take no metaclass or keywords here")
    for base in bases:
        entries = getattr(base, "__mro_entries__", None)
        for found in (base,) if isinstance(base, type) or entries is None else entries(bases):
            if not isinstance(found, type) or issubclass(found, type):
                raise TypeError("a base must be a class, and none of classes, here")
    return builtins.__build_class__(body, name, *bases)


def _register(cls: type, subclass: type) -> type:
    """In the place of `ABCMeta.register`: what counts as one's own in a match has any of its attributes taken."""
    raise TypeError("abstract classes take no classes in here")


def _type(value: object) -> type:
    """The class of a value; that of a class would make classes with any attribute, that of a function functions."""
    if isinstance(value, type):
        raise TypeError("type() is for values, not for classes, here")
    if isinstance(value, MACHINERY):
        raise TypeError("type() is for values, not for functions and modules, here")
    return type(value)


def _print(*values: object, **options: object) -> None:
    """Nothing: the only output is the text that is returned."""
