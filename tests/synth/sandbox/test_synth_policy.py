"""The policy refuses, early and in words, what leads out of plain Python, and leaves honest code alone.

It is not the wall (`test_synth_sandbox_attacks.py` tests that), so a refusal here may come from the source or, where
no reading of the source can tell, from what the code finds when it runs.
"""

import ast
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from sandbox_tricks import TRICKS
from sandbox_world import limits

from synth.sandbox import Failure, Sandbox
from synth.sandbox.facades import DROPPED
from synth.sandbox.hosts import FIXED
from synth.sandbox.modules import ALLOWED, OFFERED, WITHHELD
from synth.sandbox.policy import LONGEST, check_source, imported

ONLY_WHEN_IT_RUNS = {
    "an inherited field that is code",
    "an inherited field, renamed while a class is made",
    "a field whose name is what the code of a class is made of",
    "all of Python through a field whose name changes",
    "type with three arguments",
    "the class of a class",
    "the class of a function",
    "the class of a module",
    "a metaclass that typing gives",
    "all of Python through a metaclass",
    "a class of what is no class",
    "a frame that counts as one's own",
    "all of Python through what counts as one's own",
    "the clock beside a method of that name",
    "the clock in a template",
    "another generator of numbers",
    "numbers from anywhere",
    "the randomness of statistics",
}
"""Tricks that the source does not show."""
NEEDS_NOTHING = {
    "subclasses",
    "an attribute in an f-string",
    "the frame of a traceback",
    "the frame of a generator",
    "the code of a function",
    "the module of a builtin",
    "the globals of rng",
    "builtins by name",
    "builtins in a walrus",
    "wide letters in an attribute",
    "a format field",
    "a format field of a mapping",
    "a format field in a width",
    "a class pattern",
    "a method of Python's",
    "a name of Python's by import",
    "a name of Python's by except",
    "a name of Python's by match",
    "another module's name",
    "a counter between calls",
    "a private base",
}
"""Tricks that need no builtin and no module, so that only the check of the source can refuse them."""
tricks = pytest.mark.parametrize("name", TRICKS)


def body(code: str, before: str = "") -> str:
    lines = "\n".join(f"    {line}" for line in code.splitlines())
    return f"{before}\ndef g(rng, target_tokens):\n{lines}\n    return 'done'\n"


def text_of(source: str, sandbox: Sandbox) -> str:
    with sandbox.load(source, "g") as generator:
        return next(generator.texts([("seed", 10)]))


@tricks
def test_the_trick_is_real_with_the_policy_off(name: str) -> None:
    assert "GOT" in text_of(TRICKS[name], Sandbox(limits(), unsafe=True, layers=(), policy=False))


@tricks
def test_no_trick_works_with_the_policy_on(name: str) -> None:
    complaints = check_source(TRICKS[name], "g")
    assert bool(complaints) is (name not in ONLY_WHEN_IT_RUNS), complaints
    with pytest.raises(Failure) as caught:
        text_of(TRICKS[name], Sandbox(limits()))
    assert caught.value.kind == ("exception" if name in ONLY_WHEN_IT_RUNS else "policy")


RUN_TIME = [name for name in TRICKS if name not in NEEDS_NOTHING]


