"""The dataclasses of generated code do what the standard library's do, and make nothing from text.

The oracle is `dataclasses` itself: every class and every expression runs with both.
"""

import dataclasses
import sys
import types
from functools import total_ordering
from typing import Any, ClassVar, NamedTuple

import pytest

from synth.sandbox import records
from synth.sandbox.modules import OFFERED

CLASSES = '''
from typing import ClassVar
import typing

@dataclass
class Plain:
    """Has a docstring."""
    a: int
    b: str = "x"
    c: list = field(default_factory=list)

@dataclass(order=True)
class Ordered:
    size: int
    name: str = field(default="n", compare=False)
    hidden: int = field(default=3, repr=False, init=False)

@dataclass(frozen=True)
class Frozen:
    x: int
    y: tuple = ()
    z: int = field(default=0, hash=False)

class Loose(Frozen):
    pass

@dataclass(frozen=True)
class MoreFrozen(Frozen):
    w: int = 5

@dataclass
class Child(Plain):
    d: float = 1.5
    b: str = "y"
    shared: ClassVar[int] = 9
    named: "typing.ClassVar[int]" = 8

@dataclass
class Keywords:
    a: int
    _: KW_ONLY
    b: int = 2
    c: int

@dataclass(kw_only=True)
class AllKeywords:
    self: int = 1
    other: "int" = field(default=2, kw_only=False)

@dataclass
class After:
    a: int
    total: int = field(init=False)
    def __post_init__(self):
        self.total = self.a * 2

@dataclass
class Own:
    a: int = 1
    def __init__(self):
        self.a = 7
    def __repr__(self):
        return "own"
    def __eq__(self, other):
        return True

@dataclass(eq=False)
class NoEq:
    a: int = 1

@dataclass(unsafe_hash=True)
class Hashed:
    a: int = 1

@dataclass(slots=True)
class Slots:
    a: int = 1
    b: list = field(default_factory=list)

@dataclass(slots=True)
class MoreSlots(Slots):
    a: int = 4
    c: int = 2

@dataclass(repr=False, match_args=False)
class Quiet:
    a: Any = len

@dataclass
class Node:
    next: object = None
    value: int = 0
'''
EXPRESSIONS = """
Plain(1), Plain(1, "z", [2]), Plain(b="q", a=3)
Plain()
Plain(1, 2, 3, 4)
Plain(1, a=2)
Plain(1, q=2)
Plain(1).c is Plain(1).c
Plain(1) == Plain(1), Plain(1) == Plain(2), Plain(1) == Child(1), Plain(1) != Plain(1)
hash(Plain(1))
Plain.b, hasattr(Plain, "c"), Plain.__match_args__
Ordered(1) < Ordered(2), Ordered(1, "z") == Ordered(1, "a"), sorted([Ordered(3), Ordered(1)]), Ordered(2) >= Ordered(2)
Ordered(1) < 5
Ordered(1, "n", 5)
hash(Frozen(1)) == hash(Frozen(1)), hash(Frozen(1, z=1)) == hash(Frozen(1, z=2)), {Frozen(1), Frozen(1)}
setattr(Frozen(1), "x", 2)
setattr(Frozen(1), "new", 2)
delattr(Frozen(1), "x")
setattr(Loose(1), "new", 2)
setattr(Loose(1), "x", 2)
MoreFrozen(1), MoreFrozen(1, w=2) == MoreFrozen(1, w=2), MoreFrozen.__match_args__
Child(1), Child(1, "q", [], 2.5), Child.shared, Child(1).named
Keywords(1, c=3), Keywords.__match_args__
Keywords(1, 2, 3)
Keywords(1)
AllKeywords(), AllKeywords(5), AllKeywords(self=3, other=4)
After(4)
After(4, 8)
Own(), Own() == 5
NoEq() == NoEq(), hash(NoEq()) is not None
hash(Hashed()) == hash(Hashed(1))
Slots(), Slots(5), MoreSlots(), MoreSlots(1, [2], 3)
setattr(Slots(), "q", 1)
Quiet().a is len, hasattr(Quiet, "__match_args__"), "Quiet object" in repr(Quiet())
[setattr(n, "next", n) or repr(n) for n in [Node()]]
""".strip().splitlines()
REFUSED = {
    "a mutable default": "@dataclass\nclass C:\n    a: list = []",
    "an unhashable default": "@dataclass\nclass C:\n    a: object = {}",
    "no default behind one": "@dataclass\nclass C:\n    a: int = 1\n    b: int",
    "a field without annotation": "@dataclass\nclass C:\n    a = field(default=1)",
    "both kinds of default": "field(default=1, default_factory=list)",
    "order without eq": "@dataclass(order=True, eq=False)\nclass C:\n    a: int",
    "an order of its own": "@dataclass(order=True)\nclass C:\n    def __lt__(self, other): return 1",
    "a hash of its own": "@dataclass(unsafe_hash=True)\nclass C:\n    def __hash__(self): return 1",
    "a thawed child": "@dataclass(frozen=True)\nclass A:\n    a: int\n@dataclass\nclass C(A):\n    b: int",
    "a frozen child": "@dataclass\nclass A:\n    a: int\n@dataclass(frozen=True)\nclass C(A):\n    b: int",
    "an unknown option": "@dataclass(colour=1)\nclass C:\n    a: int",
    "weakref without slots": "@dataclass(weakref_slot=True)\nclass C:\n    a: int",
}


