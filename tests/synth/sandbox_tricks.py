"""Programs that lead from harmless names to Python's inside: what the policy and the facades must not let through.

``g`` returns a text with GOT where it got there. All of them do so with the policy off.
"""

import sys

GLUE = """
CLASS, BASE = "__cl" + "ass__", "__ba" + "se__"
SUBCLASSES, GLOBALS = "__subcl" + "asses__", "__glo" + "bals__"
"""
"""Names that no search of the source finds."""

TRICKS = {
    "subclasses": """
def g(rng, target_tokens):
    return "GOT" * bool(().__class__.__base__.__subclasses__())
""",
    "an attribute in an f-string": """
def g(rng, target_tokens):
    return f"GOT {().__class__}"
""",
    "the frame of a traceback": """
def g(rng, target_tokens):
    try:
        1 / 0
    except ZeroDivisionError as error:
        return f"GOT {error.__traceback__.tb_frame.f_back}"
""",
    "the frame of a generator": """
def g(rng, target_tokens):
    numbers = (n for n in [1])
    return f"GOT {numbers.gi_frame.f_builtins}"
""",
    "the code of a function": """
def g(rng, target_tokens):
    return f"GOT {g.__code__.co_consts}"
""",
    "the module of a builtin": """
def g(rng, target_tokens):
    return f"GOT {print.__self__}"
""",
    "the globals of rng": """
def g(rng, target_tokens):
    return f"GOT {rng.shuffle.__globals__['_os']}"
""",
    "builtins by name": """
def g(rng, target_tokens):
    return f"GOT {__builtins__}"
""",
    "builtins in a walrus": """
def g(rng, target_tokens):
    return f"GOT {(found := __builtins__)}"
""",
    "import by name": """
def g(rng, target_tokens):
    return f"GOT {__import__('os').getpid}"
""",
    "an import under another name": """
import os as math
def g(rng, target_tokens):
    return f"GOT {math.getpid}"
""",
    "an import of a part": """
from os import path as __path
def g(rng, target_tokens):
    return f"GOT {__path}"
""",
    "an import in a function": """
def g(rng, target_tokens):
    import subprocess
    return f"GOT {subprocess}"
""",
    "everything of a module": """
from math import *
def g(rng, target_tokens):
    return f"GOT {pi}"
""",
    "getattr": GLUE
    + """
def g(rng, target_tokens):
    return f"GOT {getattr(1, CLASS)}"
""",
    "getattr under another name": GLUE
    + """
look = getattr
def g(rng, target_tokens):
    return f"GOT {look(1, CLASS)}"
""",
    "wide letters": """
def g(rng, target_tokens):
    return f"GOT {ｇｅｔａｔｔｒ(1, 'real')}"
""",
    "wide letters in an attribute": """
def g(rng, target_tokens):
    return f"GOT {().__ｃｌａｓｓ__}"
""",
    "eval": """
def g(rng, target_tokens):
    return eval("'GOT'")
""",
    "exec": """
def g(rng, target_tokens):
    space = {}
    exec("x = 'GOT'", space)
    return space["x"]
""",
    "a decorator that evaluates": """
@eval
@lambda _: "'GOT'"
def found():
    pass
def g(rng, target_tokens):
    return found
""",
    "globals": """
def g(rng, target_tokens):
    return f"GOT {globals()}"
""",
    "a format field": """
def g(rng, target_tokens):
    return "GOT {0.__class__}".format(1)
""",
    "a format field of a mapping": """
def g(rng, target_tokens):
    return "GOT {x.__class__.__mro__}".format_map({"x": 1})
""",
    "a format field in a width": """
def g(rng, target_tokens):
    return "GOT {0:{1.__doc__[0]}>4}".format("", "x")
""",
    "a class pattern": """
def g(rng, target_tokens):
    match 1:
        case object(__class__=found):
            return f"GOT {found}"
""",
    "a private name of a module": """
import string
def g(rng, target_tokens):
    return f"GOT {string._re}"
""",
    "a module in a module": """
import json
def g(rng, target_tokens):
    return f"GOT {json.codecs.open}"
""",
    "an attribute by name": GLUE
    + """
import operator
def g(rng, target_tokens):
    return f"GOT {operator.attrgetter(CLASS + '.' + BASE)(1)}"
""",
    "a method by name": GLUE
    + """
from operator import methodcaller
def g(rng, target_tokens):
    return f"GOT {methodcaller(SUBCLASSES)(object)}"
""",
    "the globals of rng, merged into ours": GLUE
    + """
import functools
def g(rng, target_tokens):
    functools.update_wrapper(g, rng.shuffle, assigned=(), updated=(GLOBALS,))
    return f"GOT {_os}"
""",
    "wraps": GLUE
    + """
from functools import wraps
def g(rng, target_tokens):
    wraps(rng.shuffle, assigned=(), updated=(GLOBALS,))(g)
    return f"GOT {_os}"
""",
    "a formatter's field": GLUE
    + """
import string
def g(rng, target_tokens):
    found = string.Formatter().get_field("0." + CLASS + "." + BASE, (1,), {})[0]
    return f"GOT {found}"
""",
    "an annotation that is evaluated": GLUE
    + """
import typing
Row = typing.NamedTuple("Row", [("x", "__imp" + "ort__('os').stat_result")])
def g(rng, target_tokens):
    return f"GOT {typing.get_type_hints(Row)}"
""",
    "a forward reference": """
from typing import ForwardRef
def g(rng, target_tokens):
    return f"GOT {ForwardRef('int')}"
""",
    "a class made of fields that are code": """
import dataclasses
def g(rng, target_tokens):
    return f"GOT {dataclasses.make_dataclass('C', ['x'])}"
""",
    "an inherited field that is code": """
import dataclasses
f = dataclasses.field(default=1)
@dataclasses.dataclass
class A:
    x: int = f
f.name = 'x" + "GO" + "T" #'
def g(rng, target_tokens):
    @dataclasses.dataclass(init=False, eq=False)
    class B(A):
        pass
    return str(B())
""",
    "an inherited field, renamed while a class is made": """
import dataclasses
f = dataclasses.field(default=1)
@dataclasses.dataclass
class A:
    x: int = f
def g(rng, target_tokens):
    class B(A):
        y: int
        @classmethod
        @property
        def y(cls):
            f.name = 'x" + "GO" + "T" #'
            return 1
    return str(dataclasses.dataclass(init=False, eq=False)(B)())
""",
    "a field whose name is what the code of a class is made of": """
import dataclasses
plain = dataclasses.field()
class Field(type(plain)):
    @property
    def name(self):
        return 'x" + "GO" + "T" #'
    @name.setter
    def name(self, value):
        pass
def g(rng, target_tokens):
    @dataclasses.dataclass(init=False, eq=False)
    class A:
        x: int = Field(1, plain.default_factory, True, True, None, True, {}, False)
    return str(A())
""",
    "all of Python through a field whose name changes": """
from dataclasses import dataclass, field
plain = field()
class Field(type(plain)):
    asked = 0
    @property
    def name(self):
        Field.asked += 1
        return "x" if Field.asked < 2 else 'x" + __import__("os").__name__ + "GO" + "T" #'
    @name.setter
    def name(self, value):
        pass
def g(rng, target_tokens):
    @dataclass(init=False, eq=False)
    class A:
        x: int = Field(1, plain.default_factory, True, True, None, True, {}, False)
    return str(A())
""",
    "a class of fields under another name": """
from dataclasses import make_dataclass as made
def g(rng, target_tokens):
    return f"GOT {made('C', ['x'])}"
""",
    "the class of a function": """
def g(rng, target_tokens):
    return f"GOT {type(g)}"
""",
    "the class of a module": """
import math
def g(rng, target_tokens):
    return f"GOT {type(math)('x')}"
""",
    "type with three arguments": GLUE
    + """
def g(rng, target_tokens):
    return f"GOT {type('C', (), {'__get' + 'attr__': lambda self, name: name})().anything}"
""",
    "the class of a class": """
def g(rng, target_tokens):
    return f"GOT {type(int)('C', (), {})}"
""",
    "a metaclass": """
class Meta(type):
    pass
class C(metaclass=Meta):
    pass
def g(rng, target_tokens):
    return f"GOT {C}"
""",
    "a metaclass that typing gives": GLUE
    + """
from typing import Type
class Meta(Type):
    pass
def g(rng, target_tokens):
    return Meta("C", (), {"__get" + "attr__": lambda self, name: "GOT"})().anything
""",
    "all of Python through a metaclass": GLUE
    + """
from typing import Type
class Meta(Type[int]):
    pass
Judge = Meta("Judge", (Meta,), {"__instance" + "check__": lambda cls, one: True})
def look(one, name):
    K = Judge("K", (), {"__match" + "_args__": (name,)})
    match one:
        case K(found):
            return found
def g(rng, target_tokens):
    return f"GOT {look(rng.shuffle, GLOBALS)['_os']}"
""",
    "a class of what is no class": """
class Base:
    def __init__(self, name="", bases=(), space=None):
        self.space = space
def g(rng, target_tokens):
    class C(Base()):
        pass
    return f"GOT {C.space}"
""",
    "a frame that counts as one's own": """
from collections import namedtuple
import collections.abc
class K(namedtuple("N", "gi" + "_frame"), collections.abc.Hashable):
    pass
def g(rng, target_tokens):
    numbers = (n for n in [1])
    K.register(type(numbers))
    match numbers:
        case K(frame):
            return f"GOT {frame}"
""",
    "all of Python through what counts as one's own": """
from typing import NamedTuple
from collections.abc import Hashable
def look(one, name):
    class K(NamedTuple("N", [(name, int)]), Hashable):
        pass
    K.register(type(one))
    match one:
        case K(found):
            return found
def g(rng, target_tokens):
    numbers = (n for n in [1])
    frame = look(numbers, "gi" + "_frame")
    return f"GOT {look(frame, 'f_' + 'builtins')['__import__']('os')}"
""",
    "an enumeration with methods of Python's": """
import enum
C = enum.Enum("C", {"__get" + "attr__": lambda self, name: "GOT", "A": 1})
def g(rng, target_tokens):
    return C.A.anything
""",
    "a copy that calls and sets": """
import copy, types
class Target:
    pass
def g(rng, target_tokens):
    bait = types.SimpleNamespace(**{"__reduce" + "_ex__": lambda _: (lambda: Target, (), (None, {"x": "GOT"}))})
    copy.copy(bait)
    return Target.x
""",
    "a property that sets any name": """
import functools
class C:
    pass
made = functools.cached_property(lambda self: "GOT")
made.attrname = "__anything" + "__"
def g(rng, target_tokens):
    return made.__get__(C())
""",
    "a method of Python's": """
class C:
    def __getattr__(self, name):
        return "GOT"
def g(rng, target_tokens):
    return C().anything
""",
    "a name of Python's by import": """
class C:
    from math import sqrt as __call__
def g(rng, target_tokens):
    return f"GOT {C().__call__(4)}"
""",
    "a name of Python's by except": """
class C:
    try:
        1 / 0
    except ZeroDivisionError as __x:
        y = __x
def g(rng, target_tokens):
    return f"GOT {C.y}"
""",
    "a name of Python's by match": """
class C:
    match ("x",):
        case __match_args__:
            pass
    x = 1
def g(rng, target_tokens):
    match C():
        case C(found):
            return f"GOT {found}"
""",
    "another module's name": """
__name__ = "os"
class C:
    pass
def g(rng, target_tokens):
    return f"GOT {C}" if "os" in f"{C}" else ""
""",
    "a pickle": """
import pickle
def g(rng, target_tokens):
    return pickle.loads(b"cbuiltins\\nstr\\n(VGOT\\ntR.")
""",
    "codecs": """
import codecs
def g(rng, target_tokens):
    return codecs.decode("TBG", "rot13")
""",
    "ctypes": """
import ctypes
def g(rng, target_tokens):
    return f"GOT {ctypes.pythonapi}"
""",
    "the garbage collector": """
import gc
def g(rng, target_tokens):
    return f"GOT {len(gc.get_objects())}"
""",
    "sys": """
import sys
def g(rng, target_tokens):
    return f"GOT {sys.modules['os']}"
""",
    "importlib": """
import importlib
def g(rng, target_tokens):
    return f"GOT {importlib.import_module('os')}"
""",
    "inspect": """
import inspect
def g(rng, target_tokens):
    return f"GOT {inspect.currentframe()}"
""",
    "a signal handler": """
import signal
def g(rng, target_tokens):
    return f"GOT {signal.signal}"
""",
    "the address of this machine": """
import uuid
def g(rng, target_tokens):
    return f"GOT {uuid.getnode()}"
""",
    "the order of memory": """
def g(rng, target_tokens):
    return f"GOT {id(rng)} {hash('x')}"
""",
    "the clock": """
import datetime
def g(rng, target_tokens):
    return f"GOT {datetime.datetime.now()}"
""",
    "the clock under another name": """
from datetime import datetime as dt
def g(rng, target_tokens):
    return f"GOT {dt.now()}"
""",
    "the clock of an alias": """
import datetime
moment = (lambda kind: kind)(datetime.datetime)
def g(rng, target_tokens):
    if (asked := moment):
        return f"GOT {asked.utcnow()}"
""",
    "the clock of a date's class": """
import datetime
def g(rng, target_tokens):
    return f"GOT {type(datetime.date.min).today()}"
""",
    "the clock of a date": """
import calendar
def g(rng, target_tokens):
    return f"GOT {next(calendar.Calendar().itermonthdates(2020, 1)).today()}"
""",
    "the clock in a class pattern": """
import datetime
def g(rng, target_tokens):
    match datetime.datetime.min:
        case object(now=found):
            return f"GOT {found()}"
""",
    "the clock beside a method of that name": """
from datetime import datetime
class Shop:
    def now(self):
        return "sale"
def g(rng, target_tokens):
    return f"GOT {Shop().now()} {datetime.now()}"
""",
    "the clock in a template": """
import datetime
def g(rng, target_tokens):
    return ("GOT {0." + "now}").format(datetime.datetime)
""",
    "the machine's randomness": """
import random
def g(rng, target_tokens):
    return f"GOT {random.random()}"
""",
    "another generator of numbers": """
def g(rng, target_tokens):
    return f"GOT {type(rng)().random()}"
""",
    "numbers from anywhere": """
def g(rng, target_tokens):
    rng.seed()
    return f"GOT {rng.random()}"
""",
    "the randomness of statistics": """
import statistics
def g(rng, target_tokens):
    return f"GOT {statistics.NormalDist().samples(2)}"
""",
    "what this machine's libraries are": """
import hashlib
def g(rng, target_tokens):
    return f"GOT {hashlib.algorithms_available}"
""",
    "a counter between calls": """
n = 0
def g(rng, target_tokens):
    global n
    n += 1
    return f"GOT {n}"
""",
    "a private base": """
def g(rng, target_tokens):
    return f"GOT {int.mro()}"
""",
}

if sys.version_info >= (3, 13):  # a property of a class is none any more
    del TRICKS["an inherited field, renamed while a class is made"]