@pytest.mark.parametrize("name", RUN_TIME)
def test_a_trick_over_builtins_or_modules_fails_when_it_runs_too(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The facades stand without the check of the source."""
    monkeypatch.setattr("synth.sandbox.sandbox.check_source", lambda source, function: [])
    with pytest.raises(Failure):
        text_of(TRICKS[name], Sandbox(limits()))


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("open('x')", "line 3: open is not available: files cannot be opened"),
        ("import os", "line 3: module os is not available; there are base64, "),
        ("import random", "line 3: do not import random: draw from the argument rng"),
        ("from random import choice", "line 3: do not import random"),
        ("from . import x", "line 3: there is no package to import from relatively"),
        ("from functools import wraps", "line 3: functools.wraps is not available"),
        ("from math import *", "line 3: import the names you use, not *"),
        ("import uuid\nuuid.uuid4()", "line 4: uuid.uuid4 is not available"),
        ("import hashlib as h\nh.file_digest", "line 4: hashlib.file_digest is not available"),
        ("x = ().__class__", "line 3: the attribute __class__ is not available"),
        ("x = rng._randbelow(3)", "line 3: the attribute _randbelow is not available"),
        ("__x = 1", "line 3: the name __x is not available"),
        ("def inner(__x):\n    pass", "line 3: the name __x is not available"),
        ("'{0.__class__}'.format(1)", "line 3: a format field may not look at attributes that begin with _"),
        ("x = '{0[_y]}'\nx.format({})", "line 3: a format field may not"),
        ("global x", "line 3: keep nothing between calls: no global statement"),
        ("async def inner():\n    pass", "line 3: there is no event loop; write plain functions"),
        ("class C(object, x=1):\n    pass", "line 3: classes take no metaclass or keywords here"),
        ("class C:\n    def __del__(self):\n        pass", "line 4: the name __del__ is not available"),
        ("x = datetime.date.today()", "line 3: there is no clock: draw dates from rng"),
        ("x = dt.now", "line 3: there is no clock: draw dates from rng"),
        ("(y := dt)\nx = y.utcnow()", "line 4: there is no clock: draw dates from rng"),
        ("x = [type(when).today() for when in dates]", "line 3: there is no clock: draw dates from rng"),
        ("today = 3\nx = dt.today()", "line 4: there is no clock: draw dates from rng"),
        (
            "match 1:\n    case int(__doc__=x):\n        pass",
            "line 4: the attribute __doc__ is not available",
        ),
        ("x = (n for n in []).gi_frame", "line 3: the attribute gi_frame is not available"),
        ("print(id(rng))", "line 3: id is not available: it differs from process to process"),
        ("vars()", "line 3: vars is not available: use ordinary variables"),
    ],
)
def test_a_refusal_names_the_line_and_the_way_out(code: str, words: str) -> None:
    complaints = check_source(body(code), "g")
    assert len(complaints) == 1 and complaints[0].startswith(words)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("", "define one function g(rng, target_tokens) at the top level; found 0"),
        ("def g(rng, t):\n    pass\ndef g(rng, t):\n    pass", "found 2"),
        ("if True:\n    def g(rng, t):\n        pass", "found 0"),
        ("g = lambda rng, t: ''", "found 0"),
        ("def g(rng):\n    pass", "line 1: g must be callable as g(rng, target_tokens)"),
        ("def g(rng, t, x):\n    pass", "must be callable"),
        ("def g(rng, t, *, x):\n    pass", "must be callable"),
        ("def cached(f):\n    return f\n@cached\ndef g(rng, t):\n    pass", "takes no decorator"),
        ("def g(rng, t)\n    pass", "line 1: not valid Python"),
        ("def g(rng, t):\n    return '\0'", "the source holds a null character"),
        ("#" * (LONGEST + 1), f"the source is {LONGEST + 1} characters long; {LONGEST} are allowed"),
    ],
)
def test_the_function_must_be_there_and_callable(source: str, words: str) -> None:
    assert words in check_source(source, "g")[0]


@pytest.mark.parametrize(
    "arguments", ["rng, target_tokens", "rng, t=5", "a, b, c=1", "rng, t, *, x=1", "a, b, /", "a, b, *c, **d"]
)
def test_any_signature_that_takes_two_arguments_will_do(arguments: str) -> None:
    assert check_source(f"def g({arguments}):\n    return ''", "g") == []


@pytest.mark.parametrize(
    "source",
    [
        "x = " + "(" * 50_000,
        "x = " + "[" * 90 + "]" * 90,
        "x = " + "-" * 100_000 + "1",
        "x = " + "+".join(["1"] * 60_000),
        "x = f" + ".a" * 90_000,
        "x = f" + "()" * 90_000,
        "if 1:\n" + "".join(" " * n + "if 1:\n" for n in range(1, 99)) + " " * 99 + "pass",
        "x = " + "not " * 40_000 + "1",
        "x = '" + "{" * 100_000 + "'\nx.format",
        "x = '" + "{:" * 90_000 + "'\nx.format",
        "x = " + "lambda: " * 20_000 + "1",
    ],
    ids=[
        "brackets",
        "lists",
        "minus",
        "plus",
        "attributes",
        "calls",
        "ifs",
        "nots",
        "braces",
        "specs",
        "lambdas",
    ],
)
def test_a_source_that_is_made_to_break_the_parser_breaks_nothing(source: str) -> None:
    check_source(source, "g")
    imported(source)


@pytest.mark.parametrize(
    "code",
    [
        "x = 'def __init__(self): return {self._x}'",  # text about Python, where nothing is formatted
        "x = '__bold__ and {0._x}' + f'{{{rng}._y}}'",
        "x = '{:>5} {name!r:{width}} {{0._x}}'.format(1, name=2, width=3)",
        "x = '{0.real} {1[key]} {2[0]}'.format(1, {'key': 2}, [3])",
        "_private = 1\n_, y = 1, 2",
        "class C:\n    def __init__(self):\n        self._x = 1",
        "class C:\n    @classmethod\n    def make(cls):\n        return cls._y",
        "class C:\n    def __len__(self):\n        return 1\n    def __add__(self, other):\n        return self",
        "today = 5\nclass C:\n    def now(self):\n        return today\nC().now()",
        "class C:\n    def __init__(self):\n        self.now = 1\nC().now",
        "class C:\n    today: int = 1\nC().today",
        "from collections import namedtuple\nx = namedtuple('Price', 'today yesterday')(1, 2).today",
        "today = now = 5\nx = {'now': now}['now']",
        "from datetime import datetime, date\nx = datetime.fromtimestamp(1), date.fromtimestamp(2)",
        "x.func_name = 1\nx.f_score = 2\nx.co = 3\nx.tb_total = 4",
        "import collections.abc\nx = collections.abc.Sequence",
        "import math as m\nx = m.pi",
        "def inner(math):\n    return math.anything",
        "from collections import abc, Counter",
        "from datetime import datetime, timedelta\nx = datetime(2024, 1, 1) + timedelta(1)",
        "nonlocal_ = 1\ndef inner():\n    x = 0\n    def deep():\n        nonlocal x\n        x += 1",
        "x = point._replace(a=1)._asdict()",
        "if __name__ == '__main__':\n    pass",
        "x = [y for y in range(3) if y]; z = {**{}}; del z",
        "x: 'list[int]' = []",
    ],
)
def test_honest_lines_pass(code: str) -> None:
    assert check_source(body(code), "g") == []


def test_what_is_withheld_is_not_offered_and_what_is_offered_exists() -> None:
    assert not set(OFFERED) & set(WITHHELD)
    assert {*OFFERED, *WITHHELD} <= {*ALLOWED, "__future__"}
    for module, names in OFFERED.items():
        for name in names:
            assert check_source(body(f"from {module} import {name}"), "g") == []
    for module, names in WITHHELD.items():
        for name in names:
            assert check_source(body(f"from {module} import {name}"), "g") != []
    assert all(check_source(body(name), "g") for name in DROPPED)


def test_bases_that_are_classes_are_bases_as_ever() -> None:
    code = """
from collections import UserDict, namedtuple
from collections.abc import Sequence
from typing import Generic, List, NamedTuple, TypeVar
T = TypeVar("T")
class Box(Generic[T], List[T]):
    pass
class Pair(namedtuple("Pair", "a b"), Sequence):
    def total(self):
        return self.a + self.b
class Row(NamedTuple):
    x: int = 1
class Keys(UserDict, dict[str, int]):
    pass
class Wrong(ValueError, KeyError):
    pass
def g(rng, target_tokens):
    return f"{Box([1])} {Pair(1, 2).total()} {Row()} {Keys(a=1)} {Wrong('x')} {isinstance(Pair(1, 2), Sequence)}"
"""
    assert check_source(code, "g") == []
    assert text_of(code, Sandbox(limits())) == "[1] 3 Row(x=1) {'a': 1} 'x' True"


def test_modules_are_read_only_and_hold_no_modules() -> None:
    code = "import {0}\ntry:\n    {0}.{1} = 1\nexcept AttributeError:\n    return 'refused'"
    for module, name in (("math", "pi"), ("json", "dumps"), ("collections", "deque")):
        assert text_of(body(code.format(module, name)), Sandbox(limits())) == "refused"
    assert check_source(body("import json\nx = json.codecs"), "g") == ["line 4: json.codecs is not available"]


def test_a_template_put_together_at_run_time_turns_attributes_into_text_and_no_more() -> None:
    """What the policy admits not to see; there is nothing to tell: an environment of ours, and no file was opened."""
    code = 'return ("{0.shuffle._" + "_globals_" + "_[_os].envi" + "ron}").format(rng)'
    said = text_of(body(code), Sandbox(limits()))
    found = ast.literal_eval(said[8:-1])
    assert (
        said.startswith("environ({") and {k: v for k, v in found.items() if k != "PWD"} == FIXED.variables()
    )


def test_imported_lists_modules_and_the_packages_that_hold_them() -> None:
    source = "import a.b as x\nfrom c.d import e\ndef f():\n    import g"
    assert imported(source) == ["a", "a.b", "c", "c.d", "c.d.e", "g"]
    assert imported("import (") == []


def test_sources_are_parsed_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """CPython 3.11 was seen to raise SystemError when two threads parsed at once."""
    under_way, most, plain = [], [], ast.parse

    def parse(source: str) -> ast.Module:
        under_way.append(1)
        time.sleep(0.005)
        most.append(len(under_way))
        under_way.pop()
        return plain(source)

    monkeypatch.setattr(ast, "parse", parse)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: check_source("def f(rng, n):\n    return 'x'\n", "f"), range(16)))
    assert answers == [[]] * 16 and max(most) == 1