def space_with(module: Any) -> dict[str, Any]:
    """The classes, made with ``module``."""
    made = types.ModuleType(f"records_of_{module.__name__}")
    sys.modules[made.__name__] = made  # where the standard library looks for what an annotation means
    space = vars(made)
    space |= {name: getattr(module, name) for name in OFFERED["dataclasses"]} | {"Any": Any}
    exec(CLASSES, space)
    return space


SPACES = [space_with(dataclasses), space_with(records)]


def outcome(code: str, space: dict[str, Any]) -> str:
    try:
        return repr(eval(code, space))
    except Exception as error:
        return f"{type(error).__name__}: {error}"


@pytest.mark.parametrize("code", EXPRESSIONS)
def test_a_class_behaves_as_the_standard_librarys(code: str) -> None:
    theirs, ours = (outcome(code, space) for space in SPACES)
    if "__init__() missing" in theirs or "positional argument" in theirs:  # worded more simply here
        theirs, ours = (said.partition("missing")[0].partition(" takes")[0] for said in (theirs, ours))
    assert ours == theirs.replace("<factory>", "")


@pytest.mark.parametrize("code", REFUSED.values(), ids=REFUSED.keys())
def test_what_the_standard_library_refuses_is_refused(code: str) -> None:
    kinds = []
    for space in SPACES:
        with pytest.raises((TypeError, ValueError)) as caught:
            exec(code, dict(space))
        kinds.append(caught.type)
    assert kinds[0] is kinds[1]


def test_all_that_the_policy_offers_is_there() -> None:
    assert all(hasattr(records, name) for name in OFFERED["dataclasses"])


def test_nothing_is_compiled_while_a_class_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """The standard library makes every method from text."""
    compiled: list[object] = []

    def spied(code: Any, *rest: Any) -> None:
        compiled.append(code)
        exec(code, *rest)

    monkeypatch.setattr(dataclasses, "exec", spied, raising=False)
    monkeypatch.setattr(records, "exec", spied, raising=False)

    @dataclasses.dataclass
    class Theirs:
        a: int

    assert compiled and Theirs(1).a == 1
    compiled.clear()

    @total_ordering
    @records.dataclass(frozen=True)
    class Ours:
        a: int
        kept: ClassVar[int] = 1

        def __lt__(self, other: Any) -> bool:
            return self.a < other.a  # type: ignore[no-any-return]

    assert not compiled and Ours(1) <= Ours(2)


def test_named_tuples_take_no_name_that_is_not_plain_text() -> None:
    """`collections.namedtuple` makes code of its fields' names; it takes exact strings alone."""
    from collections import namedtuple

    class Liar(str):
        def __str__(self) -> str:
            return self

        def isidentifier(self) -> bool:
            return True

        def startswith(self, *_: Any) -> bool:
            return False

    evil = Liar("a: print('GOT')")
    for make in (lambda: namedtuple("T", [evil]), lambda: namedtuple("T", [evil], rename=True)):
        with pytest.raises((TypeError, ValueError)):
            make()
    with pytest.raises((TypeError, ValueError)):
        NamedTuple("T", [(evil, int)])  # type: ignore[misc]
